"""librdkafka's configuration: the settings that exactly-once depends on, and those that were measured to be fast."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from eventbus.text.redaction import scrub, secrets_in

C = TypeVar("C")

NO_CREATION = {"allow.auto.create.topics": False}
"""For every client. A broker with `auto.create.topics.enable` would recreate a topic that was deleted while a worker
uses it, with its default number of partitions; librdkafka's producers request that unless it is switched off."""
RESERVED = {
    "allow.auto.create.topics",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "log.connection.close",
    "log_level",
    "partitioner",
    "transactional.id",
}
"""Settings that exactly-once and the order of events depend on: --kafka-config cannot set them."""
ASSIGNOR = "range"
ASSIGNORS = ("partition.assignment.strategy", "group.remote.assignor")
"""The settings of the assignor, of the classic group protocol and the newer one: --kafka-config cannot set them."""
ONLY_CONSUMER = (
    "fetch.",
    "queued.",
    "max.poll.",
    "session.",
    "heartbeat.",
    "group.",
    "partition.assignment.",
    "check.",
)
ONLY_PRODUCER = ("queue.", "linger.", "batch.", "compression.", "acks", "delivery.", "transaction.", "message.timeout")
CLASSIC_ONLY = ("group.instance.id", "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms")
LARGEST_DEAD_LETTER = 1_114_124
"""Bytes: the largest input record, plus 64 KiB for its origin, the reason and the time."""
LOGS_DISCONNECTS = 6
"""Syslog's INFO. Below it librdkafka does not log that a connection broke with one request in flight (an EndTxn)."""


POLL_INTERVAL_MS = 60_000
"""Or session.timeout.ms, if that is longer: librdkafka requires it."""


class BadKafkaConfig(ValueError):
    """A --kafka-config setting that does not exist, or that users cannot set."""


@dataclass(frozen=True, slots=True)
class Clients:
    """The factories of the Kafka clients; each is called with a configuration and `logger=`."""

    consumer: Callable[..., Any] = Consumer
    producer: Callable[..., Any] = Producer
    admin: Callable[..., Any] = AdminClient


@dataclass(frozen=True, slots=True)
class Connection:
    """Which cluster to connect to, with which identity and settings."""

    bootstrap_servers: str
    group: str
    instance: str
    exactly_once: bool = True
    extra: dict[str, str] = field(default_factory=dict)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("rdkafka"))
    clients: Clients = Clients()

    def common(self) -> dict[str, Any]:
        """Return the settings of every client, including the admin client."""
        general = {k: v for k, v in self.extra.items() if not k.startswith((*ONLY_CONSUMER, *ONLY_PRODUCER))}
        return {
            **NO_CREATION,
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": self.instance,
            "log_level": 5,
        } | general


def client(kind: Callable[..., C], config: dict[str, Any], logger: logging.Logger) -> C:
    """Create a client. Raises BadKafkaConfig if librdkafka does not know a setting, or rejects its value."""
    try:
        return kind(config, logger=logger)
    except KafkaException as error:
        raise BadKafkaConfig(f"Kafka's client refuses its settings: {refusal(config, error)}") from error


def refusal(config: Mapping[str, Any], error: KafkaException) -> str:
    """Return librdkafka's error about a configuration, with the secrets hidden."""
    return f"{scrub(error.args[0].str(), secrets_in(config))} (see --kafka-config)"


def check(extra: dict[str, str]) -> None:
    """Raise BadKafkaConfig for reserved settings; librdkafka rejects unknown ones when a client is created."""
    for key, value in extra.items():
        if key in RESERVED:
            raise BadKafkaConfig(f"--kafka-config {key}: exactly-once depends on this setting; leave it out")
        if key in ASSIGNORS:
            raise BadKafkaConfig(
                f"--kafka-config {key}={value}: workers always use the assignor {ASSIGNOR!r}, which spreads each topic"
                " evenly over the workers of a group; leave it out"
            )


def try_out(connection: Connection) -> None:
    """Raise BadKafkaConfig if librdkafka rejects the producer's settings.

    The producer is created only once partitions are assigned; a worker that cannot create it must not take any. The
    consumer is created first anyway.
    """
    client(connection.clients.producer, producer_config(connection), connection.logger)


def consumer_config(connection: Connection) -> dict[str, Any]:
    """Settings of the consumer. No auto commit, and no automatic offset reset.

    `queued.max.messages.kbytes`: at 100,000 events the workers took 90 to 118 MB; with 16 MB of prefetch 91 to 211 MB,
    and were no faster (measured). `fetch.queue.backoff.ms`: at librdkafka's default of 1,000 a worker drains that
    prefetch before more is fetched, and waits 200 ms each time: a fifth of the throughput (measured).
    `fetch.max.bytes`: the limit of one fetch response, whatever the number of partitions. At librdkafka's default of
    50 MB a burst of large records would be in memory several times: as read, as processed and as serialized.
    `max.poll.interval.ms`: one pass of the loop makes at most the calls of two transactions and of one recovery, each
    with its own timeout, and polls while it waits for remote calls. A worker that takes longer is stuck: it is evicted.
    """
    config = connection.common() | {
        "group.id": connection.group,
        "group.instance.id": f"{connection.group}.{connection.instance}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "partition.assignment.strategy": ASSIGNOR,
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 500,
        "topic.metadata.refresh.interval.ms": 5_000,
        "enable.partition.eof": True,
        "queued.max.messages.kbytes": 1_024,
        "fetch.queue.backoff.ms": 20,
        "fetch.message.max.bytes": 2_097_152,
        "fetch.max.bytes": 4_194_304,
        "reconnect.backoff.max.ms": 2_000,
    }
    config |= {k: v for k, v in connection.extra.items() if not k.startswith(ONLY_PRODUCER)}
    session = str(config["session.timeout.ms"])
    config.setdefault("max.poll.interval.ms", max(POLL_INTERVAL_MS, int(session) if session.isdecimal() else 0))
    if incremental(connection):
        config = {k: v for k, v in config.items() if k not in CLASSIC_ONLY} | {"group.remote.assignor": ASSIGNOR}
    elif not connection.exactly_once:
        del config["group.instance.id"]
    return config


def incremental(connection: Connection) -> bool:
    """Return whether a rebalance revokes only the partitions that move to another worker, not all of them (ADR 15)."""
    return connection.extra.get("group.protocol") == "consumer"


def producer_config(connection: Connection) -> dict[str, Any]:
    """Settings of the producer.

    `retry.backoff.ms` 5: back-to-back transactions cost 105 ms each at librdkafka's default of 100. `linger.ms` 0: the
    engine flushes whole batches itself. `murmur2_random` places keys as Java clients do.
    `metadata.recovery.strategy` none: at librdkafka's default a producer whose last connection breaks inside a
    transaction decommissions its coordinator, and send_offsets_to_transaction never returns, whatever its timeout. Not
    for consumers: one with it that once sees a cluster without a live broker never recovers (5 of 5, measured), while a
    producer that fails is replaced.
    """
    config = connection.common() | {
        "log_level": LOGS_DISCONNECTS,
        "metadata.recovery.strategy": "none",
        "enable.idempotence": True,
        "linger.ms": 0,
        "retry.backoff.ms": 5,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "message.max.bytes": LARGEST_DEAD_LETTER,
        "queue.buffering.max.messages": 200_000,
        "reconnect.backoff.max.ms": 2_000,
        "delivery.report.only.error": True,
    }
    if connection.exactly_once:
        config |= {"transactional.id": f"{connection.group}.{connection.instance}", "transaction.timeout.ms": 4_000}
    return config | {k: v for k, v in connection.extra.items() if not k.startswith(ONLY_CONSUMER)}
