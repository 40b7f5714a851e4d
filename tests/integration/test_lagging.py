"""Records that go away under a worker which is running, and has not come to them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.log import Output
from saga.kafka.topics_file import read_topics
from schemas import Item, OrderCreated
from tests.support.brokers.admin import Admin
from tests.support.models.saga_model import CREATED, PARTITIONS
from tests.support.models.written_saga import new_codec
from tests.support.saga.processes import PATIENCE, Workers, command, saga_environment

CODEC = new_codec()


@pytest.fixture
def env(topics: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The saga's topics, all of them, and where the services' databases are."""
    env = saga_environment(tmp_path, topics)
    command("saga", "topics", "create", "--partitions", str(PARTITIONS), env=env, folder=tmp_path)
    yield env
    Admin(topics).remove([topic.name for topic in read_topics() if topic.kind != "events"])


def orders(first: int, count: int) -> list[Output]:
    events = [OrderCreated(f"order-{n}", "anna", 100, "USD", (Item("cd", 1),), "") for n in range(first, first + count)]
    return [Output(CREATED, e.key.encode(), CODEC.encode(e), [("ce_source", b"order-service")]) for e in events]


def test_records_deleted_under_a_lagging_worker_end_it(env, workers: Workers, tmp_path):
    """It stood still while they came and went: code 3, which topic, and nothing is passed over in silence."""
    admin = Admin(env["KAFKA_BOOTSTRAP_SERVERS"])
    worker = workers.start("payment_service", env=env)
    worker.wait_ready()
    admin.produce_many(orders(0, 20))
    worker.wait_for("batch.handled")
    worker.stop()
    admin.produce_many(orders(20, 20))  # the answer to the fetch that is under way; there is no other one
    admin.produce_many(orders(40, 1_980))
    client = AdminClient({"bootstrap.servers": env["KAFKA_BOOTSTRAP_SERVERS"]})
    ends = {number: sum(r.partition() == number for r in admin.read(CREATED)) for number in range(PARTITIONS)}
    for deleted in client.delete_records([TopicPartition(CREATED, n, end) for n, end in ends.items()]).values():
        deleted.result(PATIENCE)
    worker.signal(signal.SIGCONT)
    assert worker.wait() == 3
    assert "truncated" in worker.log
    shown = command("payment_service", "show", "order-2000", "--json", env=env, folder=tmp_path)
    assert (shown.code, "order-2000" in json.dumps(shown.stderr)) == (1, True)
