"""How librdkafka is set up: the values that exactly-once rests on, and the ones that were measured to be fast."""

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
"""For every client. A broker with `auto.create.topics.enable` would make a topic that was deleted under a worker anew,
with as few partitions as its default says; librdkafka's producers ask for that unless they are told not to."""
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
"""What exactly-once and the order of events rest on: not for --kafka-config."""
ASSIGNOR = "range"
ASSIGNORS = ("partition.assignment.strategy", "group.remote.assignor")
"""The settings that name the assignor, for the classic group protocol and for the newer one: not for --kafka-config."""
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
"""Bytes: the largest input record and 64 KiB more for where, why and when."""
HEARS_DISCONNECTS = 6
"""Syslog's INFO. Below it librdkafka does not say that a connection broke with one request under way (an EndTxn)."""


POLL_INTERVAL_MS = 60_000
"""Or the session, if that is longer: librdkafka wants it so."""


class BadKafkaConfig(ValueError):
    """A --kafka-config that does not exist, or that is not for users to set."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What makes Kafka's clients; each is called with a configuration and `logger=`."""

    consumer: Callable[..., Any] = Consumer
    producer: Callable[..., Any] = Producer
    admin: Callable[..., Any] = AdminClient


@dataclass(frozen=True, slots=True)
class Connection:
    """Which cluster, as whom, and how."""

    bootstrap_servers: str
    group: str
    instance: str
    exactly_once: bool = True
    extra: dict[str, str] = field(default_factory=dict)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("rdkafka"))
    clients: Clients = Clients()

    def common(self) -> dict[str, Any]:
        """What every client gets, the admin client too."""
        mine = {k: v for k, v in self.extra.items() if not k.startswith((*ONLY_CONSUMER, *ONLY_PRODUCER))}
        return {
            **NO_CREATION,
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": self.instance,
            "log_level": 5,
        } | mine


def client(kind: Callable[..., C], config: dict[str, Any], logger: logging.Logger) -> C:
    """Make a client. Raises BadKafkaConfig where librdkafka does not know a setting, or not such a value."""
    try:
        return kind(config, logger=logger)
    except KafkaException as error:
        raise BadKafkaConfig(f"Kafka's client refuses its settings: {refusal(config, error)}") from error


def refusal(config: Mapping[str, Any], error: KafkaException) -> str:
    """Return what librdkafka says against a configuration, without the secrets in it."""
    return f"{scrub(error.args[0].str(), secrets_in(config))} (see --kafka-config)"


def check(extra: dict[str, str]) -> None:
    """Refuse reserved keys; unknown ones are refused by librdkafka when a client is made."""
    for key, value in extra.items():
        if key in RESERVED:
            raise BadKafkaConfig(f"--kafka-config {key}: exactly-once rests on this value, it cannot be set")
        if key in ASSIGNORS:
            raise BadKafkaConfig(
                f"--kafka-config {key}={value}: workers always use the assignor {ASSIGNOR!r}, which spreads each topic"
                " evenly over the workers of a group; leave it out"
            )


def try_out(connection: Connection) -> None:
    """Raise BadKafkaConfig where librdkafka refuses what is for the producer.

    That one is made only when there are partitions; a worker that cannot make it must not take any before. The consumer
    is made first anyway.
    """
    client(connection.clients.producer, producer_config(connection), connection.logger)


def consumer_config(connection: Connection) -> dict[str, Any]:
    """Settings of the consumer. No auto commit, and never an automatic jump to another offset.

    `queued.max.messages.kbytes`: at 100,000 events the workers took 90 to 118 MB; with 16 MB of prefetch 91 to 211 MB,
    and were no faster (measured). `fetch.queue.backoff.ms`: at librdkafka's default of 1,000 a worker empties that much
    prefetch before more is asked for, and waits 200 ms at a time: a fifth of its speed (measured).
    `fetch.max.bytes`: what one answer of a broker may bring at once, whatever the number of partitions. At librdkafka's
    50 MB a burst of large records would be held in memory several times over: as read, decided, and packed.
    `max.poll.interval.ms`: a turn is the calls of two transactions and of one recovery at most, each with a timeout of
    its own, and remote calls are waited for in slices that poll. Who takes longer is stuck, and others take over.
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
    """Return whether a rebalance takes only what goes to somebody else, not everything (ADR 15)."""
    return connection.extra.get("group.protocol") == "consumer"


def producer_config(connection: Connection) -> dict[str, Any]:
    """Settings of the producer.

    `retry.backoff.ms` 5: back-to-back transactions cost 105 ms each at librdkafka's default of 100. `linger.ms` 0: the
    engine flushes whole batches itself. `murmur2_random` places keys as Java clients do.
    `metadata.recovery.strategy` none: at librdkafka's default a producer whose last connection breaks inside a
    transaction decommissions its coordinator, and send_offsets_to_transaction never returns, whatever its timeout. Only
    here: a consumer with it that once hears of a cluster without a live broker never comes back (5 of 5, measured),
    while a producer that fails is replaced.
    """
    config = connection.common() | {
        "log_level": HEARS_DISCONNECTS,
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
