"""On a broker that makes topics for whoever asks, a topic that is deleted under us is not made anew by us."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.kafka.config import BadKafkaConfig, Connection, check, consumer_config, producer_config
from eventbus.kafka.topics import uneven
from eventbus.worker import announcement
from saga.kafka.cluster import client_config, reader_config
from tests.conftest import do_without
from tests.support import brokers
from tests.support.brokers.kafka_node import NoBroker
from tests.support.saga import Saga

MISSING, REFUSED = 5, 3
SECONDS = 3.0
"""librdkafka asks for a topic that it does not know several times a second."""
QUIET = logging.getLogger("tests.nobody")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


@pytest.fixture(scope="module")
def generous() -> Iterator[str]:
    """Such a broker, as Kafka is by default."""
    try:
        broker = brokers.own_kind()(**{"auto.create.topics.enable": "true"})
    except NoBroker as why:
        do_without("Kafka with properties of its own", why)
    broker.start()
    yield broker.bootstrap_servers
    broker.stop()


def write(config: dict[str, Any], topic: str) -> None:
    """Try to write to a topic, as this configuration does."""
    producer = Producer(config, logger=QUIET)
    if "transactional.id" in config:
        producer.init_transactions(30)
        producer.begin_transaction()
    producer.produce(topic, b"value", b"key")
    producer.flush(SECONDS)
    producer.purge()
    producer.flush(1)


def read(config: dict[str, Any], topic: str) -> None:
    """Try to read a topic: as a member of the group, and by assignment."""
    consumer = Consumer(config, logger=QUIET)
    for begin in (lambda: consumer.subscribe([topic]), lambda: consumer.assign([TopicPartition(topic, 0, 0)])):
        begin()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            consumer.poll(0.2)
        consumer.unsubscribe()
    consumer.close()


def connection(servers: str, *, exactly_once: bool = True) -> Connection:
    return Connection(servers, "group", "1", exactly_once)


CLIENTS: dict[str, tuple[Callable[[str], dict[str, Any]], Callable[[dict[str, Any], str], None]]] = {
    "producer": (lambda servers: producer_config(connection(servers)), write),
    "producer-at-least-once": (lambda servers: producer_config(connection(servers, exactly_once=False)), write),
    "announcement": (lambda servers: announcement._configuration(connection(servers)), write),
    "tool-that-writes": (client_config, write),
    "consumer": (lambda servers: consumer_config(connection(servers)), read),
    "tool-that-reads": (lambda servers: reader_config(client_config(servers)), read),
}


def topics(servers: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": servers}, logger=QUIET).list_topics(timeout=30).topics)


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_of_ours_makes_a_topic(client: str, generous: str) -> None:
    """Producers would: librdkafka's ask for it unless they are told not to."""
    config, use = CLIENTS[client]
    use(config(generous), f"missing-{client}")
    assert f"missing-{client}" not in topics(generous)


def test_a_topic_that_is_deleted_under_workers_does_not_come_back(generous: str, tmp_path: Path) -> None:
    """Its consumers refuse, its producers report it as missing; meanwhile all of them request its metadata."""
    saga = Saga(tmp_path, generous)
    saga.make_topics(2)
    try:
        workers = saga.start_all()
        saga.admin.remove(["order.created"])
        assert [worker.wait() for worker in workers] == [MISSING, REFUSED, REFUSED]
        assert "order.created" not in topics(generous)
        again = saga.start("payment_service")
        assert again.wait() == MISSING
        assert "order.created" in again.log.splitlines()[-1]
        assert "order.created" not in topics(generous)
    finally:
        saga.close()


def test_the_broker_does_make_topics_for_who_asks(generous: str) -> None:
    """Or the tests above would show nothing."""
    write({"bootstrap.servers": generous}, "asked-for")
    assert "asked-for" in topics(generous)


def test_nobody_can_ask_for_it() -> None:
    """Also not by a setting."""
    with pytest.raises(BadKafkaConfig, match=r"--kafka-config allow\.auto\.create\.topics"):
        check({"allow.auto.create.topics": "true"})


def test_a_number_of_partitions_unlike_the_others_is_named() -> None:
    """The one that most topics have is the right one."""
    assert uneven({"a": 4, "b": 4, "c": 1}) == "c has 1, the other topics have 4 partitions"
    assert uneven({"a": 4, "b": 4}) is None
    assert uneven({}) is None
