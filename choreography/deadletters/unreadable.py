"""Where the log cannot be read, and where it can be again; asked with a consumer that joins no group."""

from __future__ import annotations

import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from choreography.cluster import ANSWER_SECONDS, Unreachable, refused_config
from choreography.deadletters.letters import Where
from choreography.reader import reader_config
from choreography.topics import extents
from eventbus.kafka import UNREADABLE
from eventbus.log import Partition

POLL_SECONDS = 0.5


class Found(NamedTuple):
    """What a consumer comes upon first: a record, or (`why`) what cannot be read, at this offset; or the end."""

    offset: int
    why: str | None = None


class Probe:
    """Looks at single offsets of a partition."""

    def __init__(self, where: Where, partition: Partition) -> None:
        self._where, self._partition = where, partition
        with refused_config():
            self._consumer = Consumer(reader_config(where.bootstrap_servers, where.kafka_config))

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def first(self, offset: int) -> Found:
        """Return what comes first at or after an offset; what cannot be read as a whole is at its first offset."""
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
        raise Unreachable(
            f"Kafka at {self._where.bootstrap_servers} does not say what is in {self._partition}/{offset}"
        )

    def end_of(self, unreadable: int) -> int:
        """Return the offset after the batch that begins at `unreadable`; within it, its beginning is found."""
        inside, outside = unreadable, self._end()
        while outside - inside > 1:
            middle = (inside + outside) // 2
            found = self.first(middle)
            if found.why is not None and found.offset == unreadable:
                inside = middle
            else:
                outside = middle
        return outside

    def _end(self) -> int:
        topic, number = self._partition
        return next(part.end for part in extents(self._where.cluster(), [topic])[topic] if part.partition == number)
