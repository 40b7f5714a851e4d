"""Placing the orders of a plan, and following them until the last one has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
from order_service.domain import Order, OrderRequest
from order_service.repository import SCHEMA as ORDER_SCHEMA
from order_service.repository import all_orders
from order_service.service import OrderService
from saga.demo.history import DemoHistory
from saga.demo.place import DemoPlace
from saga.demo.plan import DemoPlan
from saga.demo.screen import screen_for
from saga.demo.workers import Workers
from saga.kafka.reader import Reader
from schemas import EVENTS

START_SECONDS = 60.0
STUCK_SECONDS = 60.0
"""The demo fails after this long without a new event."""
PLACING_SECONDS = 3.0
STEP_SECONDS = 0.05


class DemoStuck(RuntimeError):
    """The saga makes no progress; the message has its state."""


class DemoRun:
    """One run of the demo."""

    def __init__(self, plan: DemoPlan, place: DemoPlace, orders: Database) -> None:
        self._plan, self._place, self._orders = plan, place, orders
        self._registry = registry_at(None, EVENTS)
        self._codec = Codec(self._registry, OrderService.root_events())
        self._service = OrderService(now=lambda: time.time_ns() // 1_000_000, new_id=lambda: str(uuid7()))

    @classmethod
    @contextmanager
    def prepared(cls, plan: DemoPlan, folder: Path, place: DemoPlace) -> Iterator[Self]:
        """Put the plan's stock into inventory's database, and open the order service's."""
        inventory = connect(
            f"sqlite:///{folder}/inventory_service.db", service=InventoryService.name, schema=INVENTORY_SCHEMA
        )
        with closing(inventory), inventory.transaction() as tx:
            set_on_hand(tx, plan.stock)
        orders = connect(f"sqlite:///{folder}/order_service.db", service=OrderService.name, schema=ORDER_SCHEMA)
        with closing(orders):
            yield cls(plan, place, orders)

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
            while history.finished() < len(self._plan.requests):
                self._service.create_orders(next(due, []), self._orders, self._codec)
                new = history.add(reader.read(STEP_SECONDS))
                heard = time.monotonic() if new else heard
                screen.show(history, new)
                workers.check()
                if time.monotonic() - heard > STUCK_SECONDS:
                    raise DemoStuck(self._standstill(history))
        return history

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
