"""Deadlines: how fast a backlog of them is fired, how late one is, and what a million pending ones cost."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from confluent_kafka import Consumer
from uuid_utils import uuid7

from eventbus import Codec
from eventbus.database import connect
from eventbus.serde.registry import registry_at
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA
from order_service.service import OrderService
from schemas import OrderCancelled
from tests.bench.ground import Ground, handled
from tests.bench.report import Figures, percentile
from tests.bench.run import processor_time
from tests.support.databases.deadlines import HOUR_MS, let_deadlines_pass
from tests.support.saga.processes import Worker

BATCH = 500
YEAR_MS = 31_536_000_000
SOON_MS = 1_000
IDLE_SECONDS = 20.0
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 0.1


def deadlines(ground: Ground, backlog: int, rate: float, seconds: float, pending: int) -> Figures:
    """Return firings a second, the delay at so many a second, and an idle worker's processor time."""
    figures: Figures = {"backlog": backlog, "fired a second": round(_backlog(ground, backlog))}
    late = _late(ground, rate, seconds)
    figures |= {f"late at {rate:g}/s: p{each}, ms": round(percentile(late, each), 1) for each in (50, 99, 100)}
    figures["late: deadlines"] = len(late)
    idle, beside = _idle(ground, 0), _idle(ground, pending)
    figures["idle worker, ms of processor time a second"] = round(idle, 2)
    return figures | {f"the same with {pending:,} pending": round(beside, 2)}


def _backlog(ground: Ground, count: int) -> float:
    """Return how many deadlines that are over a worker fires a second, from its first batch to its last commit."""
    ground.fresh()
    _place(ground, count, HOUR_MS)
    with ground.worker("order_service") as worker:
        _wait(worker, lambda: _left(ground, "uncaused") == 0)
    let_deadlines_pass(ground.env["ORDER_SERVICE_DATABASE"])
    with ground.worker("order_service") as worker:
        _wait(worker, lambda: _left(ground, "orders where deadline_at is not null") == 0)
        _wait(worker, lambda: handled(worker.log).published >= count)
        fired = handled(worker.log)
    return fired.published / fired.seconds


def _late(ground: Ground, rate: float, seconds: float) -> list[float]:
    """Return how late each order.cancelled was heard, in ms after its deadline; nobody answers these orders."""
    ground.fresh()
    count = round(rate * seconds)
    with ground.worker("order_service") as worker, _heard(ground) as late:
        worker.wait_ready()
        begun = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            _place(ground, 1, SOON_MS)
        _wait(worker, lambda: len(late) >= count)
        return list(late)


def _idle(ground: Ground, pending: int) -> float:
    """Return the processor time of an idle worker, ms a second, beside so many deadlines that are far away."""
    ground.fresh()
    _place(ground, 1, YEAR_MS)
    if pending:
        _sql(
            ground,
            "insert into orders with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)"
            " select 'order-' || i, null, customer_id, total, currency, items, status, reason, refunded, created_at,"
            " updated_at, deadline_at + i, deadline_set_at from n, (select * from orders limit 1)",
            pending,
        )
    with ground.worker("order_service") as worker:
        worker.wait_ready()
        _wait(worker, lambda: _left(ground, "uncaused") == 0)
        time.sleep(5)
        with processor_time(worker.pid) as used:
            begun = time.time()
            time.sleep(IDLE_SECONDS)
            return 1_000 * used.between(begun, time.time()) / IDLE_SECONDS


def _place(ground: Ground, count: int, deadline_ms: int) -> None:
    service = OrderService(lambda: time.time_ns() // 1_000_000, lambda: str(uuid7()), deadline_ms)
    codec = Codec(registry_at(None, service.events()), service.events())
    request = OrderRequest("c", 1_000, "USD", (("CD-01", 1),))
    with closing(connect(ground.env["ORDER_SERVICE_DATABASE"], service=service.name, schema=SCHEMA)) as database:
        for first in range(0, count, BATCH):
            service.create_orders([request] * min(BATCH, count - first), database, codec)


@contextmanager
def _heard(ground: Ground) -> Iterator[list[float]]:
    """Note how many ms after its deadline each order.cancelled is heard by a read_committed consumer."""
    late: list[float] = []
    over = threading.Event()

    def listen() -> None:
        config: dict[str, Any] = {
            "bootstrap.servers": ground.bootstrap_servers,
            "group.id": f"bench-deadlines-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        with closing(Consumer(config)) as consumer:
            consumer.subscribe([OrderCancelled.topic])
            while not over.is_set():
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    due_ms = int(bytes(dict(message.headers() or [])["ce_deadline"]))  # type: ignore[arg-type]
                    late.append(time.time() * 1_000 - due_ms)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield late
    finally:
        over.set()
        thread.join()


def _wait(worker: Worker, so: Callable[[], bool]) -> None:
    """Return when it is so. Raises RuntimeError when the worker has ended, TimeoutError when it takes too long."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not so():
        if not worker.running:
            raise RuntimeError(worker.log[-2_000:])
        if time.monotonic() > until:
            raise TimeoutError(f"it was not so within {PATIENCE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _left(ground: Ground, of: str) -> int:
    with closing(sqlite3.connect(_file(ground))) as file:
        return int(file.execute(f"select count(*) from {of}").fetchone()[0])


def _sql(ground: Ground, sql: str, value: int) -> None:
    with closing(sqlite3.connect(_file(ground))) as file, file:
        file.execute(sql, [value] * sql.count("?"))


def _file(ground: Ground) -> str:
    return ground.env["ORDER_SERVICE_DATABASE"].removeprefix("sqlite:///")
