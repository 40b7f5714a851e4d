"""The laws of the log port, on a real Kafka, on the embedded broker, and on the simulator's model of one."""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from eventbus.kafka.config import Clients, Connection
from eventbus.kafka.embedded import EmbeddedBroker
from eventbus.kafka.log import KafkaLog, Signal
from eventbus.log import (
    CommitOutcomeUnknown,
    CommittedOffset,
    FetchedRecords,
    LogUnavailable,
    Output,
    Partition,
    TopicMissing,
)
from eventbus.simulation.clients import ClientHost, clients
from eventbus.simulation.cluster import SimulatedCluster, Written
from tests.chaos.unreadable import write_unreadable
from tests.support.brokers.admin import Admin
from tests.support.saga.processes import PATIENCE

QUICK_AND_PATIENT = {"fetch.wait.max.ms": "10", "transaction.timeout.ms": "60000"}
"""What is done in the middle of a transaction takes its time: the broker must not end it meanwhile."""


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.mine: set[Partition] = set()
        self.stopped: list[tuple[Partition, int]] = []

    def assigned(self, partitions: Iterable[Partition]) -> None:
        self.mine |= set(partitions)

    def revoked(self, partitions: Iterable[Partition]) -> None:
        self.mine -= set(partitions)

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        self.stopped.append((partition, offset))

    def lost(self, partitions: Iterable[Partition]) -> None:
        self.mine -= set(partitions)


class Ground:
    """A log on a broker, with one input topic of two partitions and one output topic."""

    def __init__(
        self, bootstrap: str, source: str, target: str, *, exactly_once: bool, made_by: Clients | None = None
    ) -> None:
        self.bootstrap, self.source, self.target, self.exactly_once = bootstrap, source, target, exactly_once
        self.made_by = made_by or Clients()
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self.listener = Listener()
        self.log = self.another()

    def another(self, instance: str = "one") -> KafkaLog:
        logger = logging.getLogger(f"rdkafka.{uuid.uuid4().hex}")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        connection = Connection(
            self.bootstrap, self.group, instance, self.exactly_once, QUICK_AND_PATIENT, logger, self.made_by
        )
        return KafkaLog(connection, warn=lambda _what: None)

    def join(self) -> list[Partition]:
        self.log.subscribe([self.source], self.listener)
        self.until(lambda: len(self.listener.mine) == 2)
        self.until(self.has_producer)
        return sorted(self.listener.mine)

    def has_producer(self) -> bool:
        """Whether the brokers let it publish: one that has just started may still load its transactions."""
        try:
            self.log.committed([])
        except LogUnavailable:
            return False
        return True

    def write(self, partition: int, *values: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for value in values:
            producer.produce(self.source, value, b"key", partition=partition, headers=[("h", b"1")])
        assert producer.flush(PATIENCE) == 0

    def corrupt(self, partition: int) -> range:
        return write_unreadable({"bootstrap.servers": self.bootstrap}, Partition(self.source, partition))

    def grow(self, partitions: int) -> None:
        Admin(self.bootstrap).grow([self.source], partitions)

    def until(self, so: Callable[[], bool]) -> list[FetchedRecords]:
        runs: list[FetchedRecords] = []
        deadline = time.monotonic() + PATIENCE
        while not so() and time.monotonic() < deadline:
            runs += self.log.poll(100, 0.05)
        assert so()
        return runs

    def read(self, count: int) -> list[FetchedRecords]:
        runs: list[FetchedRecords] = []
        deadline = time.monotonic() + PATIENCE
        while sum(len(run.records) for run in runs) < count and time.monotonic() < deadline:
            runs += self.log.poll(100, 0.05)
        return runs

    def seek(self, partition: Partition, offset: int) -> None:
        self.until(lambda: self.log.seek(partition, offset))


class SimulatedGround(Ground):
    """The same on the simulator's model of a cluster, in real time."""

    def __init__(self) -> None:
        self.cluster = SimulatedCluster(time.monotonic)
        self.cluster.create_topics(["source", "target"], 2)
        super().__init__(
            "simulated", "source", "target", exactly_once=True, made_by=clients(self.cluster, ClientHost())
        )

    def write(self, partition: int, *values: bytes) -> None:
        for value in values:
            self.cluster.append(Partition(self.source, partition), Written(self.source, b"key", value, [("h", b"1")]))

    def corrupt(self, partition: int) -> range:
        return self.cluster.corrupt(Partition(self.source, partition), 3)

    def grow(self, partitions: int) -> None:
        self.cluster.grow(self.source, partitions)


def ground_of(kind: str, request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Return a log on this kind of broker, closed in the end."""
    if kind == "simulated":
        simulated = SimulatedGround()
        yield simulated
        simulated.log.close()
    elif kind == "embedded":
        with EmbeddedBroker({"source": 2, "target": 2}) as embedded:
            ground = Ground(embedded.bootstrap_servers, "source", "target", exactly_once=False)
            yield ground
            ground.log.close()
    else:
        source, target = request.getfixturevalue("make_topics")("source", "target", partitions=2)
        broker = request.getfixturevalue("broker")
        ground = Ground(broker.bootstrap_servers, source, target, exactly_once=True)
        yield ground
        ground.log.close()


@pytest.fixture(params=["kafka", "embedded", "simulated"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A log on each kind of broker."""
    yield from ground_of(request.param, request)


@pytest.fixture(params=["kafka", "simulated"])
def transactional(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Where outputs and cursors are written both or neither; nothing about delivery is claimed of the embedded one."""
    yield from ground_of(request.param, request)


def test_what_is_assigned_is_not_read_before_it_is_sought(ground: Ground) -> None:
    """Assigned partitions are paused: recovery says from where they are read."""
    ground.write(0, b"a", b"b")
    partitions = ground.join()
    assert not [run for _ in range(10) for run in ground.log.poll(100, 0.05)]
    ground.seek(partitions[0], 0)
    assert [record.value for run in ground.read(2) for record in run.records] == [b"a", b"b"]


def test_runs_connect_and_begin_where_was_sought(ground: Ground) -> None:
    """Each run starts where the one before it ended; records come with key, value, headers and offset."""
    ground.write(0, b"a", b"b", b"c")
    partitions = ground.join()
    ground.seek(partitions[0], 1)
    runs = ground.read(2)
    ground.write(0, b"d")
    runs += ground.read(1)
    assert runs[0].start == 1
    assert all(later.start == earlier.end for earlier, later in itertools.pairwise(runs))
    records = [record for run in runs for record in run.records]
    assert [(record.offset, record.value) for record in records] == [(1, b"b"), (2, b"c"), (3, b"d")]
    assert {(record.key, record.headers[0]) for record in records} == {(b"key", ("h", b"1"))}


def test_a_paused_partition_is_silent_until_it_is_sought(ground: Ground) -> None:
    """A doubt pauses; what comes meanwhile is not lost but read after the next seek."""
    partitions = ground.join()
    ground.seek(partitions[0], 0)
    ground.log.pause([partitions[0]])
    ground.write(0, b"a")
    assert not [run for _ in range(10) for run in ground.log.poll(100, 0.05) if run.records]
    ground.seek(partitions[0], 0)
    assert [record.value for run in ground.read(1) for record in run.records] == [b"a"]


def test_a_signal_ends_a_waiting_poll_of_who_reads_its_partition(ground: Ground) -> None:
    """Only of that one; and a poll without a signal lasts as long as it was told to."""
    partitions = ground.join()
    asked: list[float] = []

    def seen() -> bool:
        asked.append(time.monotonic())
        return len(asked) == 5

    ground.log.signal = Signal(partitions[0], seen)
    ground.log.poll(1, 0.1)
    assert not asked, "no partition is read yet"
    ground.seek(partitions[0], 0)
    ground.until(lambda: len(asked) > 0)
    del asked[:]
    begun = time.monotonic()
    while len(asked) < 5:
        ground.log.poll(1, PATIENCE)  # the end of the partition is an event, too
    assert time.monotonic() - begun < PATIENCE / 2
    begun = time.monotonic()
    ground.log.poll(1, 0.2)
    assert time.monotonic() - begun >= 0.2
    assert len(asked) > 5


def test_keep_alive_loses_nothing(ground: Ground) -> None:
    """Records that arrive during long remote calls are read afterwards, in connected runs."""
    partitions = ground.join()
    ground.seek(partitions[0], 0)
    ground.write(0, b"a", b"b")
    for _ in range(5):
        ground.log.keep_alive()
    assert [record.value for run in ground.read(2) for record in run.records] == [b"a", b"b"]


def test_published_cursors_come_back_with_their_positions(ground: Ground) -> None:
    """The committed offset carries how far the outbox is published; without a commit there is none."""
    partitions = ground.join()
    assert ground.log.committed(partitions) == dict.fromkeys(partitions)
    ground.write(0, b"a")
    output = Output(ground.target, b"key", b"value", [("h", b"1")])
    ground.log.publish([output], {partitions[0]: CommittedOffset(1, 7)}, lambda: True)
    assert ground.log.committed(partitions) == {partitions[0]: CommittedOffset(1, 7), partitions[1]: None}
    ends = ground.log.offset_range([Partition(ground.target, 0), Partition(ground.target, 1)])
    assert sum(each.end for each in ends.values()) >= 1


def test_who_is_overtaken_publishes_nothing(ground: Ground) -> None:
    """Asked at the last moment, a no means that neither outputs nor cursors are written, and the log goes on."""
    partitions = ground.join()
    ground.write(0, b"a")
    with pytest.raises(CommitOutcomeUnknown):
        ground.log.publish([], {partitions[0]: CommittedOffset(1, 1)}, lambda: False)
    assert ground.log.committed(partitions)[partitions[0]] is None
    ground.log.publish([], {partitions[0]: CommittedOffset(1, 2)}, lambda: True)
    assert ground.log.committed(partitions)[partitions[0]] == CommittedOffset(1, 2)


def test_who_has_not_joined_publishes_nothing(ground: Ground) -> None:
    """A broker takes group metadata without a generation for that of no member, and lets it pass: never send it."""
    with pytest.raises(CommitOutcomeUnknown, match="no longer a member"):
        ground.log.publish([], {Partition(ground.source, 0): CommittedOffset(1, 1)}, lambda: True)


def test_bounds_and_identity_tell_what_is_there(ground: Ground) -> None:
    """First and next offset of each partition; the cluster and this incarnation of the topic."""
    ground.write(1, b"a", b"b")
    bounds = ground.log.offset_range([Partition(ground.source, 0), Partition(ground.source, 1)])
    assert [each[:2] for each in bounds.values()] == [(0, 0), (0, 2)]
    identity = ground.log.identities([ground.source])[ground.source]
    assert identity.cluster
    assert identity.topic
    assert ground.log.identities([ground.target])[ground.target] != identity


def test_a_topic_that_is_not_there_is_named(ground: Ground) -> None:
    """The message says which, and which command makes it."""
    with pytest.raises(TopicMissing, match="nowhere does not exist: `saga topics create`"):
        ground.log.identities(["nowhere"])
    with pytest.raises(TopicMissing, match="nowhere does not exist: `saga topics create`"):
        ground.log.partitions("nowhere")


KEYS = [f"{name}{'x' * length}" for length in range(30) for name in ("", "order-", "Größe ", "注文", "\U0001f4bf")][1:]
"""Of every length, ASCII and not; none is empty."""


def test_what_is_published_lies_where_the_log_places_its_key(ground: Ground) -> None:
    """Else a good record would be taken for a misplaced one (--keys-placed-over)."""
    for partition in (partitions := ground.join()):
        ground.seek(partition, 0)
    outputs = [Output(ground.source, key.encode(), b"value", [("h", b"1")]) for key in KEYS]
    ground.log.publish(outputs, {partitions[0]: CommittedOffset(0, 1)}, lambda: True)
    records = [record for run in ground.read(len(KEYS)) for record in run.records]
    assert {record.key for record in records} == {key.encode() for key in KEYS}
    places = [ground.log.place(record.key or b"", ground.log.partitions(ground.source)) for record in records]
    assert [record.partition.number for record in records] == places
    assert set(places) == {0, 1}


OUTPUT = [("h", b"1")]


def test_what_was_aborted_is_never_read(transactional: Ground) -> None:
    """Outputs of an aborted transaction take offsets, and nobody sees them; what follows is read."""
    partitions = transactional.join()
    lost = Output(transactional.source, b"key", b"aborted", OUTPUT)
    with pytest.raises(CommitOutcomeUnknown):
        transactional.log.publish([lost], {partitions[0]: CommittedOffset(0, 1)}, lambda: False)
    transactional.log.publish([lost._replace(value=b"kept")], {partitions[0]: CommittedOffset(0, 2)}, lambda: True)
    for partition in partitions:
        transactional.seek(partition, 0)
    runs = transactional.read(1)
    (record,) = [record for run in runs for record in run.records]
    assert record.value == b"kept"
    assert record.offset >= 1, "the aborted one took an offset"


def test_nothing_is_read_past_an_undecided_transaction(transactional: Ground) -> None:
    """The last stable offset: records behind the first undecided one wait, also those without a transaction."""
    partitions = transactional.join()
    for partition in partitions:
        transactional.seek(partition, 0)
    seen: list[bytes | None] = []

    def look() -> bool:
        for partition in (0, 1):
            transactional.write(partition, b"plain")
        seen.extend(record.value for run in transactional.read(1) for record in run.records)
        for _ in range(10):
            seen.extend(r.value for run in transactional.log.poll(100, 0.05) for r in run.records)
        return True

    output = Output(transactional.source, b"key", b"undecided", OUTPUT)
    transactional.log.publish([output], {partitions[0]: CommittedOffset(0, 1)}, look)
    assert seen == [b"plain"], "of the partition without the transaction"
    after = [record.value for run in transactional.read(2) for record in run.records]
    assert after == [b"undecided", b"plain"]


def test_what_cannot_be_decompressed_is_told_and_never_passed(transactional: Ground) -> None:
    """At its first offset, from wherever in it the reading begins; what lies before and behind it is read."""
    transactional.write(0, b"before")
    batch = transactional.corrupt(0)
    transactional.write(0, b"behind")
    assert batch.start == 1
    partition, _ = transactional.join()
    stopped = transactional.listener.stopped
    for times, offset in enumerate((0, batch.start, batch[-1])):
        transactional.seek(partition, offset)
        runs = transactional.until(lambda times=times: len(stopped) == times + 1)  # type: ignore[misc]
        runs += [run for _ in range(10) for run in transactional.log.poll(100, 0.05)]
        assert [record.value for run in runs for record in run.records] == ([b"before"] if offset == 0 else [])
        assert {run.end for run in runs if run.records} <= {batch.start}
    assert stopped == [(partition, batch.start)] * 3
    transactional.seek(partition, batch.stop)
    assert [record.value for run in transactional.read(1) for record in run.records] == [b"behind"]


def test_partitions_that_were_added_are_counted_at_once(transactional: Ground) -> None:
    """By who has known an older number for a while, too: nothing is refused by a stale one."""
    transactional.join()
    assert transactional.log.partitions(transactional.source) == 2
    transactional.grow(5)
    assert transactional.log.partitions(transactional.source) == 5
    assert transactional.log.partitions(transactional.target) == 2


def test_cursors_wait_for_the_transaction_that_moves_them(transactional: Ground) -> None:
    """Who asks for the cursors while they are pending gets no answer, instead of an old one."""
    partitions = transactional.join()
    other = transactional.another("two")
    answers: list[object] = []

    def ask() -> bool:
        try:
            answers.append(other.committed(partitions))
        except LogUnavailable:
            answers.append("no answer")
        return True

    output = Output(transactional.target, b"key", b"value", OUTPUT)
    transactional.log.publish([output], {partitions[0]: CommittedOffset(0, 3)}, ask)
    assert answers == ["no answer"]
    assert other.committed(partitions)[partitions[0]] == CommittedOffset(0, 3)
    other.close()


def test_a_newer_producer_of_the_same_name_fences_the_older(transactional: Ground) -> None:
    """The older one's transaction is aborted when the newer one starts; it starts anew itself and goes on."""
    partitions = transactional.join()
    newer: list[KafkaLog] = []

    def start_newer() -> bool:
        newer.append(transactional.another())
        newer[0].committed([])
        return True

    output = Output(transactional.target, b"key", b"value", OUTPUT)
    with pytest.raises(CommitOutcomeUnknown):
        transactional.log.publish([output], {partitions[0]: CommittedOffset(0, 1)}, start_newer)
    assert transactional.log.committed(partitions)[partitions[0]] is None
    transactional.log.publish([output], {partitions[0]: CommittedOffset(0, 2)}, lambda: True)
    assert transactional.log.committed(partitions)[partitions[0]] == CommittedOffset(0, 2)
    newer[0].close()


def test_a_partition_is_revoked_before_somebody_else_has_it(transactional: Ground) -> None:
    """Cooperative rebalancing: a second member gets its share only after the first has let go of it."""
    transactional.join()
    second, other = Listener(), transactional.another("two")
    other.subscribe([transactional.source], second)
    deadline = time.monotonic() + PATIENCE
    while len(second.mine) != 1 and time.monotonic() < deadline:
        transactional.log.poll(1, 0.02)
        other.poll(1, 0.02)
        assert not transactional.listener.mine & second.mine, "never two owners"
    assert len(transactional.listener.mine) == len(second.mine) == 1
    other.close()


class AssignedInClose(Consumer):
    """Notes whether an assignment is answered inside close, where librdkafka now and then never returns."""

    closing = noted = False

    def close(self) -> None:
        self.closing = True
        super().close()

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.noted |= self.closing
        super().assign(partitions)


@pytest.mark.parametrize("ground", ["kafka"], indirect=True)
def test_an_assignment_that_waits_is_answered_before_close(ground: Ground) -> None:
    """As of a worker that refuses its database and polls no more."""
    consumers: list[AssignedInClose] = []

    def watched(*args: object, **keywords: object) -> AssignedInClose:
        consumers.append(AssignedInClose(*args, **keywords))
        return consumers[-1]

    ground.made_by = Clients(consumer=watched)
    log = ground.another("two")
    log.subscribe([ground.source], ground.listener)
    deadline = time.monotonic() + PATIENCE
    while not Admin(ground.bootstrap).shares(ground.group) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # the assignment is on its way
    log.close()
    assert [each.noted for each in consumers] == [False]
