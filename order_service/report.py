"""How orders are printed; the keys of the JSON are stable."""

from __future__ import annotations

from typing import Any

from eventbus import to_iso
from order_service import duration
from order_service.domain import Order
from schemas.money import to_text

MINUTE_MS = 60_000
COLUMNS = ("order", "status", "refunded", "total", "customer", "reason")
"""Of a list of orders."""


def as_dict(order: Order) -> dict[str, Any]:
    """Return an order for JSON: amounts in minor units, times in ISO 8601, UTC."""
    return {
        "order_id": order.order_id,
        "customer_id": order.customer_id,
        "total": order.total,
        "currency": order.currency,
        "status": order.status,
        "items": [{"sku": sku, "quantity": quantity} for sku, quantity in order.items],
        "reason": order.reason,
        "created_at": to_iso(order.created_at),
        "updated_at": to_iso(order.updated_at),
        "request_id": order.request_id,
        "refunded": order.refunded,
        "deadline_at": to_iso(order.deadline_at) if order.deadline_at is not None else None,
    }


def as_text(order: Order, now: int) -> str:
    """Return an order as text; `now` in ms since 1970 UTC."""
    lines = {
        "order": order.order_id,
        "request": order.request_id,
        "customer": order.customer_id,
        "total": to_text(order.total, order.currency),
        "items": ", ".join(f"{quantity} x {sku}" for sku, quantity in order.items),
        "status": order.status,
        "reason": order.reason,
        "refunded": to_text(order.refunded, order.currency) if order.refunded else None,
        "created": to_iso(order.created_at),
        "updated": to_iso(order.updated_at),
        "deadline": _deadline(order, now),
    }
    return "\n".join(f"{name:<9} {value}" for name, value in lines.items() if value is not None)


def _deadline(order: Order, now: int) -> str | None:
    """Return when the order cancels itself; the last second, or minute, is rounded up."""
    if order.deadline_at is None:
        return None
    left = order.deadline_at - now
    if left <= 0:
        return f"over since {to_iso(order.deadline_at)}: a worker cancels the order"
    unit = MINUTE_MS if left > 2 * MINUTE_MS else 1_000
    return f"the order cancels itself in {duration.to_text(-(-left // unit) * unit)}"


def as_row(order: Order) -> list[str]:
    """Return an order as a row of a table with COLUMNS."""
    total, refunded = to_text(order.total, order.currency), to_text(order.refunded, order.currency)
    money_back = refunded if order.refunded else ""
    return [order.order_id, order.status, money_back, total, order.customer_id, order.reason or ""]
