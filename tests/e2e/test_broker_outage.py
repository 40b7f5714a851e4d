"""The broker goes away in the middle of the work and comes back: no worker ends, nothing is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.brokers.kafka_node import OwnBroker
from tests.support.saga import SESSION, Saga
from tests.support.saga.outages import Endured
from tests.support.stopwatch import Stopwatch

AWAY_SECONDS = 8
"""Longer than the workers' sessions; `make outages` takes a minute."""
STOP_SECONDS = 10


@pytest.fixture
def own_broker(make_broker: Callable[..., OwnBroker]) -> OwnBroker:
    """A broker that may be killed."""
    return make_broker()


@pytest.fixture
def saga(own_broker: OwnBroker, tmp_path) -> Iterator[Saga]:
    """A saga on that broker, with a slow provider, so that there is work for some seconds."""
    slow = f"simulated:///{tmp_path}/provider.db?latency-ms=100"
    saga = Saga(tmp_path, own_broker.bootstrap_servers, PAYMENT_GATEWAY=slow)
    saga.make_topics(3)
    saga.stock(cd_1=100_000)
    yield saga
    saga.close()


def test_workers_live_through_an_outage_of_the_broker(saga, own_broker):
    """They stay alive and say what they wait for; orders are taken meanwhile, and all end when it is back."""
    workers = saga.start_all(*SESSION)
    placed = saga.in_the_middle("before", 2_000, "cd-1")
    outage = Endured(workers, AWAY_SECONDS)
    own_broker.kill()
    saga.import_orders("meanwhile", 500, "cd-1")
    outage.wait()
    own_broker.restart()
    outage.over(saga)
    assert sum(saga.summary().values()) == placed + 500
    assert all(worker.events("waiting") for worker in workers)
    assert [worker.terminate() for worker in workers] == [0, 0, 0]


@pytest.mark.parametrize("after", [0, 7], ids=["at once", "after the session"])
def test_a_worker_can_be_stopped_while_the_broker_is_away(saga, own_broker, after):
    """In time, with code 0; what it could not publish, the next one does."""
    workers = saga.start_all(*SESSION)
    saga.in_the_middle("early", 2_000, "cd-1")
    own_broker.kill()
    time.sleep(after)
    stopping = Stopwatch()
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    took = stopping.seconds
    print(f"stopped within {took:.1f} s")
    assert took < STOP_SECONDS
    own_broker.restart()
    saga.start_all(*SESSION)
    saga.settle()
