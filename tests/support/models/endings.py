"""Orders that ended by their deadline or because a person wanted it, as the tracker takes their events in."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec

from saga.tracker.fold import TrackedEvent
from saga.tracker.installed import MODEL
from saga.tracker.queries import now
from schemas import (
    InventoryReleased,
    InventoryReserved,
    OrderCancelled,
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
)
from schemas.events import Item
from tests.support.models.tracked import SCHEMA_ID

MINUTE = 60_000
DEADLINE = 15 * MINUTE


def tracked(event: Any, at: int, cause: TrackedEvent | str | None = None) -> TrackedEvent:
    """Return an event as the tracker takes it in; each order in a partition of its own, its offset is its time."""
    address = cause.address if isinstance(cause, TrackedEvent) else cause
    body = msgspec.json.encode(event).decode()
    return TrackedEvent(
        event.key,
        event.topic,
        crc32(event.key.encode()),
        at,
        at,
        MODEL.publisher[event.topic],
        SCHEMA_ID,
        address,
        body,
    )


def created(order_id: str, at: int, cancel_at: int = 0) -> TrackedEvent:
    return tracked(OrderCreated(order_id, "42", 2_933, "USD", (Item("CD-04", 2),), cancel_at_ms=cancel_at), at)


def overdue(order_id: str, at: int) -> TrackedEvent:
    event = OrderCancelled(order_id, "nobody answered within 15 min", cause="deadline")
    return tracked(event, at, f"deadline/{at}")


def requested(order_id: str, at: int, reason: str = "on request of ann: ordered twice") -> TrackedEvent:
    return tracked(OrderCancelled(order_id, reason, cause="request"), at)


PLACED = now() - DEADLINE
SILENT = [created("silent", PLACED, PLACED + DEADLINE), overdue("silent", PLACED + DEADLINE)]
CHARGED = tracked(PaymentCharged("unreserved", "p", 2_933, "USD"), PLACED + 10, created("unreserved", PLACED))
RESERVED = tracked(InventoryReserved("unhandled"), PLACED + 20, created("unhandled", PLACED))
UNRESERVED = [created("unreserved", PLACED, PLACED + 50), CHARGED, overdue("unreserved", PLACED + 50)]
UNHANDLED = [
    created("unhandled", PLACED, PLACED + 50),
    tracked(PaymentCharged("unhandled", "p", 2_933, "USD"), PLACED + 10, created("unhandled", PLACED)),
    RESERVED,
    overdue("unhandled", PLACED + 50),
]
LATE = [*SILENT, tracked(PaymentCharged("silent", "p", 2_933, "USD"), PLACED + DEADLINE + 9, SILENT[0])]
UNWANTED = [created("unwanted", PLACED, PLACED + DEADLINE), requested("unwanted", PLACED + 3_000)]
DECLINED = [
    created("declined", PLACED),
    tracked(PaymentFailed("declined", "no cover"), PLACED + 5, created("declined", PLACED)),
]
DECLINED.append(tracked(OrderCancelled("declined", "no cover", cause="payment.failed"), PLACED + 9, DECLINED[1]))
GIVEN_BACK = [*LATE, tracked(PaymentRefunded("silent", "p", 2_933, "USD"), PLACED + DEADLINE + 20, SILENT[1])]
RELEASING = [created("released", PLACED, PLACED + DEADLINE)]
RELEASING.append(tracked(PaymentCharged("released", "p", 2_933, "USD"), PLACED + 10, RELEASING[0]))
RELEASING.append(tracked(InventoryReserved("released"), PLACED + 20, RELEASING[1]))
RELEASING.append(requested("released", PLACED + 21))
RELEASING.append(tracked(PaymentRefunded("released", "p", 2_933, "USD"), PLACED + 30, RELEASING[3]))
RELEASING.append(tracked(InventoryReleased("released"), PLACED + 31, RELEASING[3]))
"""Cancelled when everything was set aside: goods and money are given back."""
