"""Laws about stock. It is read in one snapshot with the reservations, so these hold at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from saga.check.facts import Facts

StockLaw = Callable[[Facts], Iterable[str]]


def reserved_stock_adds_up(facts: Facts) -> Iterator[str]:
    """For every SKU, the reserved stock is the sum over the reservations that hold it."""
    held: Counter[str] = Counter()
    for reservation in facts.reservations.values():
        if reservation.status == "reserved":
            for sku, quantity in reservation.items:
                held[sku] += quantity
    reserved = {stock.sku: stock.reserved for stock in facts.stock}
    for sku in sorted({*held, *reserved}):
        if held[sku] != reserved.get(sku, 0):
            yield f"{sku}: {reserved.get(sku, 'an unknown number')} reserved, the reservations hold {held[sku]}"


def stock_covers_reservations(facts: Facts) -> Iterator[str]:
    """For every SKU, no more is reserved than is on hand, and neither is negative."""
    for stock in facts.stock:
        if not 0 <= stock.reserved <= stock.on_hand:
            yield f"{stock.sku}: {stock.reserved} reserved of {stock.on_hand} on hand"
