"""A reservation and the stock it draws on. Every event is decided in every state, late ones too.

Of an order's items and of its money inventory hears on two topics, in either order; both lead to `reserved` or `failed`
by the same rule. A decision returns the changed reservation, or the very same one when there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Status = Literal["awaiting_payment", "awaiting_items", "reserved", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("awaiting_payment", "awaiting_items", "reserved", "failed", "cancelled")

Items = tuple[tuple[str, int], ...]
"""Pairs of SKU and quantity, as they were ordered: one SKU may stand there twice."""

NAMED_SHORTAGES = 3


class ReservationContradiction(Exception):
    """An event that cannot be true beside what is known of the order."""


class BelowReserved(ValueError):
    """So much is set aside for orders that the number on hand cannot be what was said."""


class Reservation(NamedTuple):
    """What inventory knows of an order. `items` is empty as long as they are not known."""

    order_id: str
    status: Status
    items: Items
    error: str | None = None


class Stock(NamedTuple):
    """How many of an article there are, and how many of them are set aside for orders."""

    sku: str
    on_hand: int
    reserved: int = 0

    def counted(self, on_hand: int) -> Stock:
        """Return the stock after a count. Raises BelowReserved."""
        if on_hand < self.reserved:
            raise BelowReserved(
                f"{self.reserved} of {self.sku} are set aside for orders: there cannot be only {on_hand} on hand"
            )
        return self._replace(on_hand=on_hand)


class Change(NamedTuple):
    """A decision: the reservation, and the stock that changes with it."""

    reservation: Reservation
    stock: tuple[Stock, ...] = ()


Shelf = Callable[[str], Stock | None]
"""Looks up the stock of a SKU; None for an unknown one."""


def hear_items(known: Reservation | None, order_id: str, items: Items, shelf: Shelf) -> Change:
    """An order was placed: remember its items, or set them aside if it is paid already."""
    if known is None:
        return Change(Reservation(order_id, "awaiting_payment", items))
    if known.status == "awaiting_items":
        return _set_aside(order_id, items, shelf)
    if known.items and known.items != items:
        raise ReservationContradiction(
            f"it is {known.status} with the items {known.items}, but was placed again with {items}"
        )
    return Change(known)


def hear_payment(known: Reservation | None, order_id: str, shelf: Shelf) -> Change:
    """An order was paid: set its items aside, or wait for them. What was paid is not inventory's business."""
    if known is None:
        return Change(Reservation(order_id, "awaiting_items", ()))
    if known.status == "awaiting_payment":
        return _set_aside(order_id, known.items, shelf)
    return Change(known)


def hear_cancellation(known: Reservation | None, order_id: str, shelf: Shelf) -> Change:
    """An order was cancelled: release what is set aside, and set nothing aside later. What failed holds nothing."""
    if known is None:
        return Change(Reservation(order_id, "cancelled", ()))
    if known.status in ("failed", "cancelled"):
        return Change(known)
    released = _released(known.items, shelf) if known.status == "reserved" else ()
    return Change(known._replace(status="cancelled"), released)


def _set_aside(order_id: str, items: Items, shelf: Shelf) -> Change:
    """All items, or none."""
    taken: list[Stock] = []
    missing: list[str] = []
    for sku, quantity in wanted(items).items():
        stock = shelf(sku)
        if stock is None:
            missing.append(f"{sku} is not a known article")
        elif stock.on_hand - stock.reserved < quantity:
            missing.append(f"{quantity} of {sku} wanted, {stock.on_hand - stock.reserved} left")
        else:
            taken.append(stock._replace(reserved=stock.reserved + quantity))
    if missing:
        return Change(Reservation(order_id, "failed", items, _out_of_stock(missing)))
    return Change(Reservation(order_id, "reserved", items), tuple(taken))


def _released(items: Items, shelf: Shelf) -> tuple[Stock, ...]:
    back: list[Stock] = []
    for sku, quantity in wanted(items).items():
        stock = shelf(sku)
        if stock is None or stock.reserved < quantity:
            raise ReservationContradiction(f"it holds {quantity} of {sku}, but the stock does not: {stock}")
        back.append(stock._replace(reserved=stock.reserved - quantity))
    return tuple(back)


def wanted(items: Items) -> dict[str, int]:
    """Return how many of each SKU the items come to."""
    quantities: dict[str, int] = {}
    for sku, quantity in items:
        quantities[sku] = quantities.get(sku, 0) + quantity
    return quantities


def _out_of_stock(missing: list[str]) -> str:
    named = "; ".join(missing[:NAMED_SHORTAGES])
    more = len(missing) - NAMED_SHORTAGES
    return f"out of stock: {named}" + (f"; and {more} more" if more > 0 else "")
