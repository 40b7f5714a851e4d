"""Reading the progress topic: a consumer of its own, which fetches only during a read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from eventbus.kafka.causes import explained
from eventbus.kafka.config import CLASSIC_ONLY, Connection, client, consumer_config
from eventbus.kafka.witness import decode
from eventbus.log import PROGRESS, CommittedOffset, LogUnavailable, Partition, missing_topic

WAIT_SECONDS, WAITS = 0.1, 20
"""How long a poll waits, and after how many empty polls a read fails: a transaction may stay open for longer."""
AT_ONCE = 1_000
FETCH_MS = 10
"""How long the broker may hold back a read's last fetch, which says that the end is reached. With librdkafka's default
of 500 ms each read took that long, every five seconds in every worker (measured)."""
GROUP_ONLY = (*CLASSIC_ONLY, "group.protocol", "group.remote.assignor", "max.poll.interval.ms")
"""Settings of group members: this consumer joins no group."""
MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001


def without_group(connection: Connection) -> dict[str, Any]:
    """Return the settings of a consumer that joins no group."""
    return {k: v for k, v in consumer_config(connection).items() if k not in GROUP_ONLY}


class ProgressTopic:
    """The topic's records, read up to the offset that was asked for; from the beginning if the topic was recreated."""

    def __init__(self, connection: Connection, warn: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        self.partition = Partition(connection.group + PROGRESS, 0)
        self._connection, self._warn, self._stopping = connection, warn, stopping
        self._consumer: Any = None
        self._topic_id = ""
        self._next = 0
        self._found: dict[Partition, CommittedOffset] = {}

    def read(self, topic_id: str, start: int, end: int) -> dict[Partition, CommittedOffset]:
        """Return the newest record of each key before the offset `end`; waits for open transactions.

        Raises LogUnavailable if that takes too long, TopicMissing.
        """
        if topic_id != self._topic_id or end < self._next:
            self._topic_id, self._next, self._found = topic_id, 0, {}
        self._next = max(self._next, start)
        if self._next < end:
            self._read_up_to(end)
        return dict(self._found)

    def close(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _read_up_to(self, end: int) -> None:
        if self._consumer is None:
            config = without_group(self._connection) | {"fetch.wait.max.ms": FETCH_MS}
            self._consumer = client(self._connection.clients.consumer, config, self._connection.logger)
        try:
            self._consumer.assign([TopicPartition(*self.partition, self._next)])
            self._poll_until(end)
        except KafkaException as error:
            raise LogUnavailable(f"{self.partition.topic}: {explained(error.args[0])}") from error
        finally:
            with contextlib.suppress(KafkaException):
                self._consumer.unassign()

    def _poll_until(self, end: int) -> None:
        empty_polls = 0
        while self._next < end:
            first = self._consumer.poll(WAIT_SECONDS)
            if first is None:
                empty_polls += 1
                if empty_polls > WAITS or self._stopping():
                    raise LogUnavailable(
                        f"{self.partition.topic}: read up to offset {self._next} of {end}, waiting for an open"
                        " transaction or for the broker"
                    )
                continue
            for message in (first, *self._consumer.consume(AT_ONCE, 0)):
                self._take(message)

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is None:
            decoded = decode(message.key(), message.value())
            if decoded is None:
                self._warn(f"{self.partition}/{message.offset()} is not a progress record and is ignored")
            else:
                self._found[decoded[0]] = decoded[1]
            self._next = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._next = max(self._next, message.offset())
        elif error.code() in MISSING:
            raise missing_topic(self.partition.topic)
        elif error.code() in OUT_OF_RANGE:
            self._topic_id = ""  # it was truncated: the next read starts at the beginning
            raise LogUnavailable(f"{self.partition.topic}: {error.str()}")
        else:
            raise LogUnavailable(f"{self.partition.topic}: {error.name()}: {explained(error)}")
