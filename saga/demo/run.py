"""Placing the orders of a plan, and following them until the last one has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from rich.console import Console
from uuid_utils import uuid7

from eventbus import Codec
from eventbus.database import Database, connect
from eventbus.serde.registry import registry_at
from inventory_service.repository import SCHEMA as INVENTORY_SCHEMA
from inventory_service.repository import set_on_hand
from inventory_service.service import InventoryService
from order_service.domain import AlreadyConfirmed, Order, OrderRequest
from order_service.door import cancellation_reason
from order_service.repository import SCHEMA as ORDER_SCHEMA
from order_service.repository import all_orders
from order_service.service import OrderService, Placed
from payment_service.gateway import set_outage
from saga.demo.history import DemoHistory
from saga.demo.place import DemoPlace
from saga.demo.plan import DemoPlan
from saga.demo.screen import screen_for
from saga.demo.workers import Workers
from saga.kafka.reader import Reader
from schemas import EVENTS

START_SECONDS = 60.0
STUCK_SECONDS = 120.0
"""The demo fails after this long without a new event."""
PLACING_SECONDS = 3.0
STEP_SECONDS = 0.05
DEADLINE_MS = 2_000
"""Of the orders about which the payment provider says nothing."""
SETTLE_SECONDS = 1.0
"""What was under way when an order was cancelled still comes, and is undone."""


class DemoStuck(RuntimeError):
    """The saga makes no progress; the message has its state."""


class DemoRun:
    """One run of the demo."""

    def __init__(self, plan: DemoPlan, place: DemoPlace, orders: Database, gateway: str) -> None:
        self._plan, self._place, self._orders, self._gateway = plan, place, orders, gateway
        self._registry = registry_at(None, EVENTS)
        self._codec = Codec(self._registry, OrderService.root_events())
        self._service = OrderService(_now_ms, lambda: str(uuid7()))
        self._hurried = OrderService(_now_ms, self._silent_id, DEADLINE_MS)

    @classmethod
    @contextmanager
    def prepared(cls, plan: DemoPlan, folder: Path, place: DemoPlace, gateway: str) -> Iterator[Self]:
        """Put the plan's stock into inventory's database, and open the order service's."""
        inventory = connect(
            f"sqlite:///{folder}/inventory_service.db", service=InventoryService.name, schema=INVENTORY_SCHEMA
        )
        with closing(inventory), inventory.transaction() as tx:
            set_on_hand(tx, plan.stock)
        orders = connect(f"sqlite:///{folder}/order_service.db", service=OrderService.name, schema=ORDER_SCHEMA)
        with closing(orders):
            yield cls(plan, place, orders, gateway)

    def watch(self, workers: Workers, console: Console) -> DemoHistory:
        """Place the orders and show their events until all have ended. Raises WorkerDied, DemoStuck."""
        topics = [event.topic for event in EVENTS]
        config = dict(self._place.kafka_config)
        history = DemoHistory()
        due = self._due()
        with (
            Reader(self._place.bootstrap_servers, topics, kafka_config=config) as reader,
            screen_for(console, len(self._plan.requests)) as screen,
        ):
            self._wait_for(workers)
            heard = time.monotonic()
            while history.finished() < len(self._plan.requests) or time.monotonic() - heard < self._settling():
                self._place_orders(next(due, []))
                new = history.add(reader.read(STEP_SECONDS))
                heard = time.monotonic() if new else heard
                screen.show(history, new)
                workers.check()
                if time.monotonic() - heard > STUCK_SECONDS:
                    raise DemoStuck(self._standstill(history))
            if "silent" in self._plan.endings.values():
                set_outage(self._gateway, None, None)
        return history

    def _settling(self) -> float:
        return SETTLE_SECONDS if {"cancelled", "silent"} & set(self._plan.endings.values()) else 0.0

    def _place_orders(self, due: list[OrderRequest]) -> None:
        """Place these orders, and cancel those whose customers change their mind at once."""
        endings = self._plan.endings
        silent = [request for request in due if endings[str(request.request_id)] == "silent"]
        others = [request for request in due if endings[str(request.request_id)] != "silent"]
        placed = self._service.create_orders(others, self._orders, self._codec)
        self._hurried.create_orders(silent, self._orders, self._codec)
        for answer in placed:
            if isinstance(answer, Placed) and endings[str(answer.order.request_id)] == "cancelled":
                reason = cancellation_reason("changed my mind", "the customer")
                with suppress(AlreadyConfirmed):
                    self._service.cancel_order(answer.order.order_id, reason, self._orders, self._codec)

    def _silent_id(self) -> str:
        """Return a new order id about which the payment provider answers nothing."""
        order_id = str(uuid7())
        set_outage(self._gateway, "nothing", order_id)
        return order_id

    def orders(self) -> list[Order]:
        """Return the orders from the order service's database."""
        with self._orders.snapshot() as tx:
            return list(all_orders(tx))

    def _due(self) -> Iterator[list[OrderRequest]]:
        """Yield, on each iteration, the requests that are due: spread over a few seconds at most."""
        requests = self._plan.requests
        a_second = max(1 / STEP_SECONDS, len(requests) / PLACING_SECONDS)
        start, placed = time.monotonic(), 0
        while placed < len(requests):
            until = 1 + int((time.monotonic() - start) * a_second)
            yield requests[placed:until]
            placed = max(placed, min(until, len(requests)))

    @staticmethod
    def _wait_for(workers: Workers) -> None:
        """Wait until every worker consumes, so that the output shows the saga and not its start."""
        until = time.monotonic() + START_SECONDS
        while not workers.said("worker.ready") and time.monotonic() < until:
            workers.check()
            time.sleep(STEP_SECONDS)

    def _standstill(self, history: DemoHistory) -> str:
        finished, placed = history.finished(), len(self._plan.requests)
        states = ", ".join(f"{count} at {state}" for state, count in history.states().items())
        return f"no event for {STUCK_SECONDS:.0f} s: {finished} of {placed} orders have ended ({states})"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
