"""A worker that waits publishes a new order when it is placed, and finds one whose signal was lost a little later."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from uuid_utils import uuid7

from eventbus import Codec, Ending, Worker, WorkerConfig
from eventbus.database import Database, connect
from eventbus.serde.registry import registry_at
from eventbus.worker import root_events, worker
from order_service.domain import OrderRequest
from order_service.repository import SCHEMA
from order_service.service import OrderService
from tests.support.saga import Saga
from tests.support.saga.processes import PATIENCE

LONG = 4 * PATIENCE


def order_service() -> OrderService:
    return OrderService(lambda: time.time_ns() // 1_000_000, lambda: str(uuid7()))


@contextmanager
def running(saga: Saga, url: str) -> Iterator[Database]:
    """Run a worker until it has published a first order, and return a connection to its database."""
    process = Worker(order_service(), WorkerConfig(saga.bootstrap_servers, url, instance="one"))
    endings: list[Ending] = []
    thread = threading.Thread(target=lambda: endings.append(process.run()))
    with closing(connect(url, service="order-service", schema=SCHEMA)) as database:
        thread.start()
        try:
            place(database)
            wait_until_taken(database)
            yield database
        finally:
            process.stop()
            thread.join(PATIENCE)
    assert endings == [Ending(0, None)]


def place(database: Database) -> None:
    service = order_service()
    codec = Codec(registry_at(None, service.events()), service.events())
    service.create_order(OrderRequest("42", 100, "USD", (("cd-1", 1),), str(uuid7())), database, codec)


def wait_until_taken(database: Database) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with database.snapshot() as tx:
            if tx.rows("select count(*) from uncaused") == [(0,)]:
                return
        assert time.monotonic() < deadline, "the order was not taken"
        time.sleep(0.02)


def test_a_placed_order_wakes_the_worker(own_saga: Saga, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would query root events only in minutes."""
    with running(own_saga, database_url) as database:
        pass
    monkeypatch.setattr(worker, "SIGNALLED_QUERY_SECONDS", LONG)
    with running(own_saga, database_url) as database:
        for _ in range(3):
            time.sleep(0.5)
            place(database)
            wait_until_taken(database)


def test_a_lost_signal_only_delays(own_saga: Saga, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_events.RootEventSignal, "seen", lambda _self: False)
    with running(own_saga, database_url) as database:
        place(database)
        wait_until_taken(database)
