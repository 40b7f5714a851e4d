"""A fourth service, as docs/adding-a-service.md shows it: it joins a running choreography and touches nobody."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer

from eventbus.serde.codec import Codec
from eventbus.serde.registry import registry_at
from schemas import OrderConfirmed
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker
from tests.support.saga.processes import PATIENCE, Workers, command, environment

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "shipping"
CODEC = Codec(registry_at(None, [OrderConfirmed]), [OrderConfirmed])


@pytest.fixture
def env(fresh_broker: Broker, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the document's commands are run with; the topics made as it says."""
    env = environment(
        KAFKA_BOOTSTRAP_SERVERS=fresh_broker.bootstrap_servers,
        SHIPPING_SERVICE_DATABASE=f"sqlite:///{tmp_path}/shipping_service.db",
        PYTHONPATH=str(EXAMPLE),
    )
    for file in ([], ["--file", str(EXAMPLE / "topics.yaml")]):
        made = command("saga", "topics", "create", "--partitions", "4", *file, env=env, folder=tmp_path)
        assert made.code == 0, made
    yield env
    admin = Admin(fresh_broker.bootstrap_servers)
    admin.remove(admin.topics())


def confirm(broker: Broker, orders: Iterable[str]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for order_id in orders:
        producer.produce("order.confirmed", CODEC.encode(OrderConfirmed(order_id)), order_id)
    producer.flush()


def until(so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.1)


def test_every_confirmed_order_is_shipped_once_also_after_a_kill(
    fresh_broker: Broker, workers: Workers, env: dict[str, str]
) -> None:
    """The file alone is a worker: with its own event, table and topics, and killed in the middle it loses nothing."""
    admin = Admin(fresh_broker.bootstrap_servers)

    def shipped() -> list[Message]:
        return admin.read("order.shipped")

    first = [f"first-{number}" for number in range(1_000)]
    confirm(fresh_broker, first)
    killed = workers.start("shipping_service", "--instance", "a", env=env)
    killed.wait_for("batch.handled")
    killed.kill()
    second = [f"second-{number}" for number in range(500)]
    confirm(fresh_broker, second)
    worker = workers.start("shipping_service", "--instance", "a", env=env)
    until(lambda: len(shipped()) >= 1_500)
    assert worker.terminate() == 0
    assert Counter(message.key() for message in shipped()) == Counter(order.encode() for order in first + second)
    headers = dict(shipped()[0].headers())
    assert headers["ce_source"] == b"shipping-service"
    assert headers["ce_causationid"].startswith(b"order.confirmed/")
