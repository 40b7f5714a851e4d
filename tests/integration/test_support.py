"""What the other tests stand on does what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from eventbus import database
from tests.chaos.proxy import LATE_COPY, LOSE_REQUEST, Api, NetworkFault, Proxy
from tests.conftest import MakeTopics, proxy_to
from tests.support import stopwatch
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker, OwnBroker
from tests.support.registries.apicurio import ApicurioRegistry
from tests.support.saga.processes import PATIENCE
from tests.support.stopwatch import Stopwatch

BUSY = "import time\nuntil = time.monotonic() + 0.5\nwhile time.monotonic() < until: pass"


def transactional(bootstrap_servers: str, name: str) -> Producer:
    config = {"bootstrap.servers": bootstrap_servers, "transactional.id": name, "linger.ms": 0, "retry.backoff.ms": 5}
    producer = Producer(config, logger=None)
    producer.init_transactions(PATIENCE)
    return producer


def commit(producer: Producer, topic: str, *values: bytes) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.commit_transaction(PATIENCE)


def values(broker: Broker, topic: str, *, committed: bool = True) -> list[bytes | None]:
    return [record.value() for record in Admin(broker.bootstrap_servers).read(topic, committed=committed)]


def test_the_broker_keeps_what_was_produced(broker: Broker, make_topics: MakeTopics) -> None:
    (topic,) = make_topics("kept", partitions=1)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    producer.produce(topic, b"one", key=b"k")
    assert producer.flush(PATIENCE) == 0
    (record,) = Admin(broker.bootstrap_servers).read(topic)
    assert (record.key(), record.value()) == (b"k", b"one")


def test_an_aborted_record_is_there_but_not_for_read_committed(broker: Broker, make_topics: MakeTopics) -> None:
    (topic,) = make_topics("aborted", partitions=1)
    producer = transactional(broker.bootstrap_servers, topic)
    producer.begin_transaction()
    producer.produce(topic, b"regretted")
    producer.flush(PATIENCE)
    producer.abort_transaction(PATIENCE)
    commit(producer, topic, b"meant")
    assert values(broker, topic) == [b"meant"]
    assert values(broker, topic, committed=False) == [b"regretted", b"meant"]


def test_a_dead_letter_topic_takes_more_than_the_brokers_default(broker: Broker, make_topics: MakeTopics) -> None:
    (topic,) = make_topics("large", partitions=1, config={"max.message.bytes": "1114124"})
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.max.bytes": 1_114_124})
    producer.produce(topic, b"x" * 1_100_000)
    assert producer.flush(PATIENCE) == 0
    assert [len(value or b"") for value in values(broker, topic)] == [1_100_000]


def test_the_proxy_sees_the_commit_of_a_transaction_and_lets_it_through(
    broker: Broker, proxy: Proxy, make_topics: MakeTopics
) -> None:
    (topic,) = make_topics("seen", partitions=1)
    commit(transactional(proxy.bootstrap_servers, topic), topic, b"one")
    assert proxy.seen.count(Api.END_TXN) == 1
    assert values(broker, topic) == [b"one"]


def test_the_proxy_loses_a_request_and_the_client_sends_it_again(
    broker: Broker, proxy: Proxy, make_topics: MakeTopics
) -> None:
    (topic,) = make_topics("lost", partitions=1)
    producer = transactional(proxy.bootstrap_servers, topic)
    proxy.next(Api.END_TXN, LOSE_REQUEST)
    commit(producer, topic, b"one")
    assert proxy.seen.count(Api.END_TXN) == 2
    assert values(broker, topic) == [b"one"]


def test_the_proxy_delays_a_response(proxy: Proxy, make_topics: MakeTopics) -> None:
    (topic,) = make_topics("delayed", partitions=1)
    producer = transactional(proxy.bootstrap_servers, topic)
    proxy.next(Api.END_TXN, NetworkFault(delay=1.0))
    began = time.monotonic()
    commit(producer, topic, b"one")
    assert time.monotonic() - began > 1.0


def test_a_held_copy_of_a_commit_ends_the_next_transaction_when_it_arrives(
    broker: Broker, proxy: Proxy, make_topics: MakeTopics
) -> None:
    """What a repeated EndTxn can do with transactions v1; a client must never begin on such a producer."""
    (topic,) = make_topics("late", partitions=1)
    producer = transactional(proxy.bootstrap_servers, topic)
    proxy.next(Api.END_TXN, LATE_COPY)
    commit(producer, topic, b"first")
    producer.begin_transaction()
    producer.produce(topic, b"open")
    producer.flush(PATIENCE)
    assert values(broker, topic) == [b"first"]
    proxy.send_held()
    deadline = time.monotonic() + PATIENCE
    while values(broker, topic) != [b"first", b"open"]:
        assert time.monotonic() < deadline, "the open transaction was not committed by the late copy"


@pytest.mark.parametrize("killed", [True, False])
def test_a_broker_of_the_tests_comes_back_with_its_data_and_address(
    make_broker: Callable[..., OwnBroker], killed: bool
) -> None:
    broker = make_broker()
    Admin(broker.bootstrap_servers).create(["kept"], partitions=1)
    commit(transactional(broker.bootstrap_servers, "kept"), "kept", b"one")
    if killed:
        broker.kill()
    broker.restart()
    with proxy_to(broker.host_ports) as proxy:
        commit(transactional(proxy.bootstrap_servers, "kept"), "kept", b"two")
    assert values(broker, "kept") == [b"one", b"two"]


def test_a_stopwatch_counts_pauses_but_not_what_the_machine_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a promise would be held against the machine, or against nobody."""
    monkeypatch.setattr(stopwatch, "PRESSURE", tmp_path)
    watch = Stopwatch()
    time.sleep(0.1)
    assert watch.seconds + watch.held >= 0.1
    (tmp_path / "cpu").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=60000000\nfull avg10=0.00 total=0\n")
    assert watch.held >= 60
    assert watch.seconds == 0


def test_a_stopwatch_stands_still_while_somebody_waits_for_a_cpu() -> None:
    """More processes that have work than there are CPUs."""
    if not (stopwatch.PRESSURE / "cpu").exists():
        pytest.skip("this kernel tells nothing of it")
    watch = Stopwatch()
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2 * (os.cpu_count() or 1))]
    assert [process.wait() for process in busy] == [0] * len(busy)
    assert watch.held > 0.2


def test_a_database_of_either_kind_is_new_and_reachable(database_url: str) -> None:
    connection = database.connect(database_url, service="some-service", schema="create table t (k text primary key);")
    with connection.transaction() as tx:
        assert tx.rows("select name from service") == [("some-service",)]
        assert tx.rows("select k from t") == []
    connection.close()


def test_the_registry_speaks_confluents_api(registry: ApicurioRegistry) -> None:
    with urllib.request.urlopen(f"{registry.url}/subjects", timeout=10) as response:
        assert isinstance(json.load(response), list)
