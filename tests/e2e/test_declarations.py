"""Each worker says what it is on a topic when it starts; the flow is read from there. Nothing depends on it."""

from __future__ import annotations

import json

from eventbus.manifest import read_declaration
from eventbus.worker.announcement import TOPIC
from tests.support.saga import Saga


def test_the_flow_is_read_from_what_running_workers_announced(saga: Saga) -> None:
    """With versions and instances; a record that is none is passed over, and what is older does not count."""
    saga.admin.produce(TOPIC, b"payment-service/old", b"no declaration")
    saga.start_all()
    saga.until(lambda: len(saga.admin.read(TOPIC)) == 4, "not everybody had announced")
    installed = json.loads(saga.run("saga", "flow", "--format", "json").stdout)
    done = saga.run("saga", "flow", "--announced", "--format", "json")
    announced = json.loads(done.stdout)
    assert done.stderr.count("skipped: choreography.declarations/") == 1
    workers = announced.pop("workers")
    assert [(worker["service"], worker["instance"]) for worker in workers] == [
        ("inventory-service", "a"),
        ("order-service", "a"),
        ("payment-service", "a"),
    ]
    assert {worker["version"] for worker in workers} == {installed["services"][0]["version"]}
    assert announced | {"workers": []} == installed


def test_what_the_declaration_command_writes_is_what_a_worker_announces(saga: Saga) -> None:
    """To the byte, keyed by service and instance."""
    written = saga.run("payment_service", "declaration").stdout
    assert read_declaration(written, "payment").service == "payment-service"
    [announced] = [record for record in saga.admin.read(TOPIC) if record.key() == b"payment-service/a"]
    assert (announced.value() or b"").decode() == written


def test_without_the_topic_a_worker_says_so_once_and_works(saga: Saga) -> None:
    """It is for people who look; an order is charged all the same."""
    saga.workers.kill_all()
    saga.admin.remove([TOPIC])
    [_, payment, _] = saga.start_all()
    saga.stock(cd_1=1)
    assert saga.place("cd-1=1")["status"] == "confirmed"
    [said] = payment.events("declaration.not_announced")
    assert TOPIC in said["why"]
    done = saga.run("saga", "flow", "--announced")
    assert (done.code, done.stdout) == (1, "")
    assert TOPIC in done.stderr


def test_topics_that_are_joined_but_cut_differently_are_found_on_the_broker(saga: Saga) -> None:
    """`saga verify --topics` compares what the cluster has."""
    assert saga.run("saga", "verify", "--topics").code == 0
    saga.workers.kill_all()
    saga.admin.remove(["payment.charged"])
    saga.admin.create(["payment.charged"], partitions=3)
    done = saga.run("saga", "verify", "--topics", "--json")
    assert done.code == 1
    [violation] = json.loads(done.stdout)["violations"]
    assert (violation["rule"], violation["event"]) == ("joined-topics-have-the-same-partitions", "payment.charged")
