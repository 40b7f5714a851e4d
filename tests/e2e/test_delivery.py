"""Other ways to run the same workers: Kafka's newer group protocol, PostgreSQL, and at-least-once delivery."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from schemas import EVENTS
from tests.support.brokers.kafka_node import OwnBroker
from tests.support.saga import SERVICES, SESSION, Saga

NEWER = ("--kafka-config", "group.protocol=consumer")
MakeSaga = Callable[..., Saga]


@pytest.fixture
def make_saga(make_broker: Callable[..., OwnBroker], tmp_path) -> Iterator[MakeSaga]:
    """Return a function that makes a saga with plenty of cd-1 and a slow provider, on a broker of its own."""
    made: list[Saga] = []

    def make(**settings: str) -> Saga:
        slow = f"simulated:///{tmp_path}/provider.db?latency-ms=100"
        saga = Saga(tmp_path, make_broker().bootstrap_servers, PAYMENT_GATEWAY=slow, **settings)
        made.append(saga)
        saga.make_topics(4)
        saga.stock(cd_1=100_000)
        return saga

    yield make
    for saga in made:
        saga.close()


def test_the_newer_group_protocol_works_too(make_saga: MakeSaga) -> None:
    """KIP-848, without group.instance.id: workers come and go, every order ends."""
    saga = make_saga()
    first = saga.start_all(*NEWER)
    assert saga.place("cd-1=1")["status"] == "confirmed"
    saga.import_orders("newer", 1_000, "cd-1")
    second = saga.start_all(*NEWER, instance="b")
    assert [worker.terminate() for worker in first] == [0, 0, 0]
    saga.settle()
    assert [worker.terminate() for worker in second] == [0, 0, 0]


def test_on_postgresql_two_workers_a_service_survive_a_killed_one(make_saga: MakeSaga, postgres_url: str) -> None:
    """All three services in one database, each in a schema of its own; both books say the same in the end."""
    databases = dict.fromkeys(
        ("ORDER_SERVICE_DATABASE", "PAYMENT_SERVICE_DATABASE", "INVENTORY_SERVICE_DATABASE"), postgres_url
    )
    saga = make_saga(**databases)
    saga.stock(cd_2=100)
    workers = {(module, name): saga.start(module, *SESSION, instance=name) for module in SERVICES for name in "ab"}
    for worker in workers.values():
        worker.wait_ready()
    saga.import_orders("short", 300, "cd-2")
    sold = saga.in_the_middle("sold", 1_500, "cd-1")
    for module in SERVICES:
        workers[module, "a"].kill()
        workers[module, "a"] = saga.start(module, *SESSION, instance="a")
    assert saga.settle()["orders"] == sold + 300
    assert saga.summary() == {"confirmed": sold + 100, "cancelled": 200}
    books = saga.ask("payment_service", "ledger")
    assert (
        books["service"]
        == books["provider"]
        == {"USD": {"charged": 100 * (sold + 300), "refunded": 20_000, "net": 100 * (sold + 100)}}
    )


def test_orders_in_flight_go_on_when_partitions_are_added(make_saga: MakeSaga) -> None:
    """What was written before lies where its key does not belong now: handled there, once, and named by the check."""
    saga = make_saga()
    order = saga.start("order_service", *SESSION)
    order.wait_ready()
    saga.import_orders("moved", 600, "cd-1")
    saga.until(lambda: len(saga.records("order.created")) == 600, "not every order was announced")
    payment = saga.start("payment_service", *SESSION)
    payment.wait_ready()
    saga.until(lambda: saga.rows("payment-service", "select 1 from payment limit 1"), "nothing was charged")
    assert [worker.terminate() for worker in (order, payment)] == [0, 0]
    topics = [event.topic for event in EVENTS]
    saga.admin.grow(topics, 7)
    for instance in "ab":
        saga.start_all(*SESSION, instance=instance)
    saga.until(lambda: not saga.pending(), "not every order had ended")
    saga.until(lambda: broken(saga).keys() == {"one-partition-per-order"}, "more is broken than the keys' places")
    assert saga.summary() == {"confirmed": 600}
    assert [len(saga.records(f"{name.replace('_', '-')}.dead-letters")) for name in SERVICES] == [0, 0, 0]
    places: dict[bytes, set[int]] = {}
    for record in (record for topic in topics for record in saga.records(topic)):
        places.setdefault(record.key(), set()).add(record.partition())
    moved = {key.decode() for key, numbers in places.items() if len(numbers) > 1}
    assert broken(saga)["one-partition-per-order"] == moved
    assert len(moved) > 300, "most keys belong elsewhere now"


def broken(saga: Saga) -> dict[str, set[str]]:
    """Return which orders break which laws; `not at rest` while something moves."""
    report = json.loads(saga.run("saga", "check", "--finished", "--json").stdout)
    if (report["orders"], report["open"]) != (600, 0):
        return {"not at rest": set()}
    orders: dict[str, set[str]] = {}
    for violation in report["violations"]:
        orders.setdefault(violation["law"], set()).add(violation["order_id"])
    return orders


def test_at_least_once_an_event_may_stand_on_the_log_again_but_has_its_effect_once(make_saga: MakeSaga) -> None:
    """On a real broker, with all three workers killed in the middle of the work."""
    saga = make_saga()
    workers = saga.start_all("--delivery", "at-least-once", *SESSION)
    placed = saga.in_the_middle("least", 2_000, "cd-1")
    for worker in workers:
        worker.kill()
    saga.start_all("--delivery", "at-least-once", *SESSION)
    assert saga.settle("--delivery", "at-least-once")["orders"] == placed
    assert saga.shelf()["cd-1"]["reserved"] == placed
