"""The door: what a request must be to become a new order. What was taken once is never judged by it again.

So lists that change (ISO 4217 drops a currency) and rules of a later release end at the door: an order that was taken
before them is shown, exported, cancelled and refunded, and its request, repeated, gives it back.
"""

from __future__ import annotations

from order_service.currency import decimals
from order_service.domain import Order, OrderRequest, new_order
from schemas import Item, OrderCreated
from schemas.events import MAX_ID_CHARACTERS


def admit(request: OrderRequest) -> OrderRequest:
    """Return the request if it can become an order; else ValueError, naming the value."""
    decimals(request.currency)
    check_request_id(request.request_id)
    texts = [("customer_id", request.customer_id), ("request_id", request.request_id or "")]
    for what, value in texts + [("sku", sku) for sku, _ in request.items]:
        _check_text(what, value)
    created(new_order("-", request, now=0))
    return request


def _check_text(what: str, value: str) -> None:
    """Blanks around it nobody sees, and `CD ` is another article than `CD`."""
    if value != value.strip():
        raise ValueError(f"{what} {value[:80]!r} begins or ends with a blank")
    if not value.isprintable():
        raise ValueError(f"{what} {value[:80]!r} must be 1 to {MAX_ID_CHARACTERS} printable characters")


def check_request_id(request_id: str | None) -> None:
    """Raise ValueError for what is no request id; order.created would take an empty one for none."""
    if request_id is not None and not (0 < len(request_id) <= MAX_ID_CHARACTERS and request_id.isprintable()):
        raise ValueError(f"request_id {request_id[:80]!r} must be 1 to {MAX_ID_CHARACTERS} printable characters")


def created(order: Order) -> OrderCreated:
    """Return the event that announces an order. ValueError for values outside the published language's ranges."""
    items = tuple(Item(sku, quantity) for sku, quantity in order.items)
    return OrderCreated(
        order.order_id, order.customer_id, order.total, order.currency, items, request_id=order.request_id or ""
    )
