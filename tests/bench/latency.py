"""How long an order takes when there is little to do: from its commit to order.confirmed at a reader."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, NamedTuple

from confluent_kafka import Consumer
from uuid_utils import uuid7

from eventbus import Codec
from eventbus.database import connect
from eventbus.serde.registry import registry_at
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA
from order_service.service import OrderService
from schemas import OrderConfirmed
from tests.bench.ground import Ground
from tests.bench.report import Figures, percentile
from tests.bench.workload import orders

PERCENT = (50, 90, 99, 100)
WARM_UP_SECONDS = 3
PATIENCE_SECONDS = 90


class Taken(NamedTuple):
    """How long orders took, first placed first; the warm-up does not count."""

    milliseconds: list[float]
    unlucky: float
    """That of the order with a total of its own, the first that counts; it is among them."""


def latency(ground: Ground, rates: Sequence[float], seconds: float) -> Figures:
    """Return the percentiles in ms at each rate of orders a second; the first few seconds do not count."""
    figures: Figures = {}
    for rate in rates:
        ground.fresh()
        ground.load_stock()
        values = taken(ground, rate, seconds).milliseconds
        figures |= {f"{rate:g} orders/s: p{percent}, ms": round(percentile(values, percent), 1) for percent in PERCENT}
        figures[f"{rate:g} orders/s: orders"] = len(values)
    return figures


def taken(
    ground: Ground,
    rate: float,
    seconds: float,
    *,
    unlucky_total: int | None = None,
    while_placing: AbstractContextManager[None] | None = None,
) -> Taken:
    """Place `rate` orders a second, and return how long each took until its order.confirmed was heard."""
    warm_up = round(rate * WARM_UP_SECONDS)
    totals = {} if unlucky_total is None else {warm_up: unlucky_total}
    with ground.all_workers(), closing(Ear(ground.bootstrap_servers)) as ear:
        with while_placing or nullcontext():
            placed = _place(ground, rate, seconds + WARM_UP_SECONDS, totals)
        ear.wait_for(len(placed))
    values = [(ear.heard[order_id] - placed[order_id]) * 1000 for order_id in list(placed)[warm_up:]]
    return Taken(values, values[0])


def _place(ground: Ground, rate: float, seconds: float, totals: Mapping[int, int]) -> dict[str, float]:
    """Place orders evenly, some by their numbers with these totals; return when each commit had returned."""
    service = OrderService(lambda: time.time_ns() // 1_000_000, lambda: str(uuid7()))
    codec = Codec(registry_at(None, service.events()), service.events())
    placed: dict[str, float] = {}
    with closing(connect(ground.env["ORDER_SERVICE_DATABASE"], service=service.name, schema=SCHEMA)) as database:
        begun = time.monotonic()
        for number, order in enumerate(orders(round(rate * seconds))):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            items = tuple((item.sku, item.quantity) for item in order.items)
            total = totals.get(number, order.total)
            request = OrderRequest(order.customer_id, total, order.currency, items, str(uuid.uuid4()))
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
