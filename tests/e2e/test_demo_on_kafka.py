"""On a real Kafka: `saga topics` makes what is missing and nothing else, and `saga demo` leaves it as it was."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Producer

from saga.kafka.topics_file import read_topics
from tests.support.brokers.admin import Admin
from tests.support.saga.processes import command, environment


@pytest.fixture(scope="module")
def kafka(fresh_broker):
    """A broker without any topic of the saga's, before and after."""
    yield fresh_broker.bootstrap_servers
    Admin(fresh_broker.bootstrap_servers).remove([topic.name for topic in read_topics()])


@pytest.fixture
def saga(kafka, tmp_path):
    """Run a command of `saga` on that broker, with its temporary files in a folder of the test's."""
    env = environment(KAFKA_BOOTSTRAP_SERVERS=kafka, TMPDIR=str(tmp_path))
    return lambda *arguments: command("saga", *arguments, env=env, folder=tmp_path)


def statuses(done) -> set[str]:
    return {finding["status"] for finding in json.loads(done.stdout)}


def partitions(saga) -> set[tuple[int, int]]:
    listed = json.loads(saga("topics", "list", "--json").stdout)
    return {(topic["partitions"], topic["offsets"]) for topic in listed}


def test_the_demo_makes_the_topics_it_needs_and_removes_them(saga, kafka, tmp_path):
    """With exactly-once delivery: an event that stood twice on the log would be a violation."""
    done = saga("demo", "--orders", "12", "--bootstrap-servers", kafka)
    assert (done.code, done.stderr) == (0, "")
    assert "orders 12, of which 0 open" in done.stdout
    assert f"The broker is the Kafka at {kafka}\n" in done.stdout
    assert partitions(saga) == {(0, 0)}
    assert list(tmp_path.iterdir()) == []


def test_topics_are_made_once_and_never_changed(saga):
    """Created, then they exist, then they differ from what else is wanted; resolutions have one partition anyhow."""
    assert statuses(saga("topics", "create", "--partitions", "6", "--json")) == {"created"}
    again = saga("topics", "create", "--partitions", "6", "--json")
    assert (again.code, statuses(again)) == (0, {"exists"})
    other = saga("topics", "create", "--partitions", "7", "--json")
    assert (other.code, statuses(other)) == (1, {"differs", "exists"})
    found = {finding["topic"]: finding["status"] for finding in json.loads(other.stdout)}
    assert (found["order.created"], found["order-service.dead-letters.resolutions"]) == ("differs", "exists")
    assert partitions(saga) == {(6, 0), (1, 0)}


def test_a_property_that_differs_is_named(saga, tmp_path):
    """With both values."""
    path = tmp_path / "topics.yaml"
    path.write_text("events: [order.created]\nconfig: {events: {max.message.bytes: 5}}")
    done = saga("topics", "create", "--partitions", "6", "--file", str(path))
    assert done.code == 1
    assert "order.created: max.message.bytes is 1048588, not 5" in done.stdout


def test_the_demo_gives_back_empty_topics_as_they_were(saga, kafka):
    """With their own number of partitions; workers that start later find neither records nor cursors."""
    saga("topics", "create", "--partitions", "6")
    done = saga("demo", "--orders", "6", "--bootstrap-servers", kafka)
    assert (done.code, done.stderr) == (0, "")
    assert partitions(saga) == {(6, 0), (1, 0)}


def test_the_demo_refuses_a_broker_that_has_orders(saga, kafka):
    """And touches nothing."""
    saga("topics", "create", "--partitions", "6")
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce("order.created", b"somebody's order")
    assert producer.flush(10) == 0
    done = saga("demo", "--bootstrap-servers", kafka)
    assert (done.code, done.stdout) == (1, "")
    assert "the topic order.created is not empty" in done.stderr
    assert json.loads(saga("topics", "list", "--json").stdout)[0]["offsets"] == 1
