"""Reading the log from outside: committed records only, no consumer group joined, no offset committed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventbus.kafka.headers import headers_of
from eventbus.kafka.log import UNREADABLE
from eventbus.log import Partition, Record
from saga.kafka.cluster import (
    ASK_AGAIN_SECONDS,
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
"""So often it looks for partitions that its topics did not have before."""
LOOK_PATIENCE_SECONDS = 1.0
NEWS_SECONDS = 2.0
"""Within it every broker knows of a new topic."""
SAME_SECONDS = 1.0
"""So often it makes sure that the topics are still the same."""


class NoSuchTopic(LookupError):
    """A topic is not there."""


class ReadFailed(RuntimeError):
    """The broker refuses to give the records, for a reason that waiting does not cure."""


class Reader:
    """All records of some topics, each partition in order, the partitions in no order. A context manager.

    Partitions that are added meanwhile are read too, from their beginning. A topic that is deleted and created again is
    not: TopicRecreated, within about a second.
    """

    def __init__(  # noqa: PLR0913 - where, what and from where; each by its name
        self,
        bootstrap_servers: str,
        topics: Iterable[str],
        *,
        from_beginning: bool = True,
        positions: Mapping[Partition, int] | None = None,
        kafka_config: Mapping[str, str] | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Start at `positions`; partitions that it does not name, at the beginning or at the end."""
        self._positions = dict(positions or {})
        self.complaint = ""
        """What keeps it from reading at the moment, and will pass; empty when nothing does."""
        self.unreadable: list[tuple[Partition, range]] = []
        """Batches that cannot be decompressed: what they hold is not read, and the reading goes on behind them."""
        self._servers, self._topics, self._extra = bootstrap_servers, list(topics), dict(kafka_config or {})
        self._config = client_config(self._servers, self._extra)
        self._start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        self._unfinished: set[Partition] = set()
        self._known: set[Partition] = set()
        self._look_seconds, self._looked = look_seconds, 0.0
        self._ids, self._compared = dict[str, str](), 0.0
        self._cluster = Cluster(self._servers, self._extra, answer_seconds=LOOK_PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        there = self._there()
        self._ids, self._compared = Cluster(self._servers, self._extra).topic_ids(self._topics), time.monotonic()
        self._known = {Partition(topic, number) for topic in self._topics for number in there[topic]}
        self._unfinished = set(self._known)
        config = reader_config(self._config)
        with refused_config(config):
            self._consumer = Consumer(config)
        start = [
            TopicPartition(at.topic, at.number, self._positions.get(at, self._start)) for at in sorted(self._unfinished)
        ]
        self._consumer.assign(start)
        self._looked = time.monotonic()
        return self

    def _there(self) -> dict[str, dict[int, Any]]:
        """Return the partitions of all topics. A broker may not know yet of a topic that another one has just made."""
        cluster, until = Cluster(self._servers, self._extra), time.monotonic() + NEWS_SECONDS
        while True:
            there = cluster.partitions()
            missing = [topic for topic in self._topics if topic not in there]
            if not missing:
                return there
            if time.monotonic() > until:
                denied = cluster.denied(missing)
                raise NoSuchTopic(denied or f"there is no topic {missing[0]!r}; `saga topics list` shows the saga's")
            time.sleep(ASK_AGAIN_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._consumer.close()

    @property
    def at_end(self) -> bool:
        """Whether the end of every partition, as far as it is decided, has been reached since the start.

        False again when partitions have been added, until their end has been reached, too.
        """
        return not self._unfinished

    def read(self, timeout: float) -> list[Record]:
        """Return what is there, waiting at most `timeout` seconds for it. Raises Unreachable, ReadFailed."""
        return [record_of(message) for message in self.receive(timeout)]

    def receive(self, timeout: float, limit: int = BATCH) -> list[Message]:
        """Do the same, with the client's own messages and at most about `limit` of them."""
        if time.monotonic() - self._looked >= self._look_seconds:
            self._look()
            self._looked = time.monotonic()
        first = self._consumer.poll(timeout)
        if time.monotonic() - self._compared >= SAME_SECONDS:
            self._compare()
        if first is None:
            return []
        received = [first, *self._consumer.consume(limit, 0)]
        messages = [message for message in received if message.error() is None]
        if messages:
            last = {(message.topic(), message.partition()): message.offset() for message in messages}
            self._positions.update((Partition(*at), offset + 1) for at, offset in last.items())  # type: ignore[arg-type,operator]
            self.complaint = ""
        for message in received:
            error = message.error()
            if error is not None:
                self._heed(message, error)
        return messages

    @property
    def positions(self) -> dict[Partition, int]:
        """Where the reading of each partition stands: after the last record, or at the end, past all markers."""
        return dict(self._positions)

    def end(self, at: Partition) -> int:
        """Return where the partition ended when the broker last spoke of it; 0 if it never did. Asks nobody."""
        _, end = self._consumer.get_watermark_offsets(TopicPartition(at.topic, at.number), cached=True)
        return max(0, end)

    def _look(self) -> None:
        """Read the partitions that are new; a broker that does not answer is asked again the next time.

        The consumer asks, not another client: that makes no connection, and tells it who leads them.
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

    def _compare(self) -> None:
        """Raise TopicRecreated where a topic is another one now; who does not answer is asked the next time."""
        with suppress(Unreachable):
            check_same(self._ids, self._cluster.topic_ids(self._topics))
        self._compared = time.monotonic()

    def _heed(self, message: Message, error: KafkaError) -> None:
        at = Partition(message.topic() or "", message.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - that is how the client spells it
            self._unfinished.discard(at)
            self._positions[at] = max(self._positions.get(at, 0), message.offset() or 0)
            self.complaint = ""
        elif error.retriable() or error.code() in _PASSING:
            self.complaint = str(error.str())
        elif error.code() in UNREADABLE:
            self._pass_by(at, message.offset() or 0)
        else:
            self._compare()
            raise ReadFailed(f"{at}: {error.str()}")

    def _pass_by(self, at: Partition, first: int) -> None:
        """Go on behind a batch that cannot be read; the client may say more than once that it cannot."""
        if any(partition == at and first in batch for partition, batch in self.unreadable):
            return
        end = end_of_batch(self._config, at, first)
        self.unreadable.append((at, range(first, end)))
        self._positions[at] = end
        self._consumer.seek(TopicPartition(at.topic, at.number, end))


_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)  # noqa: SLF001


def record_of(message: Message) -> Record:
    """Return one of the client's messages as a record."""
    pairs: Any = headers_of(message)
    headers = [(name, content or b"") for name, content in pairs]
    partition = Partition(message.topic() or "", message.partition() or 0)
    key, value, offset = message.key(), message.value(), message.offset()
    return Record(partition, offset or 0, key, value, message.timestamp()[1], headers)
