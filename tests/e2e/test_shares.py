"""Every topic is spread evenly over the payment workers, also after one was killed and all were rolled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.brokers.kafka_node import OwnBroker
from tests.support.saga import SESSION, Saga
from tests.support.saga.processes import Worker

PARTITIONS = 12
SOON_OUT = {"group.consumer.min.session.timeout.ms": "6000", "group.consumer.session.timeout.ms": "6000"}
PROTOCOLS = {"classic": SESSION, "consumer": ("--kafka-config", "group.protocol=consumer")}
TOPICS = ("order.created", "order.cancelled")


@pytest.fixture
def shop(make_broker: Callable[..., OwnBroker], tmp_path: Path) -> Iterator[Saga]:
    saga = Saga(tmp_path, make_broker(**SOON_OUT).bootstrap_servers, PAYMENT_GATEWAY="simulated://")
    saga.make_topics(PARTITIONS)
    yield saga
    saga.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shares_are_even_after_a_kill_and_a_roll(shop: Saga, protocol: str) -> None:
    """`kill -9` of one of three, back again, then each stopped and started anew, one after the other."""

    def start(name: str) -> None:
        workers[name] = shop.start("payment_service", *PROTOCOLS[protocol], instance=name)
        workers[name].wait_ready()

    def even() -> bool:
        return is_even(shop, len(workers))

    workers: dict[str, Worker] = {}
    for name in "abc":
        start(name)
    shop.until(even, "three have no even shares")
    workers.pop("b").kill()
    shop.until(even, "two have no even shares")
    start("b")
    shop.until(even, "three have no even shares after a kill")
    for name in "abc":
        assert workers[name].terminate() == 0
        start(name)
        shop.until(even, f"no even shares after {name} was started anew")


def is_even(saga: Saga, workers: int) -> bool:
    """Whether each topic's partitions all have owners, and no worker has two more of them than another one."""
    shares = saga.admin.shares("payment-service")
    return all(
        sum(share.values()) == PARTITIONS and len(share) == workers and max(share.values()) - min(share.values()) <= 1
        for share in (shares.get(topic, {}) for topic in TOPICS)
    )
