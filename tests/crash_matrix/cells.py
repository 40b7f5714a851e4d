"""What is killed where: one cell for every step, service and number of orders in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventbus.worker.failpoints import STEPS
from tests.support.saga import SERVICES

OVERDUE_AT_START = "deadlines found"
"""Reached when orders became overdue while nobody looked."""
SET_AHEAD = "deadlines set again"
"""Reached when a clock that was an hour ahead set the orders' deadlines."""

CANNOT_OCCUR = {
    (step, service): "only the payment service makes remote calls"
    for step in ("before remote", "remote under way")
    for service in SERVICES
    if service != "payment_service"
} | {
    **{("quarantined", service): "no database is older than the log" for service in SERVICES},
    **{
        (step, service): "only the order service has deadlines"
        for step in (OVERDUE_AT_START, SET_AHEAD)
        for service in SERVICES
        if service != "order_service"
    },
}
"""Steps that a service never comes to, and why."""

ON_REVOCATION = ("revoked", "revoked and published")
"""Reached when a second worker of the same service joins."""
ON_CLOSING = ("closing", "closing and published", "leaving", "left")
"""Reached after SIGTERM."""
ON_TROUBLE = ("parking", "parked", "retrying", "unparking", "unparked")
"""Reached when the service's table refuses orders for a while."""

REDRIVEN, SKIPPED = "20 redriven", "a batch skipped"
ON_DECIDED = {
    REDRIVEN: ("before database commit", "after database commit", "committed"),
    SKIPPED: ("claimed", "produced", "committed"),
}
"""Where a worker dies, too, while nothing is in flight but what people decided: dead letters of records that stay bad,
and that it may go past a batch that cannot be decompressed."""
OVERDUE = "20 overdue"
ON_OVERDUE = (
    *("compared", "before database commit", "after database commit"),
    *("produced", "offsets sent", "during commit", "committed"),
)
"""Where the order service dies, too, while it does nothing but cancel orders that nobody has answered in time."""

ORDERS = (1, 500)
SMALL_STEPS = (
    *("claimed", "taken", "remote under way", "before database commit", "after database commit"),
    *("produced", "offsets sent", "during commit", "committed", "closing and published"),
)
SMALL_ORDERS = (20,)
SMALL_SERVICES = ("payment_service",)


class Cell(NamedTuple):
    """One worker of this service dies at this step, with so many orders in flight."""

    service: str
    step: str
    orders: int
    decided: str = ""
    """One of ON_DECIDED, or OVERDUE; no orders then."""

    def __str__(self) -> str:
        return f"{self.service} at {self.step!r}, {self.decided or f'{self.orders} in flight'}"


def cells(services: Iterable[str] = (), steps: Iterable[str] = (), orders: Iterable[int] = ()) -> Iterator[Cell]:
    """Return every cell that can occur; nothing given means all. No orders: decisions and deadlines instead."""
    steps = tuple(steps) or STEPS
    for count in orders or (*ORDERS, 0):
        for service in services or SERVICES:
            if count:
                yield from (Cell(service, step, count) for step in steps if (step, service) not in CANNOT_OCCUR)
            else:
                decided = ((step, what) for what, at in ON_DECIDED.items() for step in at if step in steps)
                yield from (Cell(service, step, 0, what) for step, what in decided)
                if service == "order_service":
                    yield from (Cell(service, step, 0, OVERDUE) for step in ON_OVERDUE if step in steps)


def small() -> list[Cell]:
    """Return the cells that CI runs."""
    decided = [Cell("payment_service", "after database commit", 0, REDRIVEN)]
    decided += [Cell("payment_service", "produced", 0, SKIPPED)]
    decided += [Cell("order_service", "after database commit", 0, OVERDUE)]
    return [*cells(SMALL_SERVICES, SMALL_STEPS, SMALL_ORDERS), *decided]
