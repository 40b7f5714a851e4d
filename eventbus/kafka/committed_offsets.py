"""The committed offsets of a whole group, including other workers': a consumer that does not join reads them.

Not the admin client: after the group's coordinator has moved, librdkafka (2.16) crashes in ListConsumerGroupOffsets
(SIGSEGV, confluentinc/librdkafka#5040). Nor the worker's own consumer: it is read_committed, and would wait for the
transactions of other workers.
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


class GroupOffsets:
    """Reads a group's committed offsets; the consumer is created on first use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._consumer: Any = None

    def of(self, partitions: Collection[Partition]) -> dict[Partition, CommittedOffset]:
        """Return the committed offsets of those that have one; waits for no transaction. Raises LogUnavailable."""
        if not partitions:
            return {}
        if self._consumer is None:
            config = without_group(self._connection) | {"isolation.level": "read_uncommitted"}
            self._consumer = client(self._connection.clients.consumer, config, self._connection.logger)
        try:
            asked = [TopicPartition(*partition) for partition in sorted(partitions)]
            answers = self._consumer.committed(asked, timeout=SECONDS)
        except KafkaException as error:
            raise LogUnavailable(
                f"cannot read the committed offsets of the group: {explained(error.args[0])}"
            ) from error
        for answer in answers:
            if answer.error is not None and answer.error.code() not in MISSING:
                where = f"{answer.topic}/{answer.partition}"
                raise LogUnavailable(f"cannot read the committed offset of {where}: {explained(answer.error)}")
        found = {Partition(answer.topic, answer.partition): committed_offset_of(answer) for answer in answers}
        return {partition: committed for partition, committed in found.items() if committed is not None}

    def close(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def committed_offset_of(answer: TopicPartition) -> CommittedOffset | None:
    """Return the committed offset of a partition; None if there is none."""
    if answer.offset < 0:
        return None
    metadata = answer.metadata or ""
    return CommittedOffset(answer.offset, int(metadata) if metadata.isdecimal() else None)
