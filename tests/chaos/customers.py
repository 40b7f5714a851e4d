"""Customers who order at a steady rate, whatever happens, and ask again when they get no answer.

Some change their mind and cancel; some orders have a deadline so short that it is over while they are handled.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple, Protocol

import psycopg
from uuid_utils import uuid7

from eventbus import Codec, ConcurrentUpdate, Unavailable
from eventbus.database import Database, connect
from eventbus.serde.registry import registry_at
from inventory_service.repository import SCHEMA as INVENTORY_SCHEMA
from inventory_service.repository import set_on_hand
from inventory_service.service import InventoryService
from order_service.domain import AlreadyConfirmed, OrderRequest
from order_service.door import cancellation_reason
from order_service.repository import SCHEMA as ORDER_SCHEMA
from order_service.repository import count_by_status
from order_service.service import OrderService, Placed
from schemas import EVENTS
from tests.chaos.refusals import REFUSED

STEP_SECONDS = 0.05
KEPT, KEPT_SHARE = 100, 5
"""So many orders, but at most a fifth of them, are kept to come one by one as long as faults last."""
ONE_BY_ONE_SECONDS = 0.5
CANCELLED_AFTER = (0.0, 0.02, 0.1, 0.3, 1.0, 3.0)
"""Seconds from placing an order until its customer cancels it: before its charge, during it, and after it."""
DEADLINES_MS = (20, 100, 300, 1_500)
"""Short ones: some are over before the charge is made, some just when the order would be confirmed."""
NO_DEADLINE_MS = 0


class Minds(NamedTuple):
    """What customers will do, by request id: after how many seconds they cancel, and how short a deadline is, in ms."""

    cancel_after: Mapping[str, float] = {}
    deadline_ms: Mapping[str, int] = {}

    @classmethod
    def of(cls, requests: Sequence[OrderRequest], cancel: float, overdue: float, seed: int) -> Minds:
        """Draw which shares of the requests (0 to 1, together at most 1) do what; the same seed draws the same."""
        chance = Random(f"minds of {seed}")
        ids = [str(request.request_id) for request in requests]
        chance.shuffle(ids)
        cancelled, hurried = round(len(ids) * cancel), round(len(ids) * overdue)
        return cls(
            {request_id: chance.choice(CANCELLED_AFTER) for request_id in ids[:cancelled]},
            {request_id: chance.choice(DEADLINES_MS) for request_id in ids[cancelled : cancelled + hurried]},
        )

    def may_cancel(self, request_id: str) -> bool:
        """Return whether the order may end cancelled, however it would have ended by itself."""
        return request_id in self.cancel_after or request_id in self.deadline_ms


class Pace(Protocol):
    """How long orders are to come: `late` seconds longer than planned by now, and some until it is `over`."""

    late: float

    @property
    def over(self) -> bool:
        """Whether nothing happens any more that orders are needed for."""


class AsPlanned:
    """All in the time that was said."""

    late, over = 0.0, True


def fill_shelves(url: str, stock: dict[str, int]) -> None:
    """Say how many there are of each article."""
    inventory = connect(url, service=InventoryService.name, schema=INVENTORY_SCHEMA)
    with closing(inventory), inventory.transaction() as tx:
        set_on_hand(tx, stock)


def open_orders(url: str) -> Database:
    """Open the order service's database."""
    return connect(url, service=OrderService.name, schema=ORDER_SCHEMA)


def pending(orders: Database) -> int | None:
    """Return how many orders have not ended; None while that cannot be asked."""
    try:
        with orders.snapshot() as tx:
            return count_by_status(tx)["pending"]
    except Unavailable:
        return None


class Customers:
    """Place the requests, evenly over so many seconds, in a thread. `refused`: what should never be."""

    def __init__(
        self,
        url: str,
        requests: Sequence[OrderRequest],
        seconds: float,
        *,
        minds: Minds = Minds(),  # noqa: B008 - nobody changes it
        pace: Pace = AsPlanned(),  # noqa: B008 - has no state
        opening: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - the same
    ) -> None:
        """`opening` is held while the database is used."""
        self.placed = 0
        self.asked_again = 0
        self.refused: list[str] = []
        self._url, self._requests, self._seconds = url, requests, seconds
        self._minds, self._pace, self._opening = minds, pace, opening
        self._to_cancel: list[tuple[float, str]] = []
        self._kept = min(KEPT, len(requests) // KEPT_SHARE)
        self._placed_at = 0.0
        self._services = {each: _service(each) for each in (NO_DEADLINE_MS, *DEADLINES_MS)}
        self._codec = Codec(registry_at(None, EVENTS), OrderService.root_events())
        self._thread = threading.Thread(target=self._order, daemon=True)

    def begin(self) -> None:
        """Let them come, unless they do already."""
        if self._thread.ident is None:
            self._thread.start()

    @property
    def done(self) -> bool:
        """Whether every request has been made."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Return when every request has been made."""
        self._thread.join()

    def _order(self) -> None:
        try:
            self._order_all()
        except Exception as error:  # noqa: BLE001 - reported, and the run fails
            self.refused.append(f"customers gave up: {type(error).__name__}: {error}")

    def _order_all(self) -> None:
        start = time.monotonic()
        while self.placed < len(self._requests) or self._to_cancel:
            due = self._requests[self.placed : self._due(time.monotonic() - start)]
            if due:
                self._place(due)
                self._placed_at = time.monotonic()
            self._cancel_due()
            time.sleep(STEP_SECONDS)

    @contextmanager
    def _orders(self) -> Iterator[Database]:
        """Open the database, as each command does: the file may be another one than the last time."""
        with self._opening, closing(open_orders(self._url)) as orders:
            yield orders

    def _due(self, seconds: float) -> int:
        """Return how many are to be placed so many seconds after the start."""
        due = int(seconds / (self._seconds + self._pace.late) * len(self._requests)) + 1
        if self._pace.over:
            return due
        one_more = time.monotonic() - self._placed_at >= ONE_BY_ONE_SECONDS
        return min(due, max(len(self._requests) - self._kept, self.placed + one_more))

    def _place(self, due: Sequence[OrderRequest]) -> None:
        alike: dict[int, list[OrderRequest]] = {}
        for request in due:
            deadline_ms = self._minds.deadline_ms.get(str(request.request_id), NO_DEADLINE_MS)
            alike.setdefault(deadline_ms, []).append(request)
        answers: list[Placed | ValueError] = []
        try:
            with self._orders() as orders:
                for deadline_ms, requests in alike.items():
                    answers += self._services[deadline_ms].create_orders(requests, orders, self._codec)
        except (Unavailable, ConcurrentUpdate):
            self.asked_again += (
                1  # with the same request ids: an order that was placed all the same is not placed twice
            )
            return
        for answer in answers:
            if not isinstance(answer, Placed):
                self.refused.append(f"an order was refused: {answer}")
            elif (after := self._minds.cancel_after.get(str(answer.order.request_id))) is not None:
                heappush(self._to_cancel, (time.monotonic() + after, answer.order.order_id))
        self.placed += len(due)

    def _cancel_due(self) -> None:
        """Cancel the orders whose time has come. One that is confirmed by then stays confirmed."""
        while self._to_cancel and self._to_cancel[0][0] <= time.monotonic():
            _, order_id = self._to_cancel[0]
            try:
                with self._orders() as orders:
                    reason = cancellation_reason(None, "customer")
                    self._services[NO_DEADLINE_MS].cancel_order(order_id, reason, orders, self._codec)
            except AlreadyConfirmed:
                pass
            except (Unavailable, ConcurrentUpdate):
                self.asked_again += 1
                return
            except (sqlite3.IntegrityError, psycopg.errors.CheckViolation) as error:
                if REFUSED not in str(error):
                    raise
                self.asked_again += 1
                return
            heappop(self._to_cancel)


def _service(deadline_ms: int) -> OrderService:
    return OrderService(lambda: time.time_ns() // 1_000_000, lambda: str(uuid7()), deadline_ms)
