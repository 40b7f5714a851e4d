"""`saga track --rebuild --verify` compares with the log; a rebuild gives nothing up that the log no longer has."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.log import Output, Partition
from saga.check.facts import Address
from saga.kafka import census
from saga.kafka.reader import Reader
from schemas import Item, OrderCreated
from tests.support.models.saga_model import CANCELLED, CHARGED, CONFIRMED, CREATED, PARTITIONS, RESERVED
from tests.support.models.tracked_log import TOPICS, TrackedLog
from tests.support.models.written_saga import new_codec
from tests.support.saga.processes import PATIENCE, environment

KILLS = 12
CODEC = new_codec()


@pytest.fixture
def ground(topics: str, tmp_path: Path) -> TrackedLog:
    return TrackedLog(topics, tmp_path)


@pytest.fixture
def file(ground: TrackedLog) -> Path:
    return Path(ground.environment["SAGA_TRACKER"])


def placed(order_id: str) -> Output:
    """Return an order.created as anybody may write it."""
    event = OrderCreated(order_id, "anna", 100, "USD", (Item("cd-1", 1),), "")
    return Output(CREATED, order_id.encode(), CODEC.encode(event), [("ce_source", b"order-service")])


def known(file: Path) -> set[str]:
    """Return the addresses of all events in a tracker's database."""
    with closing(sqlite3.connect(file)) as database:
        return {"/".join(map(str, row)) for row in database.execute("select topic, partition, offset from events")}


def on_the_log(ground: TrackedLog) -> set[str]:
    """Return the addresses of all committed records, as another reader finds them."""
    records = (record for topic in TOPICS for record in ground.admin.read(topic))
    return {f"{record.topic()}/{record.partition()}/{record.offset()}" for record in records}


def expire(ground: TrackedLog, at: Address) -> None:
    """Have the broker delete a record and everything before it in its partition."""
    admin = AdminClient({"bootstrap.servers": ground.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    cut = TopicPartition(at.topic, at.partition, at.offset + 1)
    admin.delete_records([cut])[cut].result(PATIENCE)


def test_partitions_that_had_not_been_read_are_read_by_a_rebuild_and_are_no_difference(ground, file):
    """One was added since. Its records are counted as not read, and are there afterwards."""
    ground.track()
    ground.admin.grow([CREATED], PARTITIONS + 1)
    ground.admin.produce_many([placed(f"new-{n}") for n in range(10)], PARTITIONS)
    verified = ground.track("--rebuild", "--verify")
    assert verified.exit_code == 0, verified.output
    assert f"verified: {len(ground.lies)} records" in verified.stdout
    assert "10 more had not been read" in verified.stdout
    assert known(file) == on_the_log(ground)
    assert ground.ask("show", "new-3")["order"]["status"] == "pending"


def test_a_tracker_that_is_killed_again_and_again_has_what_the_log_has(ground, file):
    """At any moment, while orders flow, aborted ones among them; then it is verified, and verified once more."""
    drawn = random.Random(14)
    track = [sys.executable, "-m", "saga", "track"]
    with flowing(ground):
        for number in range(KILLS):
            before = progress(file)
            with subprocess.Popen(track, env=environment(**ground.environment), stderr=subprocess.DEVNULL) as tracker:
                try:
                    if number % 2:
                        until(lambda before=before: progress(file) != before)
                        time.sleep(drawn.uniform(0, 0.05))
                    else:
                        time.sleep(drawn.uniform(0.3, 2.0))
                finally:
                    tracker.kill()
        first = ground.track("--rebuild", "--verify")
        assert first.exit_code == 0, first.output
    second = ground.track("--rebuild", "--verify")
    assert second.exit_code == 0, second.output
    assert known(file) == on_the_log(ground)


@contextmanager
def flowing(ground: TrackedLog) -> Iterator[None]:
    """Have orders placed all the time, some in transactions that are aborted."""
    stop = threading.Event()

    def place() -> None:
        number = 0
        while not stop.wait(0.02):
            number += 1
            ground.publisher.publish(placed(f"one-{number}"), number % PARTITIONS, commit=number % 3 > 0)
            ground.admin.produce_many([placed(f"many-{number}-{n}") for n in range(20)])

    thread = threading.Thread(target=place)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def progress(file: Path) -> list[Any]:
    """Return how far a tracker has come; nothing where there is no database yet."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return database.execute("select * from progress order by topic, partition").fetchall()
    except sqlite3.OperationalError:
        return []


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.001)


@pytest.fixture
def skipping(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Return what plants a bug: from then on the tracker's reader drops the records of a partition."""
    receive = Reader.receive

    def plant(topic: str, partition: int) -> None:
        def some(self: Reader, *arguments: Any) -> list[Any]:
            messages = receive(self, *arguments)
            return [m for m in messages if (m.topic(), m.partition()) != (topic, partition)]

        monkeypatch.setattr(Reader, "receive", some)

    return plant


def test_a_reader_that_skips_a_partition_is_found_by_a_verification(ground, file, skipping):
    """Both databases have the same gap, and the same digest: the log has what neither of them has."""
    skipping(CHARGED, 0)
    ground.track()
    before = known(file)
    refused = ground.track("--rebuild", "--verify")
    missing = sorted(on_the_log(ground) - before)
    assert missing
    assert refused.exit_code == 1
    assert f"{missing[0]}: it is in the log, but not in the database" in refused.stderr
    assert known(file) == before


@pytest.fixture
def unassigned(monkeypatch: pytest.MonkeyPatch) -> Partition:
    """Plant a bug: readers do not ask for this partition, and take it for read. Return it."""
    left_out, enter = Partition(CHARGED, 0), Reader.__enter__

    def some(self: Reader) -> Reader:
        enter(self)
        if left_out in self._unfinished:
            self._consumer.incremental_unassign([TopicPartition(*left_out)])
            self._unfinished.discard(left_out)
            self._positions.pop(left_out, None)
        return self

    monkeypatch.setattr(Reader, "__enter__", some)
    monkeypatch.setattr(census, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(census, "STUCK_SECONDS", 1.0)
    return left_out


def test_a_partition_that_is_not_read_is_named_by_who_follows(ground, unassigned):
    """`saga track` and `saga tail` end with code 1; `saga flow --live` and `saga stats` say what is behind."""
    said = f"{unassigned} ends at"
    tracked = ground.track()
    assert (tracked.exit_code, said in tracked.stderr) == (1, True)
    tail = ground.saga("tail", CHARGED, "--no-follow")
    assert (tail.exit_code, said in tail.stderr) == (1, True)
    live = ground.saga("flow", "--live")
    assert (live.exit_code, f"{unassigned} (" in live.stderr) == (0, True)
    told = ground.saga("flow", "--live", "--format", "json")
    assert str(unassigned) in json.loads(told.stdout)["behind_partitions"]
    assert ground.ask("stats")["behind"] > 0


def test_a_rebuild_that_would_know_less_replaces_nothing(ground, file, skipping):
    """Also without --verify, and it says of which partition records were not read."""
    ground.track()
    skipping(CHARGED, 0)
    refused = ground.track("--rebuild")
    assert refused.exit_code == 1
    assert f"has events of {CHARGED}/0" in refused.stderr
    assert "were not read from the log, and have not expired" in refused.stderr
    assert known(file) == on_the_log(ground)


@pytest.mark.parametrize("options", [["--rebuild"], ["--rebuild", "--verify"]])
def test_what_has_expired_on_the_log_is_kept_by_a_rebuild(ground, file, options):
    """An order of which the log has nothing but the end is told from its beginning."""
    ground.track()
    story = ground.of_order(CREATED, CHARGED, RESERVED, CONFIRMED)
    before = ground.ask("show", story[0].order_id)
    everything = known(file)
    for fact in story[:2]:
        expire(ground, ground.lies[fact.address])
    done = ground.track(*options)
    assert done.exit_code == 0, done.output
    assert known(file) == everything > on_the_log(ground)
    assert ground.ask("show", story[0].order_id) == before
    assert ground.track("--rebuild", "--verify").exit_code == 0
    assert known(file) == everything


def test_a_row_that_was_changed_is_found(ground, file):
    """An event, a row that does not follow from the events, an event that is not on the log, one that is missing."""
    ground.track()
    story = ground.of_order(CREATED, CHARGED, RESERVED, CONFIRMED)
    at = ground.lies[story[1].address]
    place = f"topic = '{at.topic}' and partition = {at.partition} and offset = {at.offset}"
    pristine = file.read_bytes()
    for change, said in [
        (f"update events set fields = '{{}}' where {place}", f"{at}: the database differs from the log"),
        (f"delete from events where {place}", f"{at}: it is in the log, but not in the database"),
        (
            f"update events set offset = offset + 1 where {place}",
            f"{at.offset + 1}: it is in the database, but not in the log",
        ),
        (f"update orders set total = 1 where order_id = '{story[0].order_id}'", f"order {story[0].order_id}: its row"),
    ]:
        file.write_bytes(pristine)
        with closing(sqlite3.connect(file)) as database, database:
            assert database.execute(change).rowcount == 1
        changed = known(file)
        refused = ground.track("--rebuild", "--verify")
        assert refused.exit_code == 1, change
        assert said in refused.stderr
        assert known(file) == changed


def test_a_database_of_a_topic_that_was_made_again_is_kept_when_it_is_replaced(ground, file):
    """Its events are nowhere else any more. A verification finds the difference, and replaces nothing."""
    ground.track()
    before = known(file)
    ground.admin.remove(TOPICS)
    ground.admin.create(TOPICS, PARTITIONS)
    ground.admin.produce_many([placed("order-new")], 0)
    assert ground.track("--rebuild", "--verify").exit_code == 1
    assert known(file) == before
    done = ground.track("--rebuild")
    assert done.exit_code == 0, done.output
    assert known(file) == {f"{CREATED}/0/0"}
    [kept] = file.parent.glob("tracker.db.kept-*")
    assert str(kept) in done.stderr
    assert known(kept) == before
    assert CANCELLED in {address.partition("/")[0] for address in before}
