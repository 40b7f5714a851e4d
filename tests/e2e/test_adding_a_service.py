"""A fourth service, as docs/adding-a-service.md shows it: it joins a running choreography and touches nobody."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from eventbus.serde.codec import Codec
from eventbus.serde.registry import registry_at
from schemas import OrderConfirmed
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker
from tests.support.saga.processes import PATIENCE, Workers, command, environment

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLE = EXAMPLES / "shipping"
CODEC = Codec(registry_at(None, [OrderConfirmed]), [OrderConfirmed])


@pytest.fixture
def env(fresh_broker: Broker, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the document's commands are run with; the topics made as it says."""
    env = environment(
        KAFKA_BOOTSTRAP_SERVERS=fresh_broker.bootstrap_servers,
        SHIPPING_SERVICE_DATABASE=f"sqlite:///{tmp_path}/shipping_service.db",
        BELL_SERVICE_DATABASE=f"sqlite:///{tmp_path}/bell-service.db",
        PYTHONPATH=f"{EXAMPLES.parents[1]}:{EXAMPLE}:{EXAMPLES / 'bell'}",
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


def test_the_smallest_service_runs_as_the_page_says(
    fresh_broker: Broker, workers: Workers, env: dict[str, str], tmp_path: Path
) -> None:
    """Topics made from its declaration; it keeps nothing, publishes nothing, and goes on where it was."""
    too_early = workers.start("bell_service", "--instance", "a", env=env)
    assert too_early.wait() == 5
    declared = command("bell_service", "declaration", env=env, folder=tmp_path)
    (tmp_path / "bell-service.json").write_text(declared.stdout)
    said = too_early.log.splitlines()[-1]
    [(wanted, file, make)] = re.findall(r"saga (flow .*) > (\S+); saga (topics .*)$", said)
    flow = command("saga", *wanted.split(), env=env, folder=tmp_path)
    (tmp_path / file).write_text(flow.stdout)
    made = command("saga", *make.split(), "--partitions", "4", env=env, folder=tmp_path)
    assert made.code == 0, made
    for order in ("first", "second"):
        confirm(fresh_broker, [order])
        worker = workers.start("bell_service", "--instance", "a", env=env)
        worker.wait_for(f"ring: {order}")
        assert worker.terminate() == 0
    assert "ring: first" not in worker.log


def test_its_events_are_shown_by_tools_that_do_not_import_it(
    fresh_broker: Broker, workers: Workers, env: dict[str, str], tmp_path: Path
) -> None:
    """By its declaration in a folder: workers, tail, track, show, why; without it the message says where to put it."""
    confirm(fresh_broker, ["order-1"])
    workers.start("shipping_service", "--instance", "a", env=env).wait_for('"published": {"order.shipped": 1}')

    def tail() -> dict[str, Any]:
        done = command("saga", "tail", "order.shipped", "--no-follow", env=env, folder=tmp_path)
        assert done.code == 0, done
        return json.loads(done.stdout)

    until(lambda: admin_reads(fresh_broker))
    assert "no released schema has the id 1001 (see SAGA_DECLARATIONS" in tail()["error"]
    (tmp_path / "declarations").mkdir()
    declared = command("shipping_service", "declaration", env=env, folder=tmp_path)
    (tmp_path / "declarations" / "shipping-service.json").write_text(declared.stdout)
    env = env | {"SAGA_DECLARATIONS": "declarations", "SAGA_TRACKER": "tracker.db"}
    env |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    listed = json.loads(command("saga", "workers", "--json", env=env, folder=tmp_path).stdout)
    assert ("shipping-service", "a") in {(each["service"], each["worker"]) for each in listed["workers"]}
    assert listed["not_read"] == []
    assert tail()["value"] == {"order_id": "order-1", "parcel": "parcel-order-1"}
    tracked = command("saga", "track", "--no-follow", env=env, folder=tmp_path)
    assert tracked.code == 0, tracked
    for question in ("show", "why"):
        told = command("saga", question, "order-1", env=env, folder=tmp_path)
        assert told.code == 0, told
        assert "order.shipped: parcel parcel-order-1" in told.stdout, told
        assert "second-ending" not in told.stdout, told


def admin_reads(broker: Broker) -> bool:
    return bool(Admin(broker.bootstrap_servers).read("order.shipped"))
