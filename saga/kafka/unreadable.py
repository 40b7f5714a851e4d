"""Finding unreadable batches, and where they end, with a consumer that joins no group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from eventbus.kafka.log import UNREADABLE
from eventbus.log import Partition
from saga.kafka.cluster import ANSWER_SECONDS, Cluster, Unreachable, reader_config, refused_config
from saga.kafka.topics import extents

POLL_SECONDS = 0.5


class Found(NamedTuple):
    """What a consumer reads first: a record, or (`why`) an unreadable batch, at this offset; or the end."""

    offset: int
    why: str | None = None


class Probe:
    """Reads single offsets of a partition."""

    def close(self) -> None:
        """Close the connection."""

    def first(self, offset: int) -> Found:
        """Return what is first at or after an offset; an unreadable batch is at its first offset."""
        raise NotImplementedError

    def end(self) -> int:
        """Return the offset after the last one."""
        raise NotImplementedError

    def end_of(self, unreadable: int) -> int:
        """Return the offset after the batch that begins at `unreadable`; reads within it find its beginning."""
        inside, outside = unreadable, self.end()
        while outside - inside > 1:
            middle = (inside + outside) // 2
            found = self.first(middle)
            if found.why is not None and found.offset == unreadable:
                inside = middle
            else:
                outside = middle
        return outside


class KafkaProbe(Probe):
    """A probe of real brokers; `config` is the client's base configuration. `first` and `end` raise Unreachable."""

    def __init__(self, config: Mapping[str, Any], partition: Partition) -> None:
        self._config, self._partition = config, partition
        reading = reader_config(config)
        with refused_config(reading):
            self._consumer = Consumer(reading)

    def close(self) -> None:
        """See Probe."""
        self._consumer.close()

    def first(self, offset: int) -> Found:
        """See Probe."""
        self._consumer.assign([TopicPartition(*self._partition, offset)])
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until:
            message = self._consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client spells it so
                return Found(message.offset() or 0)
            if error.code() in UNREADABLE:
                return Found(message.offset() or 0, error.str())
        servers = self._config["bootstrap.servers"]
        raise Unreachable(f"Kafka at {servers} does not return the record at {self._partition}/{offset}")

    def end(self) -> int:
        """See Probe."""
        topic, number = self._partition
        cluster = Cluster(self._config["bootstrap.servers"], self._config)
        return next(part.end for part in extents(cluster, [topic])[topic] if part.partition == number)


def said(batch: range) -> str:
    """Return the message about an unreadable batch."""
    return f"offsets {batch.start} to {batch[-1]} cannot be decompressed"


def end_of_batch(config: Mapping[str, Any], partition: Partition, first: int) -> int:
    """Return the offset after an unreadable batch that begins at `first`. Raises Unreachable."""
    with closing(KafkaProbe(config, partition)) as probe:
        return probe.end_of(first)
