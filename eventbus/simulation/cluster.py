"""A model of the Kafka brokers: partitions, transactions and their coordinator. Groups are in group.py.

It models what the engine relies on and what can break it, as measured on Apache Kafka 4.3.1 (transactions v1, as
librdkafka uses them): a last stable offset, aborted records, markers that are written after the transaction has ended,
epochs and fencing, offsets that are pending until their transaction is marked, an end of transaction that arrives late.
One suite compares it with the real broker (tests/contract/test_log.py and test_transactions.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException, murmur2

from eventbus.log import Headers, Partition
from eventbus.simulation.group import Group

State = Literal["ongoing", "committed", "aborted"]


class Written(NamedTuple):
    """A record to append."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True, eq=False)
class SimulatedTransaction:
    """One transaction of one producer; `unmarked` are the partitions that do not have its marker yet."""

    began: float
    state: State = "ongoing"
    group: str = ""
    offsets: dict[Partition, tuple[int, str]] = field(default_factory=dict)
    unmarked: dict[Partition, None] = field(default_factory=dict)
    marked_at: float = 0


@dataclass(slots=True)
class _Producer:
    """The coordinator's state of one transactional.id."""

    epoch: int = 0
    current: SimulatedTransaction | None = None
    last: SimulatedTransaction | None = None


@dataclass(slots=True)
class LogEntry:
    """One offset of a partition: a record, a transaction's marker, or something that cannot be read."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    transaction: SimulatedTransaction | None
    no_record: bool = False
    """It is a marker, or part of a batch that cannot be read."""
    leader_epoch: int = 0
    """The epoch of the leader that wrote it."""


@dataclass(slots=True)
class _PartitionLog:
    entries: list[LogEntry] = field(default_factory=list)
    leader_epoch: int = 0
    undecided: dict[SimulatedTransaction, int] = field(default_factory=dict, compare=False)
    """Transactions without a marker in this partition yet, and their first offsets."""
    unreadable: list[range] = field(default_factory=list)
    """Batches that cannot be decompressed."""

    @property
    def stable(self) -> int:
        """The last stable offset: a read_committed consumer reads up to it."""
        return min(self.undecided.values()) if self.undecided else len(self.entries)


def error(code: int, why: str, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaException:
    """Return the exception that confluent_kafka would raise."""
    return KafkaException(KafkaError(code, why, fatal, retriable, abort))


AMONG_THE_RECORDS = math.inf
"""The time of a late copy that arrives among the records of the next transaction, instead of after some time."""


def nothing_late() -> float:
    """Every marker is written immediately."""
    return 0.0


class SimulatedCluster:
    """One cluster. `clock` in seconds; `marker_delay` returns how long after its end a transaction is marked."""

    def __init__(
        self, clock: Callable[[], float], *, transaction_seconds: float = 4.0, session_seconds: float = 10.0
    ) -> None:
        self.clock = clock
        self.id = "simulated"
        self.marker_delay: Callable[[], float] = nothing_late
        self._transaction_seconds, self._session_seconds = transaction_seconds, session_seconds
        self._tps: dict[Partition, _PartitionLog] = {}
        self._counts: dict[str, int] = {}
        self._incarnations: Counter[str] = Counter()
        self._producers: dict[str, _Producer] = {}
        self._groups: dict[str, Group] = {}
        self._unmarked: list[SimulatedTransaction] = []
        self._late: list[tuple[float, str, int, bool]] = []
        self._ticked_at = -1.0

    # Topics.

    def create_topics(self, names: Iterable[str], partitions: int) -> None:
        """Create topics that do not exist yet."""
        for name in names:
            self._counts[name] = partitions
            self._incarnations[name] += 1
            self._tps |= {Partition(name, number): _PartitionLog() for number in range(partitions)}

    def grow(self, name: str, partitions: int) -> None:
        """Increase the number of a topic's partitions. Groups assign the new ones at their next rebalance."""
        self._tps |= {Partition(name, number): _PartitionLog() for number in range(self._counts[name], partitions)}
        self._counts[name] = partitions

    def topic_id(self, name: str) -> str:
        """Return which incarnation of a topic this is."""
        return f"{name}-{self._incarnations[name]}"

    def recreate(self, name: str) -> None:
        """Delete a topic and create it again, with the same number of empty partitions. Groups lose its offsets."""
        tps = [Partition(name, number) for number in range(self._counts[name])]
        for tp in tps:
            self._forget(tp, 0)
        for group in self._groups.values():
            for tp in tps:
                group.offsets.pop(tp, None)
        self.create_topics([name], self._counts[name])

    def lose_end(self, partition: Partition, at: int) -> None:
        """Lose the records from this offset on, under a new leader; no transaction may have records on both sides."""
        tp = self._tps[partition]
        self._forget(partition, at)
        del tp.entries[at:]
        tp.leader_epoch += 1

    def between_transactions(self, partition: Partition) -> list[int]:
        """Return the offsets that are not inside a transaction, up to the last stable offset."""
        tp, found = self._tps[partition], []
        open_: set[SimulatedTransaction] = set()
        for offset, entry in enumerate(tp.entries[: tp.stable]):
            if not open_:
                found.append(offset)
            if entry.transaction is not None:
                (open_.discard if entry.no_record else open_.add)(entry.transaction)
        return found

    def _forget(self, partition: Partition, at: int) -> None:
        undecided = self._tps[partition].undecided
        for transaction in [t for t, first in undecided.items() if first >= at]:
            del undecided[transaction]
            transaction.unmarked.pop(partition, None)

    def topics(self) -> Mapping[str, int]:
        """Return the number of partitions of each topic."""
        return self._counts

    def partition_of(self, topic: str, key: bytes | None) -> Partition:
        """Return the partition of a key, as clients choose it; records without a key all go to the same one here."""
        return Partition(topic, murmur2(key or b"", self._counts[topic]))

    def end(self, partition: Partition) -> int:
        """Return the offset after the last one."""
        return len(self._tps[partition].entries)

    def stable(self, partition: Partition) -> int:
        """Return the last stable offset: records from it on cannot be read yet."""
        return self._tps[partition].stable

    def read(self, partition: Partition, position: int, limit: int) -> tuple[list[tuple[int, LogEntry]], int]:
        """Return committed records from a position on, and the position after them, markers and aborted records.

        It also skips unreadable batches, which only the checks of a run may do: a consumer stops there (`unreadable`).
        """
        tp = self._tps[partition]
        found: list[tuple[int, LogEntry]] = []
        stable = tp.stable
        while position < stable and len(found) < limit:
            entry = tp.entries[position]
            aborted = entry.transaction is not None and entry.transaction.state == "aborted"
            if not entry.no_record and not aborted:
                found.append((position, entry))
            position += 1
        return found, position

    def leader_epoch(self, partition: Partition) -> int:
        """Return the leader epoch of this partition; the first is 0."""
        return self._tps[partition].leader_epoch

    def reaches(self, partition: Partition, leader_epoch: int) -> int:
        """Return the end offset of this leader epoch or of the last one before it (OffsetForLeaderEpoch)."""
        tp = self._tps[partition]
        later = (offset for offset, entry in enumerate(tp.entries) if entry.leader_epoch > leader_epoch)
        return next(later, len(tp.entries)) if leader_epoch <= tp.leader_epoch else -1

    def epoch_before(self, partition: Partition, offset: int) -> int:
        """Return the leader epoch of the record before an offset."""
        return self._tps[partition].entries[offset - 1].leader_epoch

    def unreadable(self, partition: Partition, position: int, until: int) -> range | None:
        """Return the first batch with offsets between these two that cannot be decompressed."""
        batches = self._tps[partition].unreadable
        return next((batch for batch in batches if batch.start < until and position < batch.stop), None)

    def corrupt(self, partition: Partition, records: int) -> range:
        """Write a batch of `records` records that cannot be decompressed, and return their offsets."""
        tp = self._tps[partition]
        batch = range(len(tp.entries), len(tp.entries) + records)
        now, epoch = round(self.clock() * 1000), tp.leader_epoch
        tp.entries += [LogEntry(None, None, [], now, None, no_record=True, leader_epoch=epoch) for _ in batch]
        tp.unreadable.append(batch)
        return batch

    def undecided(self) -> bool:
        """Return whether any partition has an open transaction."""
        return any(tp.undecided for tp in self._tps.values())

    def append(self, partition: Partition, record: Written, transaction: SimulatedTransaction | None = None) -> int:
        """Write one record at the end of a partition and return its offset."""
        tp = self._tps[partition]
        entry = LogEntry(record.key, record.value, record.headers, round(self.clock() * 1000), transaction)
        entry.leader_epoch = tp.leader_epoch
        tp.entries.append(entry)
        offset = len(tp.entries) - 1
        if transaction is not None:
            tp.undecided.setdefault(transaction, offset)
            transaction.unmarked[partition] = None
        return offset

    # Transactions.

    def start_producer(self, name: str) -> int:
        """Abort the open transaction of an earlier producer; return the new epoch, which fences older producers."""
        producer = self._producers.setdefault(name, _Producer())
        if producer.current is not None:
            self._end(producer, commit=False)
        self._mark_now(producer.last)
        producer.epoch += 1
        return producer.epoch

    def write(self, name: str, epoch: int, records: Sequence[Written]) -> None:
        """Append records in the producer's transaction, which begins with the first one."""
        producer = self._authentic(name, epoch)
        for number, record in enumerate(records):
            if number == (len(records) + 1) // 2:
                self._let_arrive_among(name)
            transaction = self._current(producer)
            self.append(self.partition_of(record.topic, record.key), record, transaction)

    def write_offsets(
        self, name: str, epoch: int, group: str, member: tuple[str, int], offsets: Mapping[Partition, tuple[int, str]]
    ) -> None:
        """Make a group's offsets part of the transaction; they are pending until it is marked."""
        self._let_arrive_among(name)
        producer = self._authentic(name, epoch)
        self.group(group).check(*member)
        transaction = self._current(producer)
        transaction.group = group
        transaction.offsets.update(offsets)

    def end_transaction(self, name: str, epoch: int, *, commit: bool) -> None:
        """End the producer's transaction. A repeated request gets the same response; the opposite one is rejected."""
        producer = self._authentic(name, epoch)
        if producer.current is not None:
            self._end(producer, commit=commit)
        elif producer.last is not None and (producer.last.state == "committed") != commit:
            raise error(KafkaError.INVALID_TXN_STATE, "the transaction has already ended differently", fatal=True)

    def arrive_late(self, seconds: float, name: str, epoch: int, *, commit: bool) -> None:
        """Have a copy of an end of transaction arrive after `seconds`, and end the transaction that is open then.

        AMONG_THE_RECORDS: when half of the records of the next transaction are written, whenever that is; if it has
        only one record, before the offsets.
        """
        self._late.append((self.clock() + seconds, name, epoch, commit))

    def _let_arrive_among(self, name: str) -> None:
        self._let_arrive([late for late in self._late if late[:2] == (AMONG_THE_RECORDS, name)])

    def _let_arrive(self, due: list[tuple[float, str, int, bool]]) -> None:
        for late in due:
            self._late.remove(late)
            _, name, epoch, commit = late
            producer = self._producers[name]
            if producer.epoch == epoch and producer.current is not None:
                self._end(producer, commit=commit)

    def _authentic(self, name: str, epoch: int) -> _Producer:
        self.tick()
        producer = self._producers[name]
        if producer.epoch != epoch:
            raise error(KafkaError._FENCED, "a newer producer of this transactional.id exists", fatal=True)  # noqa: SLF001
        return producer

    def _current(self, producer: _Producer) -> SimulatedTransaction:
        if producer.current is None:
            self._mark_now(producer.last)  # CONCURRENT_TRANSACTIONS until then; the client waits
            producer.current = SimulatedTransaction(self.clock())
        return producer.current

    def _end(self, producer: _Producer, *, commit: bool) -> None:
        transaction, producer.current = producer.current, None
        assert transaction is not None
        transaction.state = "committed" if commit else "aborted"
        transaction.marked_at = self.clock() + self.marker_delay()
        producer.last = transaction
        self._unmarked.append(transaction)
        self._mark()

    def _mark_now(self, transaction: SimulatedTransaction | None) -> None:
        if transaction is not None and transaction in self._unmarked:
            transaction.marked_at = self.clock()
            self._mark()

    def _mark(self) -> None:
        now = self.clock()
        for transaction in [t for t in self._unmarked if t.marked_at <= now]:
            self._unmarked.remove(transaction)
            for partition in transaction.unmarked:
                tp = self._tps[partition]
                del tp.undecided[transaction]
                marker = LogEntry(None, None, [], round(now * 1000), transaction, no_record=True)
                marker.leader_epoch = tp.leader_epoch
                tp.entries.append(marker)
            if transaction.offsets and transaction.state == "committed":
                self.group(transaction.group).offsets.update(transaction.offsets)

    # Groups.

    def group(self, name: str) -> Group:
        """Return a group; create it on first use."""
        if name not in self._groups:
            self._groups[name] = Group(self.clock, self._counts, self._session_seconds)
        return self._groups[name]

    def committed(
        self, group: str, partitions: Iterable[Partition], *, stable: bool
    ) -> dict[Partition, tuple[int, str] | None]:
        """Return the group's offsets. `stable`: raises while one of them is pending in a transaction."""
        self.tick()
        wanted = list(partitions)
        producers = [p.current for p in self._producers.values() if p.current is not None]
        for transaction in (*producers, *self._unmarked) if stable else ():
            if transaction.group == group and any(partition in transaction.offsets for partition in wanted):
                raise error(KafkaError._TIMED_OUT, "offsets are pending in a transaction", retriable=True)  # noqa: SLF001
        offsets = self.group(group).offsets
        return {partition: offsets.get(partition) for partition in wanted}

    def tick(self) -> None:
        """Do what is due: late requests, markers, and timeouts of transactions and members."""
        now = self.clock()
        if now == self._ticked_at:
            return
        self._ticked_at = now
        if self._late:
            self._let_arrive([late for late in self._late if late[0] <= now])
        if self._unmarked:
            self._mark()
        for producer in self._producers.values():
            if producer.current is not None and now - producer.current.began > self._transaction_seconds:
                producer.epoch += 1
                self._end(producer, commit=False)
        for group in self._groups.values():
            group.tick()
