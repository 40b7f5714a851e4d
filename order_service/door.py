"""Validation of new orders. An order that was accepted once is never validated again.

So lists that change (ISO 4217 drops a currency) and rules of a later release apply only to new orders: an order that
was accepted before them is shown, exported, cancelled and refunded, and its request, repeated, returns it.
"""

from __future__ import annotations

from order_service.domain import Order, OrderRequest, new_order
from schemas import Item, OrderCreated
from schemas.events import MAX_ID_CHARACTERS
from schemas.money import decimals

MAX_REASON_CHARACTERS = 500


def admit(request: OrderRequest) -> OrderRequest:
    """Return the request if it can become an order; otherwise raise ValueError, naming the value."""
    decimals(request.currency)
    check_request_id(request.request_id)
    texts = [("customer_id", request.customer_id), ("request_id", request.request_id or "")]
    for what, value in texts + [("sku", sku) for sku, _ in request.items]:
        _check_text(what, value)
    created(new_order("-", request, now=0)).check()
    return request


def _check_text(what: str, value: str) -> None:
    """Refuse blanks around it: they are invisible, and `CD ` is another article than `CD`."""
    if value != value.strip():
        raise ValueError(f"{what} {value[:80]!r} begins or ends with a blank")
    if not value.isprintable():
        raise ValueError(f"{what} {value[:80]!r} must be 1 to {MAX_ID_CHARACTERS} printable characters")


def check_request_id(request_id: str | None) -> None:
    """Raise ValueError if it is not a valid request id; in order.created an empty one means none."""
    if request_id is not None and not (0 < len(request_id) <= MAX_ID_CHARACTERS and request_id.isprintable()):
        raise ValueError(f"request_id {request_id[:80]!r} must be 1 to {MAX_ID_CHARACTERS} printable characters")


def cancellation_reason(reason: str | None, by: str | None) -> str:
    """Return why a person cancels an order, as people read it; otherwise raise ValueError, naming the value."""
    for what, text, most in (("reason", reason, MAX_REASON_CHARACTERS), ("by", by, MAX_ID_CHARACTERS)):
        if text is not None and not (0 < len(text) <= most and text.isprintable() and text == text.strip()):
            raise ValueError(
                f"{what} {text[:80]!r} must be 1 to {most} printable characters, without a blank around them"
            )
    return "on request" + (f" of {by}" if by else "") + (f": {reason}" if reason else "")


def created(order: Order) -> OrderCreated:
    """Return the order.created event."""
    items = tuple(Item(sku, quantity) for sku, quantity in order.items)
    return OrderCreated(
        *(order.order_id, order.customer_id, order.total, order.currency, items),
        request_id=order.request_id or "",
        cancel_at_ms=max(0, order.deadline_at or 0),  # by a clock that is wrong it may be before 1970
    )
