"""A database that is older than the log is refused by every worker, whatever became of the group's offsets."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.kafka.witness import decode
from eventbus.log import PROGRESS, CommittedOffset, Partition, TopicMissing, UnsafeToContinue
from eventbus.store import quarantine
from eventbus.store.age import DatabaseTooOld
from eventbus.store.quarantine import Quarantined
from tests.support.brokers.kafka_node import Broker, OwnBroker
from tests.support.databases.copies import backed_up, restore
from tests.support.engines import Crash, Playground, Worker, playground_of

SOON_GONE = {"session_timeout_ms": "6000"}
"""A killed worker's group is empty after so long, and only then do its offsets get lost."""
SELF = "localhost:9095"
"""Where the broker in the container hears itself."""
Lose = Callable[[Playground, Broker], None]


def delete_the_group(playground: Playground, broker: Broker) -> None:
    playground.admin.remove([playground.group])


def reset_the_offsets(playground: Playground, broker: Broker) -> None:
    """With Kafka's own command where the broker has it; else by the request that the command makes."""
    if hasattr(broker, "get_wrapped_container"):
        tool = ["/opt/kafka/bin/kafka-consumer-groups.sh", "--bootstrap-server", SELF, "--group", playground.group]
        done = broker.get_wrapped_container().exec_run(
            [*tool, "--all-topics", "--reset-offsets", "--to-earliest", "--execute"]
        )
        assert done.exit_code == 0, done.output
    else:
        admin = AdminClient({"bootstrap.servers": playground.bootstrap})
        places = [TopicPartition(topic, number, 0) for topic in ("ping", "pang") for number in (0, 1)]
        request = [ConsumerGroupTopicPartitions(playground.group, places)]
        admin.alter_consumer_group_offsets(request)[playground.group].result()
    assert any(cursor.outbox_seq is None for cursor in cursors(playground).values())


LOSSES = pytest.mark.parametrize("lose", [delete_the_group, reset_the_offsets])


def cursors(playground: Playground) -> dict[Partition, CommittedOffset]:
    return playground.looker().group_offsets(["ping", "pang"], [])


def empty_group(playground: Playground) -> None:
    deadline = time.monotonic() + 60
    while playground.admin.members(playground.group):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def worked(playground: Playground, count: int, *, killed: bool) -> None:
    """Let a worker handle so many in all, and end: by itself, or after it published and before its outbox is empty."""
    worker = playground.worker(**SOON_GONE)
    playground.turn_until(lambda: worker.ready() == 4)
    before = playground.tallied()
    playground.send(range(count - before - 5 if killed else count - before))
    if killed:
        playground.turn_until(lambda: playground.tallied() >= count - 5)
        worker.crash_at("published")
        playground.send(range(5))
        with pytest.raises(Crash):
            playground.turn_until(lambda: False)
        assert playground.sql("select position from outbox"), "published, and not yet deleted"
        playground.abandon(worker)
        worker.log._consumer.close()  # a static member: it does not leave, its heartbeats end
    else:
        playground.settle(count)
        worker.engine.close()
        playground.workers.clear()


def refusal(playground: Playground, kind: type[UnsafeToContinue] = DatabaseTooOld) -> str:
    playground.worker(**SOON_GONE)
    with pytest.raises(kind) as refused:
        playground.turn_until(lambda: False)
    return str(refused.value)


@LOSSES
@pytest.mark.parametrize("killed", [False, True])
def test_lost_cursors_repeat_nothing(playground: Playground, broker: Broker, lose: Lose, killed: bool) -> None:
    """What was published before is not published again: the topic of progress knows it."""
    worked(playground, 40, killed=killed)
    empty_group(playground)
    lose(playground, broker)
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    playground.send(range(10))
    playground.settle(50)
    playground.assert_exactly_once(50)


@LOSSES
@pytest.mark.parametrize("killed", [False, True])
def test_a_restored_database_is_refused_although_the_cursors_are_lost(
    playground: Playground, broker: Broker, lose: Lose, killed: bool
) -> None:
    """By every worker, and it stays so until somebody releases it, on record."""
    worked(playground, 20, killed=False)
    copy = backed_up(playground)
    worked(playground, 60, killed=killed)
    answers = len(playground.pongs())
    empty_group(playground)
    restore(playground, copy)
    lose(playground, broker)
    assert "the progress topic" in refusal(playground)
    assert "in quarantine" in refusal(playground, Quarantined)
    assert len(playground.pongs()) == answers
    assert playground.tallied() == 20


def test_cursors_that_expired_repeat_nothing(make_broker: Callable[..., OwnBroker], tmp_path: object) -> None:
    """A group that rests longer than offsets.retention.minutes has no offsets any more; also with an old database."""
    expiry = {"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "1000"}
    broker = make_broker(**expiry)
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        worked(playground, 20, killed=False)
        copy = backed_up(playground)
        worked(playground, 40, killed=True)
        answers = len(playground.pongs())
        newest = backed_up(playground)
        restore(playground, copy)
        deadline = time.monotonic() + 150
        while cursors(playground):
            assert time.monotonic() < deadline, "the offsets did not expire"
            time.sleep(1)
        assert "the progress topic" in refusal(playground)
        assert len(playground.pongs()) == answers
        playground.abandon(playground.workers[0])
        restore(playground, newest)
        playground.worker()
        playground.send(range(10))
        playground.settle(50)
        playground.assert_exactly_once(50)


def test_an_empty_database_is_refused_although_the_cursors_are_lost(sqlite_playground: Playground) -> None:
    """The topic of progress knows of partitions that this database has never seen."""
    worked(sqlite_playground, 20, killed=False)
    empty_group(sqlite_playground)
    sqlite_playground.admin.remove([sqlite_playground.group])
    sqlite_playground.sql("delete from checkpoint")
    assert "no checkpoint" in refusal(sqlite_playground)


def only(worker: Worker) -> set[Partition]:
    return set(worker.engine._assignment.consumed())


def two_workers(playground: Playground) -> tuple[Worker, Worker]:
    first, second = playground.worker("one", **SOON_GONE), playground.worker("two", **SOON_GONE)
    playground.turn_until(lambda: len(only(first)) == len(only(second)) == 2)
    return first, second


def stops(worker: Worker, kind: type[UnsafeToContinue] = UnsafeToContinue) -> str:
    """Turn one worker until it refuses, and return why."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            worker.engine.run_once()
        except kind as refused:
            return str(refused)
    raise TimeoutError("it went on")


def test_who_owns_only_quiet_partitions_refuses_too(playground: Playground) -> None:
    """Age is a fact about the whole database: other workers' partitions are looked at, too."""
    first, second = two_workers(playground)
    copy = backed_up(playground)
    busy = next(iter(only(first)))
    playground.send(range(30), topic=busy.topic, partition=busy.number)
    playground.settle(30)
    for worker in (first, second):
        worker.engine.close()
        playground.abandon(worker)
    restore(playground, copy)
    for each in (second, first):  # names, static members: each gets the partitions that it had
        name = "two" if each is second else "one"
        started = playground.worker(name, **SOON_GONE)
        why = stops(started)
        assert "older than the log" in why or "quarantine" in why
        playground.abandon(started)
    assert playground.tallied() == 0
    assert len(playground.pongs()) == 30


def test_a_database_restored_under_running_workers_stops_them_all(playground: Playground) -> None:
    """Also the one whose own partitions did not move since the copy was made."""
    first, second = two_workers(playground)
    copy = backed_up(playground)
    busy = next(iter(only(first)))
    playground.send(range(30), topic=busy.topic, partition=busy.number)
    playground.settle(30)
    restore(playground, copy)
    quiet = next(iter(only(second)))
    why = stops(second)
    assert "older than the log" in why
    playground.send(range(5), topic=quiet.topic, partition=quiet.number)
    assert "in quarantine" in stops(first, Quarantined)
    assert len(playground.pongs()) == 30
    [mark] = playground.sql("select instance, released_at_ms from quarantine")
    assert mark == ("two", None)


@pytest.mark.parametrize("when", ["idle", "busy", "offsets sent", "without partitions"])
def test_a_mark_stops_a_running_worker(playground: Playground, when: str) -> None:
    """At its next look, at its next batch, before its next commit; nothing of it is published after the mark."""
    workers = [playground.worker(name) for name in ("one", "two", "three", "four", "five")]
    worker = workers[0]
    playground.turn_until(lambda: sum(each.ready() for each in workers) == 4)
    if when == "without partitions":
        worker = next(each for each in workers if not each.owns())

    def mark() -> None:
        database = playground.database()
        with database.transaction() as tx:
            quarantine.impose(tx, 1, "another", "it is too old")
        database.close()

    if when in ("busy", "offsets sent"):
        worker = next(each for each in workers if any(p.topic == "ping" for p in only(each)))
        place = next(p for p in only(worker) if p.topic == "ping")
        playground.send(range(5), partition=place.number)
    if when == "offsets sent":
        worker.at("offsets sent", mark)
    else:
        mark()
    assert "it is too old" in stops(worker, Quarantined)
    assert playground.pongs() == []
    for each in workers:
        each.engine.close()
    assert playground.pongs() == []


def test_a_released_database_goes_on(playground: Playground) -> None:
    """Where nothing was wrong after all, or the newest copy is back: the release stays on record."""
    worked(playground, 20, killed=False)
    newest = backed_up(playground)
    playground.sql("update checkpoint set next_offset = next_offset - 1 where next_offset > 10")
    assert "older than the log" in refusal(playground)
    playground.abandon(playground.workers[0])
    newest["quarantine"] = playground.sql("select * from quarantine")
    restore(playground, newest)
    assert "in quarantine" in refusal(playground, Quarantined)
    playground.abandon(playground.workers[0])
    database = playground.database()
    with database.transaction() as tx:
        assert quarantine.release(tx, 5, "ada", "the newest copy is back") == 1
    database.close()
    playground.worker()
    playground.send(range(10))
    playground.settle(30)
    playground.assert_exactly_once(30)
    assert playground.sql("select released_by, release_reason from quarantine") == [("ada", "the newest copy is back")]


def test_another_clusters_id_leaves_no_mark(sqlite_playground: Playground) -> None:
    """One worker with the wrong broker must not stop the others."""
    worked(sqlite_playground, 10, killed=False)
    sqlite_playground.sql("update checkpoint set cluster_id = 'another'")
    assert "another" in refusal(sqlite_playground, UnsafeToContinue)
    assert sqlite_playground.sql("select id from quarantine") == []


def test_another_copy_of_the_database_that_is_not_behind_is_refused(sqlite_playground: Playground) -> None:
    """Its checkpoints are as far as the log, but it is not the one that went on: its id says so."""
    worked(sqlite_playground, 20, killed=False)
    copy = backed_up(sqlite_playground)
    database = sqlite_playground.database()
    with database.transaction() as tx:
        quarantine.renew(tx, "another", 1, "ada", "a backup was accepted")
    database.close()
    topic = sqlite_playground.group + PROGRESS  # what it said of the id before is written anew by accept-backup
    sqlite_playground.admin.remove([topic])
    sqlite_playground.admin.create([topic], 1)
    worked(sqlite_playground, 30, killed=False)
    copy["checkpoint"] = sqlite_playground.sql("select * from checkpoint")
    restore(sqlite_playground, copy)
    assert "another copy has been used" in refusal(sqlite_playground)


def witnesses(playground: Playground) -> dict[Partition, CommittedOffset]:
    said = [decode(message.key(), message.value()) for message in playground.admin.read(playground.group + PROGRESS)]
    assert None not in said
    return dict(each for each in said if each)


def test_a_progress_topic_that_is_empty_again_is_filled(sqlite_playground: Playground) -> None:
    """While the cursors are there nothing is lost by that, and soon it stands in for them again."""
    playground, topic = sqlite_playground, sqlite_playground.group + PROGRESS
    worked(playground, 20, killed=False)
    before = witnesses(playground)
    assert len(before) == 4
    playground.admin.remove([topic])
    playground.admin.create([topic], 1)
    worker = playground.worker(**SOON_GONE)
    playground.turn_until(lambda: len(witnesses(playground)) == 4)
    worker.engine.close()
    playground.workers.clear()
    assert witnesses(playground) == before
    empty_group(playground)
    playground.admin.remove([playground.group])
    playground.worker()
    playground.send(range(10))
    playground.settle(30)
    playground.assert_exactly_once(30)


def test_a_progress_topic_that_is_created_again_under_a_resting_worker_is_filled(sqlite_playground: Playground) -> None:
    """The cursors stand in it again although no partition moves: losing them afterwards repeats nothing."""
    playground, topic = sqlite_playground, sqlite_playground.group + PROGRESS
    worker = playground.worker(**SOON_GONE)
    playground.turn_until(lambda: worker.ready() == 4)
    playground.send(range(20))
    playground.settle(20)
    playground.turn_until(lambda: len(witnesses(playground)) == 4 and worker.seen["tidied"] > 0)
    before = witnesses(playground)
    playground.admin.remove([topic])
    playground.admin.create([topic], 1)
    playground.turn_until(lambda: witnesses(playground) == before)
    playground.abandon(worker)


def test_a_progress_topic_that_is_deleted_ends_the_worker(sqlite_playground: Playground) -> None:
    """It says which command makes it; what was decided is published then."""
    worker = sqlite_playground.worker(topic_metadata_refresh_interval_ms="1000")
    sqlite_playground.turn_until(lambda: worker.ready() == 4)
    sqlite_playground.admin.remove([sqlite_playground.group + PROGRESS])
    sqlite_playground.send(range(10))
    with pytest.raises(TopicMissing, match="progress does not exist: `saga topics create`"):
        sqlite_playground.turn_until(lambda: False)


def test_a_worker_without_witnesses_may_work_beside(sqlite_playground: Playground) -> None:
    """One of the release before writes none: a witness that is older than the cursor is nothing special."""
    worked(sqlite_playground, 20, killed=False)
    old = sqlite_playground.worker()
    old.log._witnesses_of = lambda _cursors: []  # type: ignore[method-assign]
    sqlite_playground.send(range(20))
    sqlite_playground.settle(40)
    sqlite_playground.workers.clear()
    old.engine.close()
    sqlite_playground.worker()
    sqlite_playground.send(range(10))
    sqlite_playground.settle(50)
    sqlite_playground.assert_exactly_once(50)


def test_cursors_lost_after_a_worker_without_witnesses_hold_nobody_up(
    sqlite_playground: Playground, broker: Broker
) -> None:
    """The witness is older than what is published, and the outbox begins after what it names."""
    worked(sqlite_playground, 20, killed=False)
    old = sqlite_playground.worker(**SOON_GONE)
    old.log._witnesses_of = lambda _cursors: []  # type: ignore[method-assign]
    sqlite_playground.turn_until(lambda: old.ready() == 4)
    for count in (30, 40):
        sqlite_playground.send(range(10))
        sqlite_playground.settle(count)
    old.engine.close()
    sqlite_playground.workers.clear()
    empty_group(sqlite_playground)
    delete_the_group(sqlite_playground, broker)
    sqlite_playground.worker()
    sqlite_playground.send(range(10))
    sqlite_playground.settle(50)
    sqlite_playground.assert_exactly_once(50)


def test_a_transaction_under_way_is_waited_for_where_a_cursor_is_lost(sqlite_playground: Playground) -> None:
    """Its end decides what was published; where no cursor is lost nobody waits for another worker's."""
    worker = sqlite_playground.worker("one", transaction_timeout_ms="60000")
    sqlite_playground.turn_until(lambda: worker.ready() == 4)
    looker = sqlite_playground.looker()
    seen: list[object] = []

    def look() -> None:
        seen.append(len(looker.witnesses(undecided=False) or {}))
        with pytest.raises(Exception, match="waiting for an open transaction"):
            looker.witnesses(undecided=True)
        seen.append("waited")

    worker.at("offsets sent", look)
    sqlite_playground.send(range(10))
    sqlite_playground.settle(10)
    assert seen[1:] == ["waited"]
    assert len(looker.witnesses(undecided=True) or {}) == 4
