"""How orders are printed; the keys of the JSON are stable."""

from __future__ import annotations

from typing import Any

from eventbus import to_iso
from order_service.domain import Order
from schemas.money import to_text


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
    }


def as_text(order: Order) -> str:
    """Return an order as text."""
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
    }
    return "\n".join(f"{name:<9} {value}" for name, value in lines.items() if value is not None)


COLUMNS = ("order", "status", "refunded", "total", "customer", "reason")


def as_row(order: Order) -> list[str]:
    """Return an order as a row of a table with COLUMNS."""
    total, refunded = to_text(order.total, order.currency), to_text(order.refunded, order.currency)
    money_back = refunded if order.refunded else ""
    return [order.order_id, order.status, money_back, total, order.customer_id, order.reason or ""]
