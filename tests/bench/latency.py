"""How long an order takes when there is little to do: from its commit to order.confirmed at a reader."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer
from uuid_utils import uuid7

from eventbus import Codec
from eventbus.database import connect
from eventbus.registry import registry_at
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA
from order_service.service import OrderService
from schemas import OrderConfirmed
from tests.bench.ground import Ground
from tests.bench.report import Figures, percentile
from tests.bench.workload import orders

WARM_UP_SECONDS = 3
PATIENCE_SECONDS = 30


def latency(ground: Ground, rate: float, seconds: float) -> Figures:
    """Place `rate` orders a second and return the percentiles in ms; the first few seconds do not count."""
    ground.fresh()
    ground.load_stock()
    with ground.all_workers(), closing(Ear(ground.bootstrap_servers)) as ear:
        placed = _place(ground, rate, seconds + WARM_UP_SECONDS)
        ear.wait_for(len(placed))
    counted = list(placed)[round(rate * WARM_UP_SECONDS) :]
    taken = [(ear.heard[order_id] - placed[order_id]) * 1000 for order_id in counted]
    figures = {f"p{percent:g}, ms": round(percentile(taken, percent), 1) for percent in (50, 90, 99, 100)}
    return figures | {"orders/s": rate, "orders": len(taken)}


def _place(ground: Ground, rate: float, seconds: float) -> dict[str, float]:
    """Place orders evenly; return when each commit had returned."""
    service = OrderService(lambda: time.time_ns() // 1_000_000, lambda: str(uuid7()))
    codec = Codec(registry_at(None, service.events()), service.events())
    placed: dict[str, float] = {}
    with closing(connect(ground.env["ORDER_SERVICE_DATABASE"], service=service.name, schema=SCHEMA)) as database:
        begun = time.monotonic()
        for number, order in enumerate(orders(round(rate * seconds))):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            items = tuple((item.sku, item.quantity) for item in order.items)
            request = OrderRequest(order.customer_id, order.total, order.currency, items, str(uuid.uuid4()))
            made = service.create_order(request, database, codec)
            placed[made.order.order_id] = time.monotonic()
    return placed


class Ear:
    """Notes when each order.confirmed is heard by a read_committed consumer."""

    def __init__(self, bootstrap_servers: str) -> None:
        config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"bench-ear-{uuid.uuid4().hex[:8]}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self.heard: dict[str, float] = {}
        self._consumer = Consumer(config)
        self._consumer.subscribe([OrderConfirmed.topic])
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Return when so many were heard; raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.heard) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.heard)} of {count} orders were confirmed")
            time.sleep(0.1)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._consumer.close()

    def _listen(self) -> None:
        while not self._closed.is_set():
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None:
                self.heard.setdefault((message.key() or b"").decode(), time.monotonic())
