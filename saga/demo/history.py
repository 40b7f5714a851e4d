"""The history of each order, from the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from eventbus.log import Record
from schemas import (
    InventoryReservationFailed,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentCharged,
    PaymentRefunded,
)


class DemoStep(NamedTuple):
    """One event of an order: when it was published (ms since 1970), and by which service."""

    event: str
    at_ms: int
    source: str


class DemoHistory:
    """Every order's events, in the order in which they were read; an event that is on the log twice counts once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._finished: set[str] = set()
        self.orders: dict[str, list[DemoStep]] = {}

    def add(self, records: Iterable[Record]) -> list[tuple[str, DemoStep]]:
        """Add records; return the new steps, as pairs of order id and step, by time, placing first."""
        new = []
        for record in sorted(records, key=_first_things_first):
            headers = {name: content.decode(errors="replace") for name, content in record.headers}
            event_id = headers.get("ce_id", record.address)
            if event_id in self._seen:
                continue
            self._seen.add(event_id)
            step = DemoStep(record.partition.topic, record.timestamp_ms, headers.get("ce_source", "?"))
            order_id = (record.key or b"").decode(errors="replace")
            steps = self.orders.setdefault(order_id, [])
            steps.append(step)
            if _is_finished(steps):
                self._finished.add(order_id)
            new.append((order_id, step))
        return new

    def state(self, order_id: str) -> str:
        """Return the event that best describes an order's progress."""
        events = {step.event for step in self.orders.get(order_id, ())}
        return next((topic for topic in _FURTHEST_FIRST if topic in events), "")

    def ended_by_nobodys_answer(self, order_id: str) -> bool:
        """Return whether the order was cancelled although no service refused it: by its deadline, or by a person."""
        events = {step.event for step in self.orders.get(order_id, ())}
        return OrderCancelled.topic in events and events <= {OrderCreated.topic, OrderCancelled.topic}

    def had_no_stock(self, order_id: str) -> bool:
        """Return whether inventory could not reserve the order's items."""
        return any(step.event == InventoryReservationFailed.topic for step in self.orders.get(order_id, ()))

    def states(self) -> Counter[str]:
        """Return the number of orders in each state."""
        return Counter(map(self.state, self.orders))

    def finished(self) -> int:
        """Return the number of orders whose saga has ended, refunds included."""
        return len(self._finished)


def _first_things_first(record: Record) -> tuple[int, bool]:
    """Return the place of a record: an order that is cancelled at once has both events in one millisecond."""
    return record.timestamp_ms, record.partition.topic != OrderCreated.topic


def _is_finished(steps: list[DemoStep]) -> bool:
    events = {step.event for step in steps}
    if OrderCancelled.topic in events:
        return PaymentRefunded.topic in events or (OrderCreated.topic in events and PaymentCharged.topic not in events)
    return OrderConfirmed.topic in events


_FURTHEST_FIRST = (
    OrderConfirmed.topic,
    PaymentRefunded.topic,
    OrderCancelled.topic,
    "inventory.reserved",
    "inventory.reservation.failed",
    "payment.failed",
    PaymentCharged.topic,
    OrderCreated.topic,
)
