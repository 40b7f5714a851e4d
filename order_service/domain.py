"""An order: pending, then confirmed or cancelled, both final. Every event is handled in every state, late ones too.

A decision returns the changed value, or the same object when there is nothing to do.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from order_service.duration import to_text

Status = Literal["pending", "confirmed", "cancelled"]
STATUSES: tuple[Status, ...] = ("pending", "confirmed", "cancelled")

Items = tuple[tuple[str, int], ...]
"""Pairs of SKU and quantity, as they were ordered."""


MAX_REASON = 1_000
"""The number of characters of a reason that are stored."""


class OrderContradiction(Exception):
    """The event contradicts what is already known of the order."""


class NoSuchOrder(LookupError):
    """No order with this id was placed here."""


class AlreadyConfirmed(ValueError):
    """The order is confirmed, so it cannot be cancelled any more."""


class RequestConflict(ValueError):
    """The request id was used before, for an order with other content."""


class OrderRequest(NamedTuple):
    """What a customer asks for. `total` in minor units of `currency`; the same `request_id` gives the same order."""

    customer_id: str
    total: int
    currency: str
    items: Items
    request_id: str | None = None


NOBODY_ANSWERED = "nobody answered within"
"""How the reason begins of an order that its deadline cancelled."""


class Order(NamedTuple):
    """A whole order. Times in ms since 1970 UTC; `refunded` is what was refunded, in minor units."""

    order_id: str
    request_id: str | None
    customer_id: str
    total: int
    currency: str
    items: Items
    status: Status
    reason: str | None
    refunded: int
    created_at: int
    updated_at: int
    deadline_at: int | None = None
    """When it cancels itself; None: never, or not any more."""
    deadline_set_at: int | None = None
    """When that was decided, by the clock that decided it."""

    @property
    def is_final(self) -> bool:
        """Whether only a refund can still follow."""
        return self.status != "pending"


class Progress(NamedTuple):
    """The part of an order that event handlers read and change."""

    order_id: str
    total: int
    currency: str
    status: Status
    reason: str | None
    refunded: int
    updated_at: int
    deadline_at: int | None = None
    deadline_set_at: int | None = None


def new_order(order_id: str, request: OrderRequest, now: int, deadline_ms: int = 0) -> Order:
    """Return a new order for a request; after `deadline_ms` it cancels itself, unless that is 0."""
    customer_id, total, currency, items, request_id = request
    order = Order(order_id, request_id, customer_id, total, currency, items, "pending", None, 0, now, now)
    return order._replace(deadline_at=now + deadline_ms, deadline_set_at=now) if deadline_ms else order


def check_repeated(order: Order, request: OrderRequest) -> None:
    """Raise RequestConflict unless the request has exactly the content of this order, which has the same request id."""
    if (order.customer_id, order.total, order.currency, order.items) != request[:4]:
        raise RequestConflict(
            f"the request id {request.request_id!r} belongs to order {order.order_id}, which has other content:"
            " give a new order a new request id"
        )


def confirm(order: Progress | None, now: int) -> Progress:
    """Every item is reserved. If the order is cancelled, inventory itself consumes that event and releases them."""
    order = _known(order)
    if order.status == "pending":
        order_id, total, currency, _, reason, refunded, *_ = order
        return Progress(order_id, total, currency, "confirmed", reason, refunded, now, None, None)
    return order


def cancel(order: Progress | None, reason: str, now: int) -> Progress:
    """The payment or an item is missing. The first reason is kept."""
    order = _known(order)
    if order.status == "confirmed":
        raise OrderContradiction(f"it is confirmed, but its payment or reservation was refused: {reason}")
    if order.status == "pending":
        cancelled = order._replace(status="cancelled", reason=_for_people(reason), updated_at=now)
        return _without_deadline(cancelled)
    return order


def cancel_on_request(order: Progress | None, order_id: str, reason: str, now: int) -> Progress:
    """A person cancels the order. Raises NoSuchOrder, AlreadyConfirmed; one that is cancelled stays as it is."""
    if order is None:
        raise NoSuchOrder(f"there is no order {order_id}")
    if order.status == "confirmed":
        raise AlreadyConfirmed(
            f"order {order_id} is confirmed: it is paid, its items are reserved, and it can no longer be cancelled."
            " Take the goods back, and have the payment provider refund the customer"
        )
    return cancel(order, reason, now)


def expire(order: Progress | None, due_ms: int, now: int) -> Progress:
    """Its deadline passed at `due_ms`. If a worker of an older release has ended the order, it is only cleared."""
    order = _known(order)
    if order.deadline_at != due_ms or order.deadline_set_at is None:
        raise OrderContradiction(f"its deadline is {order.deadline_at}, not {due_ms}")
    if order.status != "pending":
        return _without_deadline(order)
    return cancel(order, f"{NOBODY_ANSWERED} {to_text(order.deadline_at - order.deadline_set_at)}", now)


def _without_deadline(order: Progress) -> Progress:
    return order._replace(deadline_at=None, deadline_set_at=None)


def note_refund(order: Progress | None, amount: int, currency: str, now: int) -> Progress:
    """The charge was refunded: all of it, and only for a cancelled order."""
    order = _known(order)
    if order.status != "cancelled":
        raise OrderContradiction(f"it is {order.status}, but its charge was refunded")
    if (amount, currency) != (order.total, order.currency):
        raise OrderContradiction(f"its total is {order.total} {order.currency}, but {amount} {currency} was refunded")
    if order.refunded == amount:
        return order
    return order._replace(refunded=amount, updated_at=now)


def is_refunded(order: Order) -> bool:
    """Return whether nothing of the total of a cancelled order is left to be refunded."""
    return order.status == "cancelled" and order.refunded == order.total


def _known(order: Progress | None) -> Progress:
    if order is None:
        raise OrderContradiction("no such order was placed here")
    return order


def _for_people(reason: str) -> str:
    """Return a text that every database and terminal accepts: PostgreSQL stores no NUL."""
    shown = reason if reason.isprintable() else "".join(c if c.isprintable() else " " for c in reason)
    return shown[:MAX_REASON]
