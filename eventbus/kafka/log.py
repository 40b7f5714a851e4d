"""The log on Apache Kafka, through confluent_kafka (librdkafka)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
    murmur2,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from eventbus.kafka.causes import LOGIN, TLS, explained
from eventbus.kafka.config import Connection, client, consumer_config, incremental
from eventbus.kafka.cursors import GroupCursors, cursor_of
from eventbus.kafka.headers import headers_of
from eventbus.kafka.producer import Producers, SizeRefused, Witness
from eventbus.kafka.progress_topic import ProgressTopic
from eventbus.kafka.topic_ids import TopicIds
from eventbus.kafka.topics import limits_of
from eventbus.kafka.witness import encode
from eventbus.log import (
    Bounds,
    Cursor,
    Doubt,
    Identity,
    Limit,
    LogUnavailable,
    Output,
    Oversized,
    Overtaken,
    Partition,
    Rebalanced,
    Record,
    Refused,
    Run,
    TooLarge,
    TopicMissing,
)

COMMITTED_SECONDS = 2.0
"""`committed()` waits for undecided transactions; in short calls, so that the loop goes on turning."""
ADMIN_SECONDS = 4.0
"""How long an answer of the admin client may take. Two in a row stay within the watchdog's limit of a step: a broker
that is away makes a worker wait and ask again, not look as if it hung."""
METADATA_SECONDS = 5.0
LOOK_SECONDS = 2.0
SLICE_SECONDS = 0.5
OTHER_PROTOCOL = "group id does not exist"
"""Said, as a fatal error, to who joins by the newer group protocol while members by the classic one are there whose
assignments carry user data, as cooperative-sticky's do: Kafka 4.3.1 does not take over such a group until they left."""

BROKEN = -1
"""The start of a run that connects to nothing: librdkafka lost its place, and recovery has to find it again."""

MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()
JUMPED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
TRUNCATED = ("truncation detected", "No epoch found")
"""What _AUTO_OFFSET_RESET says where the log no longer reaches, in its leader epoch, to where it was read (KIP-320)."""
NO_EPOCH = -1
UNREADABLE = {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_RECORD}  # noqa: SLF001


@dataclass(slots=True)
class _Trouble:
    """What went wrong inside a callback, to be raised after it: librdkafka swallows exceptions there."""

    errors: list[BaseException] = field(default_factory=list)

    def raise_first(self) -> None:
        if self.errors:
            error, self.errors = self.errors[0], []
            raise error


class KafkaLog:
    """See Log. `warn` hears, in words, what is wrong but heals by itself.

    Once `stopping` says so, nothing is waited for longer than a moment.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        warn: Callable[[str], None],
        at: Callable[[str], None] = lambda _step: None,
        clock: Callable[[], float] = time.monotonic,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connection, self._warn, self._clock, self._stopping = connection, warn, clock, stopping
        self._incremental = incremental(connection)
        self._consumer = self._new_consumer()
        self._producers = Producers(connection, at, stopping)
        self._progress = ProgressTopic(connection, warn, stopping) if connection.exactly_once else None
        self._cursors = GroupCursors(connection)
        self._admin: AdminClient | None = None
        self._topic_ids = TopicIds(self._administrator, ADMIN_SECONDS)
        self._cluster = ""
        self.partition_counts: dict[str, int] = {}
        """How many partitions each topic had when its identity was last asked for."""
        self._positions: dict[Partition, int] = {}
        self._topics: list[str] = []
        self._listener: Rebalanced | None = None
        self._trouble = _Trouble()
        self._unreadable: dict[Partition, tuple[int, str]] = {}

    def subscribe(self, topics: Sequence[str], listener: Rebalanced) -> None:
        """See Log."""
        self._topics, self._listener = list(topics), listener
        self._join()

    def _join(self) -> None:
        callbacks = {"on_assign": self._on_assign, "on_revoke": self._on_revoke, "on_lost": self._on_lost}
        self._consumer.subscribe(self._topics, **callbacks)

    def _new_consumer(self) -> Consumer:
        config = consumer_config(self._connection) | {"error_cb": self._heed}
        self._is_first, self._join_again = "group.instance.id" in config, False
        consumer: Consumer = client(self._connection.clients.consumer, config, self._connection.logger)
        return consumer

    def _heed(self, error: KafkaError) -> None:
        """Say what a consumer that has worked is not let in for any more; other complaints come with the questions."""
        if error.code() in LOGIN or error.code() == TLS:
            self._warn(explained(error))

    def _join_once_more(self) -> None:
        """Join a second time where the first assignment was not taken (see `_on_assign`)."""
        if self._join_again:
            with contextlib.suppress(KafkaException):  # fenced meanwhile: the poll that follows says so
                self._join()
                self._join_again = False

    def poll(self, limit: int, timeout: float) -> list[Run]:
        """See Log. `consume(n, t)` waits all of t for n records, so: what is there, else wait for one."""
        self._join_once_more()
        try:
            messages = self._consumer.consume(limit, 0)
            if not messages and timeout > 0:
                first = self._consumer.poll(timeout)
                if first is not None:
                    messages = [first, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        except KafkaException as exception:
            raise self._final_or_away(exception.args[0]) from exception
        runs = self._runs(messages)
        self._trouble.raise_first()
        return runs

    def keep_alive(self) -> None:
        """See Log. Pausing drops the prefetch, which is read again: only for calls that last longer than a second."""
        reading = [TopicPartition(*partition) for partition in self._positions]
        with contextlib.suppress(KafkaException):
            self._consumer.pause(reading)
        try:
            message = self._consumer.poll(0)
        except KafkaException as exception:
            raise self._final_or_away(exception.args[0]) from exception
        self._trouble.raise_first()
        if message is not None:
            self._runs([message])
        still = [TopicPartition(*partition) for partition in self._positions]
        with contextlib.suppress(KafkaException):
            self._consumer.resume(still)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See Log."""
        for partition in partitions:
            self._positions.pop(partition, None)
            with contextlib.suppress(KafkaException):
                self._consumer.pause([TopicPartition(*partition)])

    def seek(self, partition: Partition, offset: int, leader_epoch: int | None = None) -> bool:
        """See Log."""
        epoch = NO_EPOCH if leader_epoch is None else leader_epoch
        try:
            self._consumer.seek(TopicPartition(*partition, offset, leader_epoch=epoch))
            self._consumer.resume([TopicPartition(*partition)])
        except KafkaException:
            return False
        self._positions[partition] = offset
        return True

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Cursor | None]:
        """See Log."""
        if self._connection.exactly_once:
            self._producers.start()
        try:
            answers = self._consumer.committed([TopicPartition(*p) for p in partitions], timeout=COMMITTED_SECONDS)
        except KafkaException as error:
            raise LogUnavailable(f"the group's cursors: {explained(error.args[0])}") from error
        for answer in answers:
            if answer.error is not None:
                raise LogUnavailable(f"the cursor of {answer.topic}/{answer.partition}: {explained(answer.error)}")
        return {Partition(a.topic, a.partition): cursor_of(a) for a in answers}

    def group_cursors(self, topics: Collection[str], others: Collection[Partition]) -> dict[Partition, Cursor]:
        """See Log."""
        found = {Partition(topic, n) for topic, count in self._counts(topics).items() for n in range(count)}
        return self._cursors.of(found.union(others))

    def _counts(self, topics: Collection[str]) -> dict[str, int]:
        """Return how many partitions these topics have, those that are there."""
        counts = {}
        for topic, asked in self._describe(topics, ADMIN_SECONDS).items():
            with contextlib.suppress(TopicMissing):
                counts[topic] = len(self._description(topic, asked).partitions)
        return counts

    @property
    def witness_topic(self) -> str | None:
        """See Log."""
        return self._progress.partition.topic if self._progress else None

    def witnesses(self, *, undecided: bool) -> dict[Partition, Cursor] | None:
        """See Log."""
        if self._progress is None:
            return None
        where = [self._progress.partition]
        topic_id = str(self._described(where[0].topic, ADMIN_SECONDS).topic_id)
        level = IsolationLevel.READ_UNCOMMITTED if undecided else IsolationLevel.READ_COMMITTED
        starts, ends = self._offsets(where, EARLIEST), self._offsets(where, LATEST, level)
        return self._progress.read(topic_id, starts[where[0]].offset, ends[where[0]].offset)

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        """See Log. Asked on the admin client's connection: on the consumer's it would wait behind a fetch."""
        starts, ends = self._offsets(partitions, EARLIEST), self._offsets(partitions, LATEST)
        return {p: Bounds(starts[p].offset, ends[p].offset, _epoch(ends[p].leader_epoch)) for p in partitions}

    def _starts(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return where these begin, or 0 where nobody answers: a seek that comes too late after it is not possible."""
        try:
            return {partition: start.offset for partition, start in self._offsets(partitions, EARLIEST).items()}
        except (LogUnavailable, TopicMissing):
            return dict.fromkeys(partitions, 0)

    def _offsets(
        self, partitions: Sequence[Partition], which: Any, level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> dict[Partition, Any]:
        """Return what the broker says. Where the connection breaks librdkafka says -1001, and no error (2.16)."""
        asked = {TopicPartition(*partition): which for partition in partitions}
        topics = ", ".join(sorted({partition.topic for partition in partitions}))
        try:
            answers = self._administrator().list_offsets(asked, isolation_level=level, request_timeout=ADMIN_SECONDS)
            offsets = {Partition(p.topic, p.partition): self._result(a) for p, a in answers.items()}
        except KafkaException as error:
            raise self._absent(topics, error) from error
        if min((answer.offset for answer in offsets.values()), default=0) < 0:
            raise LogUnavailable(f"the topic {topics}: the broker did not answer where they begin and end")
        return offsets

    def ask_identities(self, topics: Collection[str]) -> None:
        """See Log."""
        with contextlib.suppress(KafkaException):
            self._topic_ids.ask(topics)

    def identities(self, topics: Collection[str]) -> dict[str, Identity]:
        """See Log."""
        try:
            if not self._cluster:
                self._cluster = self._administrator().list_topics(timeout=METADATA_SECONDS).cluster_id or ""
            answers = self._topic_ids.answers(topics)
        except KafkaException as error:
            raise self._absent(", ".join(sorted(topics)), error) from error
        identities = {}
        for topic, asked in answers.items():
            try:
                described = self._result(asked)
                identities[topic] = Identity(self._cluster, str(described.topic_id))
                self.partition_counts[topic] = len(described.partitions)
            except KafkaException as error:
                raise self._absent(topic, error) from error
        return identities

    def partitions(self, topic: str) -> int:
        """See Log."""
        return len(self._described(topic, ADMIN_SECONDS).partitions)

    def largest(self, topics: Collection[str]) -> dict[str, Limit]:
        """See Log."""
        try:
            return limits_of(self._administrator(), topics, self._connection)
        except KafkaException as error:
            raise self._absent(", ".join(sorted(topics)), error) from error

    def place(self, key: bytes, partitions: int) -> int:
        """See Log. The client's own murmur2, by which `murmur2_random` (see producer_config) places what has a key."""
        return murmur2(key, partitions)

    def _described(self, topic: str, seconds: float) -> Any:
        return self._description(topic, self._describe([topic], seconds)[topic])

    def _describe(self, topics: Collection[str], seconds: float) -> Mapping[str, Any]:
        """Ask about topics; `_description` waits for each answer."""
        try:
            return self._administrator().describe_topics(TopicCollection(sorted(topics)), request_timeout=seconds)
        except KafkaException as error:
            raise self._absent(", ".join(sorted(topics)), error) from error

    def _description(self, topic: str, asked: Any) -> Any:
        try:
            return self._result(asked)
        except KafkaException as error:
            raise self._absent(topic, error) from error

    def _result(self, answer: Any) -> Any:
        """Wait for an answer of the admin client, which comes within ADMIN_SECONDS or is an error by then."""
        while True:
            try:
                return answer.result(SLICE_SECONDS)
            except TimeoutError:
                if self._stopping():
                    raise LogUnavailable("the broker has not answered yet, and the worker is to stop") from None

    def _administrator(self) -> AdminClient:
        if self._admin is None:
            self._admin = client(self._connection.clients.admin, self._connection.common(), self._connection.logger)
        return self._admin

    def publish(
        self, outputs: Sequence[Output], cursors: Mapping[Partition, Cursor], still_ours: Callable[[], bool]
    ) -> None:
        """See Log."""
        offsets = [TopicPartition(*p, cursor.offset, str(cursor.position)) for p, cursor in cursors.items()]
        group = self._consumer.consumer_group_metadata()
        if not _has_joined(group):
            raise Doubt("the group has thrown this worker out: its partitions may be somebody else's")
        try:
            if self._connection.exactly_once:
                self._producers.transaction(outputs, offsets, group, still_ours, self._witnesses_of(cursors))
                return
            if not still_ours():
                raise Overtaken("another worker has recovered these partitions")
            self._producers.flush_all(outputs)
        except SizeRefused as refused:
            raise self._too_large(refused, outputs) from refused
        except Doubt:
            if self._producers.undelivered:
                witness = {self.witness_topic} if self.witness_topic else set()
                self._look_for({output.topic for output in outputs} | witness)
            raise
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise Doubt(f"the commit of the cursors: {explained(error.args[0])}") from error

    def _too_large(self, refused: SizeRefused, outputs: Sequence[Output]) -> Doubt:
        """Return which outputs their topics do not take.

        The broker measures batches. So nobody is blamed before what is written comes in batches that each topic takes.
        """
        limits: dict[str, Limit] = {}
        with contextlib.suppress(LogUnavailable):
            limits = self.largest({topic for topic, *_ in refused.records})
        smallest = min((limit.bytes for limit in limits.values()), default=1)
        oversized = [Oversized(each, limits.get(each.topic)) for each in outputs if each[:3] in refused.records]
        if self._producers.batch_bytes > smallest or not oversized:
            self._producers.batch_bytes = min(self._producers.batch_bytes, smallest)
            return Doubt(f"a batch of records is {refused}: they are written again in smaller ones")
        return TooLarge(oversized)

    def _witnesses_of(self, cursors: Mapping[Partition, Cursor]) -> list[Witness]:
        assert self._progress is not None
        topic = self._progress.partition.topic
        return [Witness(topic, *encode(p, cursor)) for p, cursor in cursors.items() if cursor.database]

    def _look_for(self, topics: set[str]) -> None:
        """Raise TopicMissing if one of these was deleted; librdkafka would wait for it, and never say its name."""
        with contextlib.suppress(LogUnavailable):
            for topic in sorted(topics):
                self._described(topic, LOOK_SECONDS)

    def lag(self) -> dict[Partition, int]:
        """Return how many offsets lie beyond what was read, as far as the last fetches told; for metrics."""
        lags = {}
        for partition, position in list(self._positions.items()):
            with contextlib.suppress(KafkaException):
                end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
                lags[partition] = max(0, end - position)
        return lags

    def close(self) -> None:
        """See Log."""
        self._consumer.close()
        self._cursors.close()
        if self._progress is not None:
            self._progress.close()
        self._producers.close()

    # Callbacks, from inside poll.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take the partitions, at their beginning and paused: recovery seeks.

        Never at a logical offset. librdkafka would ask the broker where that is, and when a seek is faster than the
        answer, it asks once more afterwards and goes there: everything up to the end is skipped without a word.

        A static member takes nothing of its first assignment and joins once more. One that comes back gets what it had,
        without a rebalance; if it leads the group, partitions that were added to a topic meanwhile would be given to
        nobody: only the leader can start a rebalance for them, and it has not seen the topic grow (measured: librdkafka
        2.16, Kafka 4.3.1). The leader's second join starts one; another member's changes nothing.
        """
        if self._is_first:
            self._is_first, self._join_again = False, True
            consumer.assign([])
            return
        starts = self._starts([Partition(p.topic, p.partition) for p in partitions])
        assign = consumer.incremental_assign if self._incremental else consumer.assign
        assign([TopicPartition(*partition, start) for partition, start in starts.items()])
        consumer.pause(partitions)
        self._tell(partitions, lambda listener, ours: listener.assigned(ours))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._tell(partitions, lambda listener, ours: listener.revoked(ours))
        self._unassign(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._tell(partitions, lambda listener, ours: listener.lost(ours))
        self._unassign(consumer, partitions)

    def _unassign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def _tell(self, partitions: list[TopicPartition], say: Callable[[Rebalanced, list[Partition]], None]) -> None:
        ours = [Partition(p.topic, p.partition) for p in partitions]
        for partition in ours:
            self._positions.pop(partition, None)
        if not ours:
            return
        try:
            assert self._listener is not None
            say(self._listener, ours)
        except Exception as error:  # noqa: BLE001 - raised again by poll
            self._trouble.errors.append(error)

    # What was read.

    def _runs(self, messages: list[Message]) -> list[Run]:
        """Group by partition. Only what begins at a known position counts; the position moves even if it is dropped."""
        records: dict[Partition, list[Record]] = {}
        ends: dict[Partition, int] = {}
        partition = Partition("", -1)
        for message in messages:
            if message.error() is None:
                if message.partition() != partition.number or message.topic() != partition.topic:
                    partition = _partition(message)
                    records.setdefault(partition, [])
                record = _record(partition, message)
                records[partition].append(record)
                ends[partition] = record.offset + 1
            else:
                for where, reached in self._judge(message, message.error()).items():
                    records.setdefault(where, [])
                    ends[where] = reached
        runs = []
        for partition, run in records.items():
            start = self._positions.get(partition)
            if start is not None:
                end = self._positions[partition] = max(start, ends[partition])
                broken = ends[partition] == BROKEN
                runs.append(Run(partition, BROKEN if broken else start, end, run))
        self._pause_unreadable()
        return runs

    def _pause_unreadable(self) -> None:
        """Read nothing more of these, after what came before: never past what cannot be read, never spinning on it."""
        unreadable, self._unreadable = self._unreadable, {}
        for partition, (offset, why) in unreadable.items():
            if partition in self._positions and self._listener is not None:
                self.pause([partition])
                self._listener.unreadable(partition, offset, why)

    def _judge(self, message: Any, error: Any) -> dict[Partition, int]:
        """Raise what is final, say what heals by itself; return the partitions that ended there, or broke.

        Whatever goes wrong with a partition makes it unknown where we are in it: recovery looks.
        """
        where = _partition(message)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return {where: message.offset()}
        if error.code() == KafkaError._FATAL:  # noqa: SLF001
            raise self._final_or_away(error)
        if error.code() in JUMPED and any(text in error.str() for text in TRUNCATED):
            raise _truncated(where, error)
        if error.code() in UNREADABLE and message.topic() is not None:
            self._unreadable[where] = (message.offset(), error.str())
            return {}
        if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            self._warn(
                f"waiting: workers of {self._connection.group} that share out partitions in another way (of an older"
                " release, or with another group.protocol) are in the group. Stop all of them: Kafka lets this one in"
                " when their sessions are over"
            )
            return {}
        self._warn(f"{error.name() if message.topic() is None else where}: {explained(error)}")
        if error.code() in MISSING and message.topic() is not None:
            with contextlib.suppress(LogUnavailable):
                self.identities([message.topic()])
        return dict.fromkeys(self._touched_by(where), BROKEN)

    def _touched_by(self, where: Partition) -> list[Partition]:
        """Return which of our partitions an error is about: one, all of a topic (the number is -1 then), or none."""
        if where.number >= 0:
            return [where]
        return [partition for partition in self._positions if partition.topic == where.topic]

    def _final_or_away(self, error: Any) -> Exception:
        if error.code() == KafkaError._FATAL and "fenced" in error.str():  # noqa: SLF001
            return self._fenced(error)
        if error.code() == KafkaError._FATAL and OTHER_PROTOCOL in error.str():  # noqa: SLF001
            self._join_anew()
            return LogUnavailable(
                f"Kafka does not let us join: workers of {self._connection.group} with the classic group protocol have"
                f" not yet left, or their session is not over ({error.str()})"
            )
        if error.code() == KafkaError._FATAL:  # noqa: SLF001
            return Refused(f"Kafka's client has given up: {error.str()}")
        return LogUnavailable(f"reading: {explained(error)}")

    def _fenced(self, error: Any) -> Exception:
        """Join again with a new consumer. Being fenced proves no twin: a live lease of the instance name does.

        Static members without a twin were fenced when they joined anew after an outage that outlasted the session, and
        in rolling restarts of three brokers (measured with Kafka 4.3.1).
        """
        self._join_anew()
        return LogUnavailable(f"fenced, joining again as {self._connection.instance!r}: {error.str()}")

    def _join_anew(self) -> None:
        """Join with a new consumer: one that had a fatal error is of no use any more."""
        self._consumer.close()
        self._positions.clear()
        self._consumer = self._new_consumer()
        self._join()

    def _absent(self, topic: str, error: KafkaException) -> Exception:
        """Return what it means that the admin client failed, and forget the client: the next one asks everything anew.

        One that asked a broker which was just starting learns of no controller, waits for it in every call, and asks
        again only after topic.metadata.refresh.interval.ms, five minutes.
        """
        self._admin = None
        if error.args[0].code() in MISSING:
            return TopicMissing(f"the topic {topic} does not exist: `saga topics create` makes it", topic)
        return LogUnavailable(f"the topic {topic}: {explained(error.args[0])}")


def _partition(message: Any) -> Partition:
    return Partition(message.topic(), message.partition())


def _record(partition: Partition, message: Any) -> Record:
    timestamp = message.timestamp()[1]
    offset, epoch = message.offset(), _epoch(message.leader_epoch())
    return Record(partition, offset, message.key(), message.value(), timestamp, headers_of(message), epoch)


def _epoch(epoch: int | None) -> int | None:
    """Return a leader epoch as librdkafka gives it; None where it is not known."""
    return None if epoch is None or epoch < 0 else epoch


def _truncated(where: Partition, error: Any) -> Refused:
    return Refused(
        f"{where}: the end of the log was lost after it was read ({error.str()}). Other events may stand, or come to"
        " stand, where handled ones stood, and would be passed over. Restore the topic from a replica or a backup;"
        ' if that is not possible, see docs/operating.md, "A topic lost its end"'
    )


def _has_joined(group: bytes) -> bool:
    """Return whether the group metadata has a generation: the broker takes one of -1 for no member and lets it pass.

    librdkafka's form: `CGMDv2:`, the generation as 4 bytes in the machine's order, then ids.
    """
    prefix = b"CGMDv2:"
    if not group.startswith(prefix):
        raise Doubt(f"group metadata of an unknown form: {group[:16]!r}; use a tested confluent-kafka")
    return int.from_bytes(group[len(prefix) : len(prefix) + 4], sys.byteorder, signed=True) >= 0
