"""What is killed where: one cell for every step, service and number of orders in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventbus.failpoints import STEPS
from tests.support.saga import SERVICES

CANNOT_OCCUR = {
    (step, service): "only the payment service makes remote calls"
    for step in ("before remote", "remote under way")
    for service in SERVICES
    if service != "payment_service"
}
"""Steps that a service never comes to, and why."""

ON_REVOCATION = ("revoked", "revoked and published")
"""Reached when a second worker of the same service joins."""
ON_CLOSING = ("closing", "closing and published", "leaving", "left")
"""Reached after SIGTERM."""
ON_TROUBLE = ("parking", "parked", "retrying", "unparking", "unparked")
"""Reached when the service's table refuses orders for a while."""

ON_REDRIVE = ("before database commit", "after database commit", "committed")
"""Where a worker dies, too, while nothing but redriven dead letters is in flight."""
REDRIVEN = 20

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
    redriven: int = 0
    """Dead letters, of records that stay bad; no orders then."""

    def __str__(self) -> str:
        if self.redriven:
            return f"{self.service} at {self.step!r}, {self.redriven} redriven"
        return f"{self.service} at {self.step!r}, {self.orders} in flight"


def cells(services: Iterable[str] = (), steps: Iterable[str] = (), orders: Iterable[int] = ()) -> Iterator[Cell]:
    """Return every cell that can occur; nothing given means all."""
    for count in orders or ORDERS:
        for service in services or SERVICES:
            for step in steps or STEPS:
                if (step, service) not in CANNOT_OCCUR:
                    yield Cell(service, step, count)
    if not orders:
        wanted = [step for step in ON_REDRIVE if step in (tuple(steps) or STEPS)]
        yield from (Cell(service, step, 0, REDRIVEN) for service in services or SERVICES for step in wanted)


def small() -> list[Cell]:
    """Return the cells that CI runs."""
    redrive = Cell("payment_service", "after database commit", 0, REDRIVEN)
    return [*cells(SMALL_SERVICES, SMALL_STEPS, SMALL_ORDERS), redrive]
