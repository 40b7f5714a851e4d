"""Reading the log from outside: committed records only, no consumer group joined, no offset committed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventbus.kafka.headers import headers_of
from eventbus.kafka.log import UNREADABLE
from eventbus.kafka.outage import BrokerOutage
from eventbus.log import Partition, Record
from saga.kafka.cluster import (
    ASK_AGAIN_SECONDS,
    PASSING,
    SILENT,
    Cluster,
    Unreachable,
    check_same,
    client_config,
    reader_config,
    refused_config,
)
from saga.kafka.unreadable import end_of_batch

BATCH = 500
LOOK_SECONDS = 5.0
"""The interval at which it looks for added partitions."""
LOOK_PATIENCE_SECONDS = 1.0
IDS_SECONDS = 2.0
"""How long it waits for topic ids: after one in vain, the next query needs a new connection."""
NEWS_SECONDS = 2.0
"""The time within which every broker knows of a new topic."""
SAME_SECONDS = 1.0
"""The interval at which it checks that the topics were not recreated."""


class NoSuchTopic(LookupError):
    """A topic does not exist."""


class ReadFailed(RuntimeError):
    """The broker refuses to return the records, with an error that is not retriable."""


class Reader:
    """All records of some topics, each partition in order, the partitions in any order. A context manager.

    Partitions that are added meanwhile are read too, from their beginning. If a topic is deleted and recreated, it
    raises TopicRecreated within about a second.
    """

    def __init__(  # noqa: PLR0913 - all are keyword arguments
        self,
        bootstrap_servers: str,
        topics: Iterable[str],
        *,
        from_beginning: bool = True,
        positions: Mapping[Partition, int] | None = None,
        kafka_config: Mapping[str, str] | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Start at `positions`; partitions that are not in it, at the beginning or at the end."""
        self._positions = dict(positions or {})
        self.outage = BrokerOutage(bootstrap_servers)
        """Whether any broker answers."""
        self._complaint = ""
        self.unreadable: list[tuple[Partition, range]] = []
        """Batches that cannot be decompressed: their records are skipped, and reading continues after them."""
        self._servers, self._topics, self._extra = bootstrap_servers, list(topics), dict(kafka_config or {})
        self._config = client_config(self._servers, self._extra)
        self._start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        self._unfinished: set[Partition] = set()
        self._known: set[Partition] = set()
        self._partitions_interval, self._checked_partitions = look_seconds, 0.0
        self._ids, self._checked_topic_ids = dict[str, str](), 0.0
        self._cluster = Cluster(self._servers, self._extra, answer_seconds=IDS_SECONDS)

    def __enter__(self) -> Self:
        there = self._wait_for_topics()
        self._ids, self._checked_topic_ids = (
            Cluster(self._servers, self._extra).topic_ids(self._topics),
            time.monotonic(),
        )
        self._known = {Partition(topic, number) for topic in self._topics for number in there[topic]}
        self._unfinished = set(self._known)
        config = reader_config(self._config)
        with refused_config(config):
            self._consumer = Consumer(config)
        start = [
            TopicPartition(at.topic, at.number, self._positions.get(at, self._start)) for at in sorted(self._unfinished)
        ]
        self._consumer.assign(start)
        self._checked_partitions = time.monotonic()
        self.outage.heard()
        return self

    def _wait_for_topics(self) -> dict[str, dict[int, Any]]:
        """Return the partitions of all topics. A broker may not know yet of a topic that was just created."""
        cluster, until = Cluster(self._servers, self._extra), time.monotonic() + NEWS_SECONDS
        while True:
            there = cluster.partitions()
            missing = [topic for topic in self._topics if topic not in there]
            if not missing:
                return there
            if time.monotonic() > until:
                denied = cluster.denied(missing)
                raise NoSuchTopic(denied or f"the topic {missing[0]!r} does not exist; see `saga topics list`")
            time.sleep(ASK_AGAIN_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._consumer.close()

    @property
    def at_end(self) -> bool:
        """Whether the end of every partition, up to its last stable offset, has been reached since the start.

        False again after partitions have been added, until their end has been reached, too.
        """
        return not self._unfinished

    def read(self, timeout: float) -> list[Record]:
        """Return available records, waiting at most `timeout` seconds for them. Raises Unreachable, ReadFailed."""
        return [record_of(message) for message in self.receive(timeout)]

    def receive(self, timeout: float, limit: int = BATCH) -> list[Message]:
        """Do the same, but return the client's own messages, at most about `limit` of them."""
        if time.monotonic() - self._checked_partitions >= self._partitions_interval:
            self._add_new_partitions()
            self._checked_partitions = time.monotonic()
        first = self._consumer.poll(timeout)
        if first is not None and first.error() is None:
            self.outage.end()
        if time.monotonic() - self._checked_topic_ids >= SAME_SECONDS:
            self._check_topic_ids()
        if first is None:
            return []
        received = [first, *self._consumer.consume(limit, 0)]
        messages = [message for message in received if message.error() is None]
        if messages:
            last = {(message.topic(), message.partition()): message.offset() for message in messages}
            self._positions.update((Partition(*at), offset + 1) for at, offset in last.items())  # type: ignore[arg-type,operator]
            self._complaint = ""
        for message in received:
            error = message.error()
            if error is not None:
                self._handle_error(message, error)
        return messages

    @property
    def complaint(self) -> str:
        """What else than an outage keeps it from reading at the moment, and passes; empty if nothing does."""
        return self._complaint

    @property
    def positions(self) -> dict[Partition, int]:
        """The next offset to read of each partition: after the last record, or at the end, past all markers."""
        return dict(self._positions)

    def end(self, at: Partition) -> int:
        """Return the partition's end offset in the last fetch response; 0 if there was none. Sends no request."""
        _, end = self._consumer.get_watermark_offsets(TopicPartition(at.topic, at.number), cached=True)
        return max(0, end)

    def _add_new_partitions(self) -> None:
        """Start to read new partitions; if no broker answers, the next call retries.

        The consumer itself asks, not another client: that needs no new connection, and the consumer learns the leaders.
        """
        try:
            there = self._consumer.list_topics(timeout=LOOK_PATIENCE_SECONDS).topics
        except KafkaException:
            return
        found = {
            Partition(topic, number) for topic in self._topics if topic in there for number in there[topic].partitions
        }
        if new := sorted(found - self._known):
            self._consumer.incremental_assign([TopicPartition(*at, OFFSET_BEGINNING) for at in new])
            self._known.update(new)
            self._unfinished.update(new)

    def _check_topic_ids(self) -> None:
        """Raise TopicRecreated if a topic was recreated; if no broker answers, note that: the next call retries."""
        try:
            topic_ids = self._cluster.topic_ids(self._topics)
        except Unreachable as error:
            if error.silence:
                self.outage.unanswered(error.silence, since=error.since)
        else:
            self.outage.end()
            check_same(self._ids, topic_ids)
        self._checked_topic_ids = time.monotonic()

    def _handle_error(self, message: Message, error: KafkaError) -> None:
        at = Partition(message.topic() or "", message.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - that is how the client spells it
            self._unfinished.discard(at)
            self._positions[at] = max(self._positions.get(at, 0), message.offset() or 0)
            self._complaint = ""
            self.outage.end()
        elif error.code() in SILENT:
            self.outage.on_error(error)
        elif error.code() in PASSING:
            self._complaint = str(error.str())
        elif error.code() in UNREADABLE:
            self._skip_batch(at, message.offset() or 0)
        else:
            self._check_topic_ids()
            raise ReadFailed(f"{at}: {error.str()}")

    def _skip_batch(self, at: Partition, first: int) -> None:
        """Continue after an unreadable batch; the client may report the same batch more than once."""
        if any(partition == at and first in batch for partition, batch in self.unreadable):
            return
        end = end_of_batch(self._config, at, first)
        self.unreadable.append((at, range(first, end)))
        self._positions[at] = end
        self._consumer.seek(TopicPartition(at.topic, at.number, end))


def record_of(message: Message) -> Record:
    """Return one of the client's messages as a record."""
    pairs: Any = headers_of(message)
    headers = [(name, content or b"") for name, content in pairs]
    partition = Partition(message.topic() or "", message.partition() or 0)
    key, value, offset = message.key(), message.value(), message.offset()
    return Record(partition, offset or 0, key, value, message.timestamp()[1], headers)
