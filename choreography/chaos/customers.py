"""Customers who order at a steady rate, whatever happens, and ask again when they get no answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing

from uuid_utils import uuid7

from eventbus import Codec, LostRace, Unavailable
from eventbus.database import Database, connect
from eventbus.registry import registry_at
from inventory_service.repository import SCHEMA as INVENTORY_SCHEMA
from inventory_service.repository import set_on_hand
from inventory_service.service import InventoryService
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA as ORDER_SCHEMA
from order_service.repository import count_by_status
from order_service.service import OrderService, Placed
from schemas import EVENTS

STEP_SECONDS = 0.05


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

    def __init__(self, url: str, requests: Sequence[OrderRequest], seconds: float) -> None:
        self.placed = 0
        self.asked_again = 0
        self.refused: list[str] = []
        self._url, self._requests, self._seconds = url, requests, seconds
        self._service = OrderService(now=lambda: time.time_ns() // 1_000_000, new_id=lambda: str(uuid7()))
        self._codec = Codec(registry_at(None, EVENTS), OrderService.initiates)
        self._thread = threading.Thread(target=self._order, daemon=True)

    def begin(self) -> None:
        """Let them come."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether every request has been made."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Return when every request has been made."""
        self._thread.join()

    def _order(self) -> None:
        start = time.monotonic()
        with closing(open_orders(self._url)) as orders:
            while self.placed < len(self._requests):
                share = (time.monotonic() - start) / self._seconds
                due = self._requests[self.placed : int(share * len(self._requests)) + 1]
                if due:
                    self._place(due, orders)
                time.sleep(STEP_SECONDS)

    def _place(self, due: Sequence[OrderRequest], orders: Database) -> None:
        try:
            answers = self._service.create_orders(due, orders, self._codec)
        except (Unavailable, LostRace):
            self.asked_again += (
                1  # with the same request ids: an order that was placed all the same is not placed twice
            )
            return
        self.refused += [f"an order was refused: {answer}" for answer in answers if not isinstance(answer, Placed)]
        self.placed += len(due)
