"""Reading the topic of progress: a consumer of its own, which fetches only while somebody asks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from eventbus.kafka.causes import explained
from eventbus.kafka.config import CLASSIC_ONLY, Connection, client, consumer_config
from eventbus.kafka.witness import decode
from eventbus.log import PROGRESS, CommittedOffset, LogUnavailable, Partition, TopicMissing

WAIT_SECONDS, WAITS = 0.1, 20
"""So long it waits for news, and so often in vain before it gives up: an open transaction may take longer."""
AT_ONCE = 1_000
GROUP_ONLY = (*CLASSIC_ONLY, "group.protocol", "group.remote.assignor", "max.poll.interval.ms")
"""Settings of who joins a group: this consumer joins none."""
MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001


def without_group(connection: Connection) -> dict[str, Any]:
    """Return the settings of a consumer that joins nothing."""
    return {k: v for k, v in consumer_config(connection).items() if k not in GROUP_ONLY}


class ProgressTopic:
    """What the topic says, read as far as somebody asked; from its beginning where it was created anew."""

    def __init__(self, connection: Connection, warn: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        self.partition = Partition(connection.group + PROGRESS, 0)
        self._connection, self._warn, self._stopping = connection, warn, stopping
        self._consumer: Any = None
        self._topic_id = ""
        self._next = 0
        self._found: dict[Partition, CommittedOffset] = {}

    def read(self, topic_id: str, start: int, end: int) -> dict[Partition, CommittedOffset]:
        """Return the newest record of each key, up to the offset `end`, which waits for undecided transactions.

        Raises LogUnavailable when that takes too long, TopicMissing.
        """
        if topic_id != self._topic_id or end < self._next:
            self._topic_id, self._next, self._found = topic_id, 0, {}
        self._next = max(self._next, start)
        if self._next < end:
            self._read_up_to(end)
        return dict(self._found)

    def close(self) -> None:
        """Let go of the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _read_up_to(self, end: int) -> None:
        if self._consumer is None:
            config = without_group(self._connection)
            self._consumer = client(self._connection.clients.consumer, config, self._connection.logger)
        try:
            self._consumer.assign([TopicPartition(*self.partition, self._next)])
            self._follow(end)
        except KafkaException as error:
            raise LogUnavailable(f"{self.partition.topic}: {explained(error.args[0])}") from error
        finally:
            with contextlib.suppress(KafkaException):
                self._consumer.unassign()

    def _follow(self, end: int) -> None:
        in_vain = 0
        while self._next < end:
            first = self._consumer.poll(WAIT_SECONDS)
            if first is None:
                in_vain += 1
                if in_vain > WAITS or self._stopping():
                    raise LogUnavailable(
                        f"{self.partition.topic}: read up to {self._next} of {end}, waiting for an undecided"
                        " transaction, or for the broker"
                    )
                continue
            for message in (first, *self._consumer.consume(AT_ONCE, 0)):
                self._take(message)

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is None:
            said = decode(message.key(), message.value())
            if said is None:
                self._warn(f"{self.partition}/{message.offset()} is no record of progress and is left out")
            else:
                self._found[said[0]] = said[1]
            self._next = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._next = max(self._next, message.offset())
        elif error.code() in MISSING:
            raise TopicMissing(f"the topic {self.partition.topic} does not exist: `saga topics create` makes it")
        elif error.code() in OUT_OF_RANGE:
            self._topic_id = ""  # it was truncated: next time from its beginning
            raise LogUnavailable(f"{self.partition.topic}: {error.str()}")
        else:
            raise LogUnavailable(f"{self.partition.topic}: {error.name()}: {explained(error)}")
