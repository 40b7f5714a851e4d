"""The log on Apache Kafka, through confluent_kafka (librdkafka)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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

from eventbus.kafka.causes import LOGIN, TLS, explained, unanswered
from eventbus.kafka.committed_offsets import GroupOffsets, committed_offset_of
from eventbus.kafka.config import Connection, client, consumer_config, incremental
from eventbus.kafka.headers import headers_of
from eventbus.kafka.outage import BrokerOutage
from eventbus.kafka.producer import Producers, SizeRefused, Witness
from eventbus.kafka.progress_topic import ProgressTopic
from eventbus.kafka.topic_ids import TopicIds
from eventbus.kafka.topics import limits_of
from eventbus.kafka.witness import encode
from eventbus.log import (
    CommitOutcomeUnknown,
    CommittedOffset,
    FetchedRecords,
    Identity,
    Limit,
    LogUnavailable,
    OffsetRange,
    Output,
    Oversized,
    Partition,
    PartitionMigrated,
    Rebalanced,
    Record,
    TooLarge,
    TopicMissing,
    UnsafeToContinue,
    missing_topic,
    new_tuple,
)

COMMITTED_SECONDS = 2.0
"""`committed()` waits for open transactions; in short calls, so that the loop keeps running."""
ADMIN_SECONDS = 4.0
"""How long an answer of the admin client may take. Two in a row stay within the watchdog's limit of a step: if a broker
is down, a worker waits and retries, and is not taken for hung."""
METADATA_SECONDS = 5.0
LOOK_SECONDS = 2.0
SLICE_SECONDS = 0.5
SIGNAL_SECONDS, QUIET_SECONDS, QUIET_AFTER = 0.003, 0.05, 1.0
"""How often a waiting poll asks its signal: nothing wakes a call of librdkafka. Less often once nothing was read for
QUIET_AFTER seconds, because each time costs about 0.07 ms of processor time (measured)."""
OTHER_PROTOCOL = "group id does not exist"
"""The fatal error of a consumer that joins with the newer group protocol while the group has classic members whose
assignments carry user data, as cooperative-sticky's do: Kafka 4.3.1 converts such a group only once they have left."""

GAP = -1
"""The start of records after an offset gap: librdkafka lost its position, and recovery must find it again."""

MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()
OFFSET_RESET = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
TRUNCATED = ("truncation detected", "No epoch found")
"""The text of _AUTO_OFFSET_RESET if the log was truncated below the offset that was read, by leader epoch (KIP-320)."""
NO_EPOCH = -1
UNREADABLE = {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_RECORD}  # noqa: SLF001


@dataclass(slots=True)
class _CallbackErrors:
    """Exceptions inside callbacks, to be raised afterwards: librdkafka swallows them there."""

    errors: list[BaseException] = field(default_factory=list)

    def raise_first(self) -> None:
        if self.errors:
            first, self.errors = self.errors[:1], []
            raise first.pop()  # in no variable: error and frame would keep each other


class Signal(NamedTuple):
    """Something else than records that the owner of a partition waits for."""

    partition: Partition
    seen: Callable[[], bool]


class KafkaLog:
    """See Log. `warn` is called with the text of each problem that resolves by itself.

    Once `stopping` returns true, waits are cut short.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        warn: Callable[[str], None],
        failpoint: Callable[[str], None] = lambda _step: None,
        clock: Callable[[], float] = time.monotonic,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.outage = BrokerOutage(connection.bootstrap_servers)
        """Whether any broker answers, as far as the consumer knows."""
        self._connection, self._warn, self._clock, self._stopping = connection, warn, clock, stopping
        self.signal: Signal | None = None
        """What a poll that waits for records returns early for."""
        self._active_at = clock()
        self._incremental = incremental(connection)
        self._consumer = self._new_consumer()
        self._producers = Producers(connection, failpoint, stopping)
        self._progress = ProgressTopic(connection, warn, stopping) if connection.exactly_once else None
        self._group_offsets = GroupOffsets(connection)
        self._admin: AdminClient | None = None
        self._topic_ids = TopicIds(self._administrator, ADMIN_SECONDS)
        self._cluster = ""
        self.partition_counts: dict[str, int] = {}
        """How many partitions each topic had when its identity was last asked for."""
        self._positions: dict[Partition, int] = {}
        self._topics: list[str] = []
        self._listener: Rebalanced | None = None
        self._callback_errors = _CallbackErrors()
        self._unreadable: dict[Partition, tuple[int, str]] = {}

    def subscribe(self, topics: Sequence[str], listener: Rebalanced) -> None:
        """See Log."""
        self._topics, self._listener = list(topics), listener
        self._join()

    def _join(self) -> None:
        callbacks = {"on_assign": self._on_assign, "on_revoke": self._on_revoke, "on_lost": self._on_lost}
        self._consumer.subscribe(self._topics, **callbacks)

    def _new_consumer(self) -> Consumer:
        config = consumer_config(self._connection) | {"error_cb": self._on_error}
        self._is_first, self._join_again = "group.instance.id" in config, False
        consumer: Consumer = client(self._connection.clients.consumer, config, self._connection.logger)
        return consumer

    def _on_error(self, error: KafkaError) -> None:
        """Note that no broker answers; warn that one now rejects a consumer that was connected.

        Calls raise all other errors themselves.
        """
        self.outage.on_error(error)
        if error.code() in LOGIN or error.code() == TLS:
            self._warn(explained(error))

    def ask(self) -> None:
        """Ask whether a broker answers, for LOOK_SECONDS at most; again on a new connection. Raises LogUnavailable."""
        try:
            self._administrator().list_topics(timeout=LOOK_SECONDS)
        except KafkaException as error:
            self._admin = None
            raise LogUnavailable(unanswered(error.args[0])) from error

    def _join_twice(self) -> None:
        """Join a second time if the first assignment was not taken (see `_on_assign`)."""
        if self._join_again:
            with contextlib.suppress(KafkaException):  # fenced meanwhile: the next poll raises that
                self._join()
                self._join_again = False

    def poll(self, limit: int, timeout: float) -> list[FetchedRecords]:
        """See Log. `consume(n, t)` waits the whole of t for n records, so: take what is there, else wait for one."""
        self._join_twice()
        try:
            messages = self._consumer.consume(limit, 0)
            if not messages and timeout > 0:
                first = self._first(timeout)
                if first is not None:
                    messages = [first, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        except KafkaException as exception:
            raise self._fatal_or_unavailable(exception.args[0]) from exception
        fetched = self._fetched(messages)
        self._callback_errors.raise_first()
        return fetched

    def _first(self, timeout: float) -> Message | None:
        """Wait for a message, or for the signal."""
        if self.signal is None or self.signal.partition not in self._positions:
            return self._consumer.poll(timeout)
        until = self._clock() + timeout
        while (now := self._clock()) < until:
            pause = SIGNAL_SECONDS if now - self._active_at < QUIET_AFTER else QUIET_SECONDS
            message = self._consumer.poll(min(until - now, pause))
            if message is not None:
                self._active_at = self._clock()
            if message is not None or self.signal.seen():
                return message
        return None

    def keep_alive(self) -> None:
        """See Log. Pausing drops the prefetch, which is fetched again: only for calls longer than a second."""
        reading = [TopicPartition(*partition) for partition in self._positions]
        with contextlib.suppress(KafkaException):
            self._consumer.pause(reading)
        try:
            message = self._consumer.poll(0)
        except KafkaException as exception:
            raise self._fatal_or_unavailable(exception.args[0]) from exception
        self._callback_errors.raise_first()
        if message is not None:
            self._fetched([message])
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

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, CommittedOffset | None]:
        """See Log."""
        if self._connection.exactly_once:
            self._producers.start()
        try:
            answers = self._consumer.committed([TopicPartition(*p) for p in partitions], timeout=COMMITTED_SECONDS)
        except KafkaException as error:
            raise LogUnavailable(f"cannot read the group's committed offsets: {explained(error.args[0])}") from error
        for answer in answers:
            if answer.error is not None:
                where = f"{answer.topic}/{answer.partition}"
                raise LogUnavailable(f"cannot read the committed offset of {where}: {explained(answer.error)}")
        return {Partition(a.topic, a.partition): committed_offset_of(a) for a in answers}

    def group_offsets(self, topics: Collection[str], others: Collection[Partition]) -> dict[Partition, CommittedOffset]:
        """See Log."""
        found = {Partition(topic, n) for topic, count in self._counts(topics).items() for n in range(count)}
        return self._group_offsets.of(found.union(others))

    def _counts(self, topics: Collection[str]) -> dict[str, int]:
        """Return the number of partitions of each of these topics that exists."""
        counts = {}
        for topic, asked in self._describe(topics, ADMIN_SECONDS).items():
            with contextlib.suppress(TopicMissing):
                counts[topic] = len(self._description(topic, asked).partitions)
        return counts

    @property
    def witness_topic(self) -> str | None:
        """See Log."""
        return self._progress.partition.topic if self._progress else None

    def witnesses(self, *, undecided: bool) -> dict[Partition, CommittedOffset] | None:
        """See Log."""
        if self._progress is None:
            return None
        where = [self._progress.partition]
        topic_id = str(self._described(where[0].topic, ADMIN_SECONDS).topic_id)
        level = IsolationLevel.READ_UNCOMMITTED if undecided else IsolationLevel.READ_COMMITTED
        starts, ends = self._offsets(where, EARLIEST), self._offsets(where, LATEST, level)
        return self._progress.read(topic_id, starts[where[0]].offset, ends[where[0]].offset)

    def offset_range(self, partitions: Sequence[Partition]) -> dict[Partition, OffsetRange]:
        """See Log. On the admin client's connection: on the consumer's the request would wait behind a fetch."""
        starts, ends = self._offsets(partitions, EARLIEST), self._offsets(partitions, LATEST)
        return {p: OffsetRange(starts[p].offset, ends[p].offset, _epoch(ends[p].leader_epoch)) for p in partitions}

    def _starts(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the beginning offsets, or 0 if no broker answers: never logical ones, which would override a seek."""
        try:
            return {partition: start.offset for partition, start in self._offsets(partitions, EARLIEST).items()}
        except (LogUnavailable, TopicMissing):
            return dict.fromkeys(partitions, 0)

    def _offsets(
        self, partitions: Sequence[Partition], which: Any, level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> dict[Partition, Any]:
        """Return the broker's answer. If the connection breaks, librdkafka (2.16) returns offset -1001 and no error."""
        asked = {TopicPartition(*partition): which for partition in partitions}
        topics = ", ".join(sorted({partition.topic for partition in partitions}))
        try:
            answers = self._administrator().list_offsets(asked, isolation_level=level, request_timeout=ADMIN_SECONDS)
            offsets = {Partition(p.topic, p.partition): self._result(a) for p, a in answers.items()}
        except KafkaException as error:
            raise self._admin_error(topics, error) from error
        if min((answer.offset for answer in offsets.values()), default=0) < 0:
            raise LogUnavailable(f"the topic {topics}: the broker did not return its beginning and end offsets")
        self.outage.heard()
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
            raise self._admin_error(", ".join(sorted(topics)), error) from error
        identities = {}
        for topic, asked in answers.items():
            try:
                described = self._result(asked)
                identities[topic] = Identity(self._cluster, str(described.topic_id))
                self.partition_counts[topic] = len(described.partitions)
            except KafkaException as error:
                raise self._admin_error(topic, error) from error
        self.outage.heard()
        return identities

    def partitions(self, topic: str) -> int:
        """See Log."""
        return len(self._described(topic, ADMIN_SECONDS).partitions)

    def largest(self, topics: Collection[str]) -> dict[str, Limit]:
        """See Log."""
        try:
            return limits_of(self._administrator(), topics, self._connection)
        except KafkaException as error:
            raise self._admin_error(", ".join(sorted(topics)), error) from error

    def place(self, key: bytes, partitions: int) -> int:
        """See Log. The client's own murmur2, by which `murmur2_random` (see producer_config) places what has a key."""
        return murmur2(key, partitions)

    def _described(self, topic: str, seconds: float) -> Any:
        return self._description(topic, self._describe([topic], seconds)[topic])

    def _describe(self, topics: Collection[str], seconds: float) -> Mapping[str, Any]:
        """Request descriptions of topics; `_description` waits for each answer."""
        try:
            return self._administrator().describe_topics(TopicCollection(sorted(topics)), request_timeout=seconds)
        except KafkaException as error:
            raise self._admin_error(", ".join(sorted(topics)), error) from error

    def _description(self, topic: str, asked: Any) -> Any:
        try:
            return self._result(asked)
        except KafkaException as error:
            raise self._admin_error(topic, error) from error

    def _result(self, answer: Any) -> Any:
        """Wait for an answer of the admin client: it arrives within ADMIN_SECONDS, or fails by then."""
        while True:
            try:
                return answer.result(SLICE_SECONDS)
            except TimeoutError:
                if self._stopping():
                    raise LogUnavailable("the broker has not answered, and the worker is stopping") from None

    def _administrator(self) -> AdminClient:
        if self._admin is None:
            self._admin = client(self._connection.clients.admin, self._connection.common(), self._connection.logger)
        return self._admin

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, CommittedOffset], still_ours: Callable[[], bool]
    ) -> None:
        """See Log."""
        committed = [TopicPartition(*p, each.offset, str(each.outbox_seq)) for p, each in offsets.items()]
        group = self._consumer.consumer_group_metadata()
        if not _has_joined(group):
            raise CommitOutcomeUnknown(
                "this worker is no longer a member of the group: its partitions may belong to another worker"
            )
        try:
            if self._connection.exactly_once:
                self._producers.transaction(outputs, committed, group, still_ours, self._witnesses_of(offsets))
                return
            if not still_ours():
                raise PartitionMigrated("another worker has recovered these partitions")
            self._producers.flush_all(outputs)
        except SizeRefused as refused:
            raise self._too_large(refused, outputs) from refused
        except CommitOutcomeUnknown:
            if self._producers.undelivered:
                witness = {self.witness_topic} if self.witness_topic else set()
                self._check_exist({output.topic for output in outputs} | witness)
            raise
        try:
            self._consumer.commit(offsets=committed, asynchronous=False)
        except KafkaException as error:
            raise CommitOutcomeUnknown(
                f"the outcome of the offset commit is unknown: {explained(error.args[0])}"
            ) from error

    def _too_large(self, refused: SizeRefused, outputs: Sequence[Output]) -> CommitOutcomeUnknown:
        """Return which outputs are too large for their topics.

        Brokers limit the size of batches, so no output is reported before the batches are small enough for each topic.
        """
        limits: dict[str, Limit] = {}
        with contextlib.suppress(LogUnavailable):
            limits = self.largest({topic for topic, *_ in refused.records})
        smallest = min((limit.bytes for limit in limits.values()), default=1)
        oversized = [Oversized(each, limits.get(each.topic)) for each in outputs if each[:3] in refused.records]
        if self._producers.batch_bytes > smallest or not oversized:
            self._producers.batch_bytes = min(self._producers.batch_bytes, smallest)
            return CommitOutcomeUnknown(f"a batch of records is {refused}: retrying in smaller batches")
        return TooLarge(oversized)

    def _witnesses_of(self, offsets: Mapping[Partition, CommittedOffset]) -> list[Witness]:
        assert self._progress is not None
        topic = self._progress.partition.topic
        return [Witness(topic, *encode(p, committed)) for p, committed in offsets.items() if committed.database]

    def _check_exist(self, topics: set[str]) -> None:
        """Raise TopicMissing if one of these was deleted; librdkafka would wait for it without naming it."""
        with contextlib.suppress(LogUnavailable):
            for topic in sorted(topics):
                self._described(topic, LOOK_SECONDS)

    def lag(self) -> dict[Partition, int]:
        """Return how many offsets are not read yet, according to the last fetches; for metrics."""
        lags = {}
        for partition, position in list(self._positions.items()):
            with contextlib.suppress(KafkaException):
                end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
                lags[partition] = max(0, end - position)
        return lags

    def close(self) -> None:
        """See Log."""
        with contextlib.suppress(KafkaException, RuntimeError):  # RuntimeError: it is closed already
            # An assignment may wait. Answered inside close, it now and then never returns, and holds the interpreter
            # (measured: librdkafka 2.16, 8 of 144 closes). What else is polled here is not committed.
            self._consumer.poll(0)
        self._consumer.close()
        self._group_offsets.close()
        if self._progress is not None:
            self._progress.close()
        self._producers.close()

    # Callbacks, called inside poll.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Assign the partitions at their beginning and paused: recovery seeks.

        Never at a logical offset. librdkafka would ask the broker to resolve it, and if a seek is faster than the
        answer, it asks once more afterwards and moves there: everything up to the end is skipped silently.

        A static member ignores its first assignment and joins once more. One that returns gets its old partitions back
        without a rebalance; if it is the group's leader, partitions that were added to a topic meanwhile would stay
        unassigned: only the leader can start a rebalance for them, and it has not seen the topic grow (measured:
        librdkafka 2.16, Kafka 4.3.1). The leader's second join starts one; another member's changes nothing.
        """
        if self._is_first:
            self._is_first, self._join_again = False, True
            consumer.assign([])
            return
        starts = self._starts([Partition(p.topic, p.partition) for p in partitions])
        assign = consumer.incremental_assign if self._incremental else consumer.assign
        assign([TopicPartition(*partition, start) for partition, start in starts.items()])
        consumer.pause(partitions)
        self._notify(partitions, lambda listener, ours: listener.assigned(ours))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._notify(partitions, lambda listener, ours: listener.revoked(ours))
        self._unassign(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._notify(partitions, lambda listener, ours: listener.lost(ours))
        self._unassign(consumer, partitions)

    def _unassign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def _notify(self, partitions: list[TopicPartition], call: Callable[[Rebalanced, list[Partition]], None]) -> None:
        ours = [Partition(p.topic, p.partition) for p in partitions]
        for partition in ours:
            self._positions.pop(partition, None)
        if not ours:
            return
        try:
            assert self._listener is not None
            call(self._listener, ours)
        except Exception as error:  # noqa: BLE001 - raised again by poll
            self._callback_errors.errors.append(error)

    # Fetched records.

    def _fetched(self, messages: list[Message]) -> list[FetchedRecords]:
        """Group by partition. One without a position is left out; a position advances even if records are dropped."""
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
                for where, end in self._handle_error(message, message.error()).items():
                    records.setdefault(where, [])
                    ends[where] = end
        if ends and max(ends.values()) > GAP:
            self.outage.heard()
        fetched = []
        for partition, read in records.items():
            start = self._positions.get(partition)
            if start is not None:
                end = self._positions[partition] = max(start, ends[partition])
                gap = ends[partition] == GAP
                fetched.append(FetchedRecords(partition, GAP if gap else start, end, read))
        self._pause_unreadable()
        return fetched

    def _pause_unreadable(self) -> None:
        """Pause these partitions before their unreadable records, which are neither skipped nor fetched repeatedly."""
        unreadable, self._unreadable = self._unreadable, {}
        for partition, (offset, why) in unreadable.items():
            if partition in self._positions and self._listener is not None:
                self.pause([partition])
                self._listener.unreadable(partition, offset, why)

    def _handle_error(self, message: Any, error: Any) -> dict[Partition, int]:
        """Raise fatal errors, warn of transient ones; return where partitions are at their end, or GAP after an error.

        After any error of a partition the position in it is unknown: recovery finds it.
        """
        where = _partition(message)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return {where: message.offset()}
        if error.code() == KafkaError._FATAL:  # noqa: SLF001
            raise self._fatal_or_unavailable(error)
        if error.code() in OFFSET_RESET and any(text in error.str() for text in TRUNCATED):
            raise _truncated(where, error)
        if error.code() in UNREADABLE and message.topic() is not None:
            self._unreadable[where] = (message.offset(), error.str())
            return {}
        if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            self._warn(
                f"waiting: the group {self._connection.group} has members with another assignor (of an older release,"
                " or with another group.protocol). Stop all of them: Kafka accepts this worker when their sessions"
                " have expired"
            )
            return {}
        self._warn(f"{error.name() if message.topic() is None else where}: {explained(error)}")
        if error.code() in MISSING and message.topic() is not None:
            with contextlib.suppress(LogUnavailable):
                self.identities([message.topic()])
        return dict.fromkeys(self._affected(where), GAP)

    def _affected(self, where: Partition) -> list[Partition]:
        """Return which assigned partitions an error is about: one, all of a topic (then its number is -1), or none."""
        if where.number >= 0:
            return [where]
        return [partition for partition in self._positions if partition.topic == where.topic]

    def _fatal_or_unavailable(self, error: Any) -> Exception:
        if error.code() == KafkaError._FATAL and "fenced" in error.str():  # noqa: SLF001
            return self._fenced(error)
        if error.code() == KafkaError._FATAL and OTHER_PROTOCOL in error.str():  # noqa: SLF001
            self._rejoin()
            return LogUnavailable(
                f"Kafka rejected the join: workers of {self._connection.group} with the classic group protocol have not"
                f" left, or their sessions have not expired ({error.str()})"
            )
        if error.code() == KafkaError._FATAL:  # noqa: SLF001
            return UnsafeToContinue(f"fatal error of the Kafka client: {error.str()}")
        return LogUnavailable(f"cannot read: {explained(error)}")

    def _fenced(self, error: Any) -> Exception:
        """Join again with a new consumer. Being fenced does not prove a twin: a live lease of the instance name does.

        Static members without a twin were fenced when they rejoined after an outage longer than the session, and in
        rolling restarts of three brokers (measured with Kafka 4.3.1).
        """
        self._rejoin()
        return LogUnavailable(f"fenced, joining again as {self._connection.instance!r}: {error.str()}")

    def _rejoin(self) -> None:
        """Join with a new consumer: one that had a fatal error cannot be used again."""
        self._consumer.close()
        self._positions.clear()
        self._consumer = self._new_consumer()
        self._join()

    def _admin_error(self, topic: str, error: KafkaException) -> Exception:
        """Return the exception for an admin client's error, and drop the client: a new one requests all metadata again.

        A client that asked a broker during its start learns no controller, waits for it in every call, and asks again
        only after topic.metadata.refresh.interval.ms, five minutes.
        """
        self._admin = None
        if error.args[0].code() in MISSING:
            return missing_topic(topic)
        return LogUnavailable(f"the topic {topic}: {explained(error.args[0])}")


def _partition(message: Any) -> Partition:
    return Partition(message.topic(), message.partition())


def _record(partition: Partition, message: Any) -> Record:
    offset, epoch = message.offset(), _epoch(message.leader_epoch())
    timestamp, headers = message.timestamp()[1], headers_of(message)
    made: Record = new_tuple(Record, (partition, offset, message.key(), message.value(), timestamp, headers, epoch))
    return made


def _epoch(epoch: int | None) -> int | None:
    """Return a leader epoch of librdkafka's; None if it is unknown."""
    return None if epoch is None or epoch < 0 else epoch


def _truncated(where: Partition, error: Any) -> UnsafeToContinue:
    return UnsafeToContinue(
        f"{where}: the end of the log was lost after it was read ({error.str()}). Other events may be, or may be"
        " written, at the offsets of handled ones, and would be skipped. Restore the topic from a replica or a backup;"
        ' if that is not possible, see docs/operating.md, "A topic lost its end"'
    )


def _has_joined(group: bytes) -> bool:
    """Return whether the group metadata has a generation: the broker accepts -1 as a non-member's, without any check.

    librdkafka's format: `CGMDv2:`, the generation as 4 bytes in the machine's order, then ids.
    """
    prefix = b"CGMDv2:"
    if not group.startswith(prefix):
        raise CommitOutcomeUnknown(
            f"group metadata in an unknown format: {group[:16]!r}; use a tested version of confluent-kafka"
        )
    return int.from_bytes(group[len(prefix) : len(prefix) + 4], sys.byteorder, signed=True) >= 0
