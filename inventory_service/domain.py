"""A reservation and the stock it draws on. Every event is handled in every state, late ones too.

Inventory learns of an order's items and of its payment from two topics, in either order; both lead to `reserved` or
`failed` by the same rule. A decision returns the changed reservation, or the same object when there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Status = Literal["awaiting_payment", "awaiting_items", "reserved", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("awaiting_payment", "awaiting_items", "reserved", "failed", "cancelled")

Items = tuple[tuple[str, int], ...]
"""Pairs of SKU and quantity, as they were ordered: one SKU may appear twice."""

NAMED_SHORTAGES = 3


class ReservationContradiction(Exception):
    """The event contradicts what is already known of the order."""


class BelowReserved(ValueError):
    """The number on hand is below what is already reserved for orders."""


class Reservation(NamedTuple):
    """What inventory knows of an order. `items` is empty until they are known."""

    order_id: str
    status: Status
    items: Items
    error: str | None = None


class Stock(NamedTuple):
    """How many of an article there are, and how many of them are reserved for orders."""

    sku: str
    on_hand: int
    reserved: int = 0

    def counted(self, on_hand: int) -> Stock:
        """Return the stock after a count. Raises BelowReserved."""
        if on_hand < self.reserved:
            raise BelowReserved(
                f"{self.reserved} of {self.sku} are reserved for orders: the number on hand cannot be {on_hand}"
            )
        return self._replace(on_hand=on_hand)


class Change(NamedTuple):
    """The result of a decision: the reservation, and the stock that changes with it."""

    reservation: Reservation
    stock: tuple[Stock, ...] = ()


Shelf = Callable[[str], Stock | None]
"""Looks up the stock of a SKU; None for an unknown one."""


def note_items(known: Reservation | None, order_id: str, items: Items, shelf: Shelf) -> Change:
    """An order was placed: store its items, or reserve them if it is paid already."""
    if known is None:
        return Change(Reservation(order_id, "awaiting_payment", items))
    if known.status == "awaiting_items":
        return _set_aside(order_id, items, shelf)
    if known.items and known.items != items:
        raise ReservationContradiction(
            f"it is {known.status} with the items {known.items}, but was placed again with {items}"
        )
    return Change(known)


def note_payment(known: Reservation | None, order_id: str, shelf: Shelf) -> Change:
    """An order was paid: reserve its items, or wait for them. The amount is not checked here."""
    if known is None:
        return Change(Reservation(order_id, "awaiting_items", ()))
    if known.status == "awaiting_payment":
        return _set_aside(order_id, known.items, shelf)
    return Change(known)


def note_cancellation(known: Reservation | None, order_id: str, shelf: Shelf) -> Change:
    """An order was cancelled: release what is reserved, and reserve nothing later. A failed one holds nothing."""
    if known is None:
        return Change(Reservation(order_id, "cancelled", ()))
    if known.status in ("failed", "cancelled"):
        return Change(known)
    released = _released(known.items, shelf) if known.status == "reserved" else ()
    return Change(known._replace(status="cancelled"), released)


def was_released(before: Reservation | None, after: Reservation) -> bool:
    """Return whether what was reserved was released between the two."""
    return before is not None and before.status == "reserved" and after.status != "reserved"


def _set_aside(order_id: str, items: Items, shelf: Shelf) -> Change:
    """Reserve all items, or none."""
    taken: list[Stock] = []
    missing: list[str] = []
    for sku, quantity in wanted(items).items():
        stock = shelf(sku)
        if stock is None:
            missing.append(f"{sku} is not a known article")
        elif stock.on_hand - stock.reserved < quantity:
            missing.append(f"{quantity} of {sku} wanted, {stock.on_hand - stock.reserved} left")
        else:
            taken.append(Stock(sku, stock.on_hand, stock.reserved + quantity))
    if missing:
        return Change(Reservation(order_id, "failed", items, _out_of_stock(missing)))
    return Change(Reservation(order_id, "reserved", items), tuple(taken))


def _released(items: Items, shelf: Shelf) -> tuple[Stock, ...]:
    back: list[Stock] = []
    for sku, quantity in wanted(items).items():
        stock = shelf(sku)
        if stock is None or stock.reserved < quantity:
            raise ReservationContradiction(f"it holds {quantity} of {sku}, but the stock has fewer reserved: {stock}")
        back.append(Stock(sku, stock.on_hand, stock.reserved - quantity))
    return tuple(back)


def wanted(items: Items) -> dict[str, int]:
    """Return the total quantity of each SKU in the items."""
    quantities = dict(items)
    if len(quantities) == len(items):
        return quantities
    quantities.clear()
    for sku, quantity in items:
        quantities[sku] = quantities.get(sku, 0) + quantity
    return quantities


def _out_of_stock(missing: list[str]) -> str:
    named = "; ".join(missing[:NAMED_SHORTAGES])
    more = len(missing) - NAMED_SHORTAGES
    return f"out of stock: {named}" + (f"; and {more} more" if more > 0 else "")
