"""How the inventory service handles events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from eventbus import PoisonRecord, Service, WorkingSet, reacts_to
from inventory_service.domain import (
    STATUSES,
    Change,
    Reservation,
    ReservationContradiction,
    Shelf,
    Stock,
    note_cancellation,
    note_items,
    note_payment,
    was_released,
)
from inventory_service.repository import InventoryRepository, Warehouse
from schemas import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancelled,
    OrderCreated,
    PaymentCharged,
)


class InventoryService(Service[Warehouse]):
    """Sets the items of paid orders aside, and releases them when an order is cancelled."""

    name = "inventory-service"

    def __init__(self) -> None:
        self.repository = InventoryRepository()

    @classmethod
    def example_states(cls, key: str) -> Mapping[str, tuple[Self, Warehouse]]:
        """Return an example of every state, for an order of one article of which one is reserved."""
        sku = "ABC"
        items = {status: ((sku, 1),) if status != "awaiting_items" else () for status in STATUSES}
        known = {status: WorkingSet({key: Reservation(key, status, items[status])}) for status in STATUSES}
        states = {"unknown": WorkingSet[Reservation]()} | known
        stock = {sku: Stock(sku, 2, 1)}
        return {state: (cls(), Warehouse(rows, WorkingSet(stock))) for state, rows in states.items()}

    @reacts_to(OrderCreated, awaits=[PaymentCharged])
    def remember_items(
        self, order: OrderCreated, warehouse: Warehouse
    ) -> InventoryReserved | InventoryReservationFailed | None:
        """Store the items until the order is paid; reserve them at once if it is paid already."""
        items = tuple((item.sku, item.quantity) for item in order.items)
        return self._change(
            warehouse, order.order_id, lambda known, shelf: note_items(known, order.order_id, items, shelf)
        )

    @reacts_to(PaymentCharged, awaits=[OrderCreated])
    def reserve_inventory(
        self, charged: PaymentCharged, warehouse: Warehouse
    ) -> InventoryReserved | InventoryReservationFailed | None:
        """Reserve all items of the paid order, or none; wait if they are not known yet."""
        order_id = charged.order_id
        return self._change(warehouse, order_id, lambda known, shelf: note_payment(known, order_id, shelf))

    @reacts_to(OrderCancelled, compensates=[InventoryReserved])
    def release_inventory(self, cancelled: OrderCancelled, warehouse: Warehouse) -> InventoryReleased | None:
        """Release what is reserved for the order; reserve nothing for it later."""
        order_id = cancelled.order_id
        known = warehouse.reservations.get(order_id)
        after = self._decide(warehouse, order_id, lambda known, shelf: note_cancellation(known, order_id, shelf))
        return InventoryReleased(order_id) if was_released(known, after) else None

    def _change(
        self, warehouse: Warehouse, order_id: str, decide: Callable[[Reservation | None, Shelf], Change]
    ) -> InventoryReserved | InventoryReservationFailed | None:
        before = warehouse.reservations.get(order_id)
        after = self._decide(warehouse, order_id, decide)
        if after is before:
            return None
        if after.status == "reserved":
            return InventoryReserved(order_id)
        return InventoryReservationFailed(order_id, after.error or "") if after.status == "failed" else None

    def _decide(
        self, warehouse: Warehouse, order_id: str, decide: Callable[[Reservation | None, Shelf], Change]
    ) -> Reservation:
        """Decide, and note what changes; return the reservation, the same object if nothing does."""
        before = warehouse.reservations.get(order_id)
        try:
            after, stock = decide(before, warehouse.stock.get)
        except ReservationContradiction as contradiction:
            raise PoisonRecord("contradiction", f"order {order_id}: {contradiction}") from contradiction
        if after is not before:
            warehouse.reservations.put(order_id, after)
            for article in stock:
                warehouse.stock.put(article.sku, article)
        return after
