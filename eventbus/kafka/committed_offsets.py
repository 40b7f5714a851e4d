"""The cursors of a whole group, other workers' too: a consumer that joins nothing asks for them.

Not the admin client: where the group's coordinator has moved, librdkafka (2.16) ends the process in
ListConsumerGroupOffsets (SIGSEGV, confluentinc/librdkafka#5040). Nor the worker's own consumer: it reads what is
committed only, and would wait for the transactions of other workers.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from eventbus.kafka.causes import explained
from eventbus.kafka.config import Connection, client
from eventbus.kafka.progress_topic import MISSING, without_group
from eventbus.log import CommittedOffset, LogUnavailable, Partition

SECONDS = 4.0


class GroupCursors:
    """Made when it is first asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._consumer: Any = None

    def of(self, partitions: Collection[Partition]) -> dict[Partition, CommittedOffset]:
        """Return the cursors of those that have one; waits for no transaction. Raises LogUnavailable."""
        if not partitions:
            return {}
        if self._consumer is None:
            config = without_group(self._connection) | {"isolation.level": "read_uncommitted"}
            self._consumer = client(self._connection.clients.consumer, config, self._connection.logger)
        try:
            asked = [TopicPartition(*partition) for partition in sorted(partitions)]
            answers = self._consumer.committed(asked, timeout=SECONDS)
        except KafkaException as error:
            raise LogUnavailable(f"the cursors of the whole group: {explained(error.args[0])}") from error
        for answer in answers:
            if answer.error is not None and answer.error.code() not in MISSING:
                raise LogUnavailable(f"the cursor of {answer.topic}/{answer.partition}: {explained(answer.error)}")
        found = {Partition(answer.topic, answer.partition): cursor_of(answer) for answer in answers}
        return {partition: cursor for partition, cursor in found.items() if cursor is not None}

    def close(self) -> None:
        """Let go of the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def cursor_of(answer: TopicPartition) -> CommittedOffset | None:
    """Return the cursor that is committed for a partition; None where there is none."""
    if answer.offset < 0:
        return None
    metadata = answer.metadata or ""
    return CommittedOffset(answer.offset, int(metadata) if metadata.isdecimal() else None)
