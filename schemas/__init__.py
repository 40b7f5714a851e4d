"""The published language: every event of the choreography, and the ids of its released schemas."""

from pathlib import Path

from schemas.events import (
    InventoryReservationFailed,
    InventoryReserved,
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
)

IDS = Path(__file__).parent / "ids.json"
"""Which id stands for which released schema, where there is no registry."""

EVENTS = (
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    InventoryReserved,
    InventoryReservationFailed,
    OrderConfirmed,
    OrderCancelled,
    PaymentRefunded,
)

__all__ = [
    "EVENTS",
    "IDS",
    "InventoryReservationFailed",
    "InventoryReserved",
    "Item",
    "OrderCancelled",
    "OrderConfirmed",
    "OrderCreated",
    "PaymentCharged",
    "PaymentFailed",
    "PaymentRefunded",
]
