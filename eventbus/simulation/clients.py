"""Simulated Kafka clients with the part of confluent_kafka's interface that eventbus.kafka.log uses, on a Cluster.

The adapter above them is the real one: its transactions, its suspect producers and its callbacks are tested.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, TopicPartition

from eventbus.kafka.config import Clients
from eventbus.kafka.log import EARLIEST
from eventbus.log import Headers, Partition
from eventbus.simulation import group
from eventbus.simulation.cluster import LogEntry, SimulatedCluster, Written, error

Callback = Callable[[Any, list[TopicPartition]], None]
NO_HEADERS: Headers = []


class ClientFault(Enum):
    """What happens to one request."""

    NONE = "nothing"
    LOSE_REQUEST = "the request is lost"
    LOSE_ANSWER = "the response is lost"
    LATE_COPY = "the client retries it, and the first copy arrives later"


class ClientHost(group.GroupHost):
    """The process of a client. A simulation overrides what happens between it and the brokers."""

    something_to_read: Callable[[], bool] = bool
    """Whether a poll of its consumer would return at once."""

    def reach(self, step: str) -> None:
        """The client has reached this step; may raise or take long."""

    def fault(self, request: str) -> ClientFault:
        """Return what happens to a request of this name."""
        return ClientFault.NONE

    def lateness(self) -> float:
        """Return after how many seconds a late copy arrives."""
        return 0.0

    def slow(self, partition: Partition) -> bool:
        """Return whether a fetch returns nothing of this partition although it has records."""
        return False

    def busy(self) -> None:
        """Something was read, written or decided."""


def clients(cluster: SimulatedCluster, host: ClientHost) -> Clients:
    """Return the constructors of clients for this cluster, to be used instead of real ones."""
    return Clients(
        partial(SimulatedConsumer, cluster, host),
        partial(SimulatedProducer, cluster, host),
        partial(SimulatedAdmin, cluster),
    )


class Message:
    """What a consumer returns: a record, the end of a partition, or an error."""

    __slots__ = ("_entry", "_error", "_offset", "_partition")

    def __init__(self, partition: Partition, offset: int, entry: LogEntry | KafkaError) -> None:
        self._partition, self._offset = partition, offset
        self._entry = entry if isinstance(entry, LogEntry) else None
        self._error = entry if isinstance(entry, KafkaError) else None

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._partition.topic

    def partition(self) -> int:
        return self._partition.number

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._entry.key if self._entry else None

    def value(self) -> bytes | None:
        return self._entry.value if self._entry else None

    def headers(self) -> Headers | None:
        return list(self._entry.headers) if self._entry else None

    def leader_epoch(self) -> int | None:
        return self._entry.leader_epoch if self._entry else None

    def timestamp(self) -> tuple[int, int]:
        return (1, self._entry.timestamp_ms if self._entry else -1)


END = KafkaError(KafkaError._PARTITION_EOF)  # noqa: SLF001 - the client's own name
GONE = KafkaError(KafkaError._AUTO_OFFSET_RESET, "simulated: the offset is out of range")  # noqa: SLF001
TRUNCATED = KafkaError(KafkaError._AUTO_OFFSET_RESET, "simulated: log truncation detected")  # noqa: SLF001
CORRUPT = KafkaError(KafkaError._BAD_COMPRESSION, "simulated: the batch cannot be decompressed")  # noqa: SLF001


class SimulatedConsumer:
    """A consumer that fetches no more than `limit` records, and only committed ones."""

    def __init__(
        self, cluster: SimulatedCluster, host: ClientHost, config: dict[str, Any], *, logger: Any = None
    ) -> None:
        self._cluster, self._host = cluster, host
        self._name, self._instance = config["group.id"], config.get("group.instance.id")
        self._stable = config["isolation.level"] == "read_committed"
        self._group = cluster.group(self._name)
        self._member: group.Member | None = None
        self._callbacks: dict[str, Callback] = {}
        self._positions: dict[Partition, int] = {}
        self._epochs: dict[Partition, int] = {}
        """The leader epoch in which the log reached our position, where it is known."""
        self._leaders: dict[Partition, int] = {}
        self._stopped: set[Partition] = set()
        """Partitions whose position no longer exists: they are not read until a seek."""
        self._paused: set[Partition] = set()
        self._at_end: set[Partition] = set()
        self._turn = 0
        self._nothing_at = -1.0
        self._called: list[Partition] = []

    def _something_to_read(self) -> bool:
        member = self._member
        if member is None or member.fenced or member.evicted or member.to_revoke:
            return True
        if member.to_assign is not None:
            return True
        return any(p not in self._paused and not self._is_read(p) for p in self._positions)

    def _is_read(self, partition: Partition) -> bool:
        """Return whether there is nothing to read, and the end of the partition was reported."""
        if partition in self._stopped:
            return True
        if self._leaders.get(partition) != self._cluster.leader_epoch(partition):
            return False
        return partition in self._at_end and self._cluster.stable(partition) <= self._positions[partition]

    def subscribe(self, topics: Sequence[str], **callbacks: Callback) -> None:
        self._callbacks = callbacks
        self._host.something_to_read = self._something_to_read
        if self._member is None:
            self._member = self._group.join(self._instance, self._host, topics)
        else:
            self._group.join_again(self._member)

    def consume(self, limit: int, _timeout: float) -> list[Message]:
        self._serve()
        messages: list[Message] = []
        self._turn += 1
        reading = [p for p in self._positions if p not in self._paused]
        first = self._turn % len(reading) if reading else 0
        for partition in reading[first:] + reading[:first]:
            if self._is_read(partition):
                continue
            if len(messages) < limit and not self._host.slow(partition):
                messages += self._fetched(partition, limit - len(messages))
        if messages:
            self._host.busy()
        else:
            self._nothing_at = self._cluster.clock()
        return messages

    def poll(self, timeout: float) -> Message | None:
        """Return one message; None if there was none at this time, because only the scheduler waits."""
        if self._nothing_at == self._cluster.clock():
            return None
        return next(iter(self.consume(1, timeout)), None)

    def _lost(self, partition: Partition) -> KafkaError | None:
        """Return the error of our position; checked after a seek and when the leader changes (KIP-320)."""
        leader, position = self._cluster.leader_epoch(partition), self._positions[partition]
        if self._leaders.get(partition) != leader:
            self._leaders[partition] = leader
            epoch = self._epochs.get(partition)
            if epoch is not None and self._cluster.reaches(partition, epoch) < position:
                return TRUNCATED
        return GONE if position > self._cluster.end(partition) else None

    def _fetched(self, partition: Partition, limit: int) -> list[Message]:
        lost = self._lost(partition)
        if lost is not None:
            self._stopped.add(partition)
            return [Message(partition, self._positions[partition], lost)]
        found, position = self._cluster.read(partition, self._positions[partition], limit)
        corrupt = self._cluster.unreadable(partition, self._positions[partition], position)
        if corrupt:
            found = [(offset, entry) for offset, entry in found if offset < corrupt.start]
            position = max(corrupt.start, self._positions[partition])
        if position != self._positions[partition]:
            self._positions[partition] = position
            self._epochs[partition] = self._cluster.epoch_before(partition, position)
            self._at_end.discard(partition)
        messages = [Message(partition, offset, entry) for offset, entry in found]
        if corrupt:
            messages.append(Message(partition, corrupt.start, CORRUPT))
        elif not found and partition not in self._at_end:
            self._at_end.add(partition)
            messages.append(Message(partition, position, END))
        return messages

    def _serve(self) -> None:
        """Call the callbacks that are due."""
        self._cluster.tick()
        self._group.tick()
        member = self._member
        if member is None:
            return
        if member.fenced:
            raise error(KafkaError._FATAL, "fenced: another member has this group.instance.id", fatal=True)  # noqa: SLF001
        if member.evicted:
            member = self._member = self._return(member)
        if member.to_revoke:
            self._call("on_revoke", member.to_revoke)
            self._group.revoked(member)
        if member.to_assign is not None and not member.fenced and not member.evicted:
            assigned, member.to_assign = member.to_assign, None
            member.owned |= dict.fromkeys(assigned)
            self._call("on_assign", assigned)

    def _return(self, member: group.Member) -> group.Member:
        """Join again after the session has expired: with all partitions lost, or, in haste, still claiming them."""
        if self._group.hasty():
            return self._group.join_claiming(member)
        lost, member.owned = list(member.owned), {}
        if lost:
            self._call("on_lost", lost)
        return self._group.join(member.instance, member.host, member.topics)

    def _call(self, callback: str, partitions: list[Partition]) -> None:
        self._host.busy()
        self._called = partitions
        self._callbacks[callback](self, [TopicPartition(*partition) for partition in partitions])
        self._called = []

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read these partitions; in haste a callback concerns some of them, and the others remain assigned."""
        if not self._called:
            self._positions.clear()
            self._at_end.clear()
        self._positions |= {_as_partition(partition): partition.offset for partition in partitions}

    def unassign(self) -> None:
        for partition in self._called or list(self._positions):
            self._positions.pop(partition, None)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused |= {self._assigned(partition) for partition in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused -= {self._assigned(partition) for partition in partitions}

    def seek(self, partition: TopicPartition) -> None:
        tp = self._assigned(partition)
        self._positions[tp] = partition.offset
        self._epochs.pop(tp, None)
        if partition.leader_epoch is not None and partition.leader_epoch >= 0:
            self._epochs[tp] = partition.leader_epoch
        self._leaders.pop(tp, None)
        self._stopped.discard(tp)
        self._at_end.discard(tp)

    def _assigned(self, partition: TopicPartition) -> Partition:
        tp = _as_partition(partition)
        if tp not in self._positions:
            raise error(KafkaError._STATE, f"{tp} is not assigned")  # noqa: SLF001
        return tp

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self._stable:
            self._host.reach("asking for cursors")
            if self._host.fault("OffsetFetch") is not ClientFault.NONE:
                raise _timed_out("committed")
        known = self._cluster.committed(self._name, map(_as_partition, partitions), stable=self._stable)
        none = (-1001, "")
        return [TopicPartition(p.topic, p.partition, *(known[_as_partition(p)] or none)) for p in partitions]

    def consumer_group_metadata(self) -> bytes:
        generation = self._member.generation if self._member else -1
        name = self._member.id if self._member else ""
        return b"CGMDv2:" + generation.to_bytes(4, sys.byteorder, signed=True) + f"{self._name}\0{name}".encode()

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert self._member is not None
        self._cluster.tick()
        self._group.check(self._member.id, self._member.generation)
        self._group.offsets.update({_as_partition(p): (p.offset, p.metadata or "") for p in offsets})

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        return 0, self._cluster.end(_as_partition(partition))

    def close(self) -> None:
        if self._member is not None:
            self._group.leave(self._member)


class SimulatedProducer:
    """A producer, transactional if it has a transactional.id."""

    def __init__(
        self, cluster: SimulatedCluster, host: ClientHost, config: dict[str, Any], *, logger: Any = None
    ) -> None:
        self._cluster, self._host = cluster, host
        self._name: str | None = config.get("transactional.id")
        self._logger = logger or logging.getLogger("simulated")
        self._epoch = 0
        self._open = False
        self._buffer: list[Written] = []
        self._transactions = 0

    def init_transactions(self, _timeout: float) -> None:
        assert self._name is not None
        if self._host.fault("InitProducerId") is not ClientFault.NONE:
            raise _timed_out("init_transactions")
        self._epoch = self._cluster.start_producer(self._name)
        self._host.busy()

    def begin_transaction(self) -> None:
        if self._open:
            raise error(KafkaError._STATE, "the last transaction has not ended", fatal=True)  # noqa: SLF001
        self._open = True

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, *, headers: Headers = NO_HEADERS, partition: int = -1
    ) -> None:
        self._buffer.append(Written(topic, key, value, headers))

    def flush(self, _timeout: float) -> int:
        if not self._buffer:
            return 0
        fault = self._host.fault("Produce")
        if fault is ClientFault.LOSE_REQUEST:
            return len(self._buffer)
        written, self._buffer = self._buffer, []
        if self._name is None:
            for record in written:
                self._cluster.append(self._cluster.partition_of(record.topic, record.key), record)
        else:
            self._cluster.write(self._name, self._epoch, written)
        self._host.busy()
        return len(written) if fault is ClientFault.LOSE_ANSWER else 0

    def send_offsets_to_transaction(self, offsets: Sequence[TopicPartition], metadata: bytes, _timeout: float) -> None:
        assert self._name is not None
        self._transactions += 1
        if self._transactions % 2:  # the records travel meanwhile: they arrive before the offsets, or after
            self.flush(0)
        fault = self._host.fault("TxnOffsetCommit")
        if fault is ClientFault.LOSE_REQUEST:
            raise _timed_out("send_offsets_to_transaction")
        generation = int.from_bytes(metadata[7:11], sys.byteorder, signed=True)
        name, _, member = metadata[11:].decode().partition("\0")
        cursors = {_as_partition(p): (p.offset, p.metadata or "") for p in offsets}
        self._cluster.write_offsets(self._name, self._epoch, name, (member, generation), cursors)
        self._host.busy()
        if fault is ClientFault.LOSE_ANSWER:
            raise _timed_out("send_offsets_to_transaction")

    def commit_transaction(self, _timeout: float) -> None:
        self._end(commit=True)

    def abort_transaction(self, _timeout: float) -> None:
        self._buffer.clear()
        self._end(commit=False)

    def _end(self, *, commit: bool) -> None:
        assert self._name is not None
        fault = self._host.fault("EndTxn")
        self._host.reach("ending")
        if fault is ClientFault.LOSE_REQUEST:
            raise _timed_out("the end of the transaction")
        self._cluster.end_transaction(self._name, self._epoch, commit=commit)
        self._host.busy()
        self._host.reach("ended")
        if fault is ClientFault.LOSE_ANSWER:
            raise _timed_out("the end of the transaction")
        if fault is ClientFault.LATE_COPY:
            self._logger.info("FAIL [simulated]: the connection broke with an EndTxn under way")
            self._cluster.arrive_late(self._host.lateness(), self._name, self._epoch, commit=commit)
        self._open = False

    def poll(self, _timeout: float) -> int:
        return 0

    def purge(self) -> None:
        self._buffer.clear()


class _Answer:
    """A future that has its result."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def result(self, timeout: float | None = None) -> Any:
        return self._result


class _Offset:
    def __init__(self, offset: int, leader_epoch: int) -> None:
        self.offset, self.leader_epoch = offset, leader_epoch


@cache
def _topic(topic_id: str, partitions: int) -> SimpleNamespace:
    numbers = [SimpleNamespace(id=number) for number in range(partitions)]
    return SimpleNamespace(topic_id=topic_id, partitions=numbers)


class _Metadata:
    def __init__(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id


class SimulatedAdmin:
    """The part of an admin client that the adapter uses."""

    def __init__(self, cluster: SimulatedCluster, _config: dict[str, Any], *, logger: Any = None) -> None:
        self._cluster = cluster

    def list_offsets(
        self, asked: dict[TopicPartition, Any], *, isolation_level: IsolationLevel, request_timeout: float
    ) -> dict[TopicPartition, _Answer]:
        end = self._cluster.stable if isolation_level is IsolationLevel.READ_COMMITTED else self._cluster.end
        return {
            partition: _Answer(_Offset(0 if which is EARLIEST else end(tp), self._cluster.leader_epoch(tp)))
            for partition, which in asked.items()
            for tp in (_as_partition(partition),)
        }

    def list_topics(self, *, timeout: float) -> _Metadata:
        return _Metadata(self._cluster.id)

    def describe_configs(self, _resources: Any, *, request_timeout: float) -> dict[Any, Any]:
        return {}

    def describe_topics(self, topics: Any, *, request_timeout: float) -> dict[str, _Answer]:
        for name in topics.topic_names:
            if name not in self._cluster.topics():
                raise error(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{name} does not exist")
        counts = self._cluster.topics()
        ids = self._cluster.topic_id
        return {name: _Answer(_topic(ids(name), counts[name])) for name in topics.topic_names}


def _as_partition(partition: TopicPartition) -> Partition:
    return Partition(partition.topic, partition.partition)


def _timed_out(what: str) -> Exception:
    return error(KafkaError._TIMED_OUT, f"{what} timed out", retriable=True)  # noqa: SLF001
