"""Every event of the choreography (the published language), and the ids of its released schemas."""

from pathlib import Path

from schemas.events import (
    InventoryReleased,
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
"""The id of each released schema, used without a registry."""

EVENTS = (
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    InventoryReserved,
    InventoryReservationFailed,
    OrderConfirmed,
    OrderCancelled,
    PaymentRefunded,
    InventoryReleased,
)

__all__ = [
    "EVENTS",
    "IDS",
    "InventoryReleased",
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
