"""Two workers that both believe a partition is theirs: the checkpoint and the group's generation decide."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from eventbus import WorkingSet, reacts_to
from eventbus.database import connect
from eventbus.engine.backoff import Backoff
from eventbus.engine.decision import Decided, Decision
from eventbus.engine.parking import Retries
from eventbus.log import FetchedRecords
from eventbus.publishing import publish
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import CODEC, Playground, Worker, playground_of
from tests.support.engines.sample import Ping, PingService, RemotePingService, Starter, Tally, _count
from tests.support.saga.processes import PATIENCE

QUICK = {"session_timeout_ms": "6000", "max_poll_interval_ms": "6000"}
"""So that a stalled worker is thrown out as soon as the broker allows."""


@pytest.mark.parametrize("step", ["remote done", "after database commit", "begun", "offsets sent"])
def test_a_zombie_changes_nothing(playground: Playground, step: str) -> None:
    """Stalled at a step until it is thrown out and another has taken over; then it goes on where it stopped."""
    zombie = playground.worker("zombie", **QUICK)
    playground.turn_until(lambda: zombie.ready() == 4)
    playground.send(range(100))
    other: list[Worker] = []

    def stall() -> None:
        other.append(playground.worker("other"))
        playground.turn_until(lambda: other[0].ready() == 4 and playground.tallied() == 100, workers=other)
        playground.turn_until(lambda: len(playground.pongs()) == 100, workers=other)

    zombie.at(step, stall)
    playground.turn_until(lambda: bool(other), workers=[zombie])
    playground.send(range(100))
    playground.settle(200)
    assert zombie.watch.doubts or zombie.watch.lost, "the zombie noticed"
    playground.assert_exactly_once(200)


def test_a_zombie_decides_nothing_after_the_takeover(broker: Broker, database_url: str) -> None:
    """It wakes after the new owner has recovered and before that has moved: the epoch refuses its batch."""

    class Starts(Starter):
        """A class of its own, so that each test has its own group."""

    with playground_of(broker.bootstrap_servers, database_url, 1) as playground:
        playground.make_service = Starts
        zombie = playground.worker("zombie", **QUICK)
        playground.turn_until(lambda: zombie.ready() == 1)
        other: list[Worker] = []

        def stall() -> None:
            other.append(playground.worker("other"))
            playground.turn_until(lambda: other[0].ready() == 1, workers=other)

        zombie.at("remote done", stall)
        database = connect(database_url, service=playground.group, schema="")
        with database.transaction() as tx:
            publish(tx, CODEC, playground.group, [Ping("name", 1)])
        database.close()
        playground.turn_until(lambda: bool(other), workers=[zombie])
        assert zombie.watch.handled == 0, "the zombie's batch was refused"
        playground.turn_until(lambda: len(playground.admin.read("ping")) == 1)
        playground.turn_until(lambda: zombie.ready() + other[0].ready() == 1)
        assert len(playground.admin.read("ping")) == 1
        assert zombie.watch.doubts or zombie.watch.lost, "the zombie noticed"


def lose_once(playground: Playground, worker: Worker) -> list[int]:
    """Let somebody else decide on the first of two partitions of a batch, just before the worker does."""
    inner = worker.engine._decision.commit
    raced: list[int] = []

    def commit(database: Any, parts: Any, *rest: Any) -> Decided:
        if len(parts) > 1 and not raced:
            raced.append(len(parts))
            somebody = Decision(playground.service(), CODEC, 100, Retries(lambda: 0, Backoff(0.1, 60.0, lambda: 0.5)))
            mine = connect(playground.url, service=playground.group, schema="")
            somebody.commit(mine, parts[:1], None, lambda _step: None)
            mine.close()
        return inner(database, parts, *rest)

    worker.engine._decision.commit = commit
    return raced


def send_until(playground: Playground, raced: list[int]) -> int:
    """Send until one poll brings records of both partitions; return how many were sent."""
    sent = 0
    while not raced:
        assert sent < 4_000
        for partition in (0, 1):
            playground.send(range(20), partition=partition)
        sent += 40
        playground.turn_until(lambda: playground.tallied() >= sent)  # noqa: B023 - used within this turn of the loop
    return sent


def test_losing_the_race_for_one_partition_recovers_all_of_the_batch(playground: Playground) -> None:
    """Somebody else has moved one of two partitions: the records of the other are not lost with the batch."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    sent = send_until(playground, lose_once(playground, worker))
    playground.settle(sent)
    assert worker.watch.doubts
    playground.assert_exactly_once(sent, one_source=False)


class Silent(PingService):
    """Answers nothing, so that no number in the outbox is taken."""

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> None:
        _count(ping, tallies)


def test_the_checkpoint_alone_refuses_a_batch_that_was_handled(playground: Playground) -> None:
    """Nothing but its compare can tell where a batch leaves no row of its own."""
    playground.make_service = Silent
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    sent = send_until(playground, lose_once(playground, worker))
    playground.send(range(20), partition=0)
    playground.turn_until(lambda: playground.tallied() >= sent + 20)
    assert playground.tallied() == sent + 20, "no effect twice"
    assert worker.watch.doubts


def test_two_workers_on_one_key_from_two_topics_lose_no_update(broker: Broker, database_url: str) -> None:
    """Both find no row and insert it, at the same moment: one of them loses the race and does it again."""
    with playground_of(broker.bootstrap_servers, database_url) as playground:
        left, right = playground.worker("left"), playground.worker("right")
        playground.turn_until(lambda: left.ready() == right.ready() == 2)
        for partition, topic in enumerate(("ping", "pang")):  # each worker has one partition of both
            playground.send(range(50), topic=topic, names=1, partition=partition)
        meeting = threading.Event()

        def the_other() -> None:
            meeting.set()
            playground.turn_until(lambda: right.watch.handled == 50, workers=[right])

        thread = threading.Thread(target=the_other)

        def meet() -> None:
            thread.start()
            meeting.wait()
            thread.join(1.0)

        left.at("before database commit", meet)
        playground.turn_until(lambda: left.watch.handled == 50, workers=[left])
        thread.join()
        playground.settle(100)
        assert playground.tallies() == {"name-0": 100}, "no update is lost"
        playground.assert_exactly_once(100, one_source=False)


def test_a_key_in_any_partition_is_handled_once(playground: Playground) -> None:
    """Producers may place keys as they like: two workers lose no update, and each partition keeps its own order."""
    left, right = playground.worker("left"), playground.worker("right")
    playground.turn_until(lambda: left.ready() == right.ready() == 2)
    for topic in ("ping", "pang"):
        for partition in (0, 1):
            playground.send(range(50), topic=topic, partition=partition)
    playground.settle(200)
    assert left.watch.handled == right.watch.handled == 100
    assert left.watch.dead == right.watch.dead == []
    playground.assert_exactly_once(200, one_source=False)
    causes = [dict(pong.headers())["ce_causationid"].decode().split("/") for pong in playground.pongs()]
    assert sorted(causes) == sorted([t, p, str(o)] for t in ("ping", "pang") for p in "01" for o in range(50))
    times: dict[tuple[bytes, str, str], list[int]] = {}
    for pong, (topic, partition, _) in zip(playground.pongs(), causes, strict=True):
        answer = CODEC.decode("pong", pong.key(), pong.value())
        times.setdefault((pong.key(), topic, partition), []).append(answer.times)
    assert len(times) == 7 * 4
    assert all(counts == sorted(counts) for counts in times.values())


def test_a_partition_revoked_from_a_live_member_takes_its_pending_entries_along(playground: Playground) -> None:
    """What was decided is published in the revoke callback; after it the entries are the next owner's."""
    object.__setattr__(playground.tuning, "pending_seconds", 1_000.0)
    object.__setattr__(playground.tuning, "batch", 1)  # a poll that returns as much as it asks for: there is a backlog
    first = playground.worker("first")
    playground.turn_until(lambda: first.ready() == 4)
    second: list[Worker] = []
    pending: list[int] = []

    def let_another_join() -> None:
        """The next look at the log lasts until librdkafka, with a heartbeat, has heard of it."""
        second.append(playground.worker("second"))
        poll, runs = first.log.poll, list[FetchedRecords]()

        def heard(limit: int) -> bool:
            runs.extend(poll(limit, 0.05))
            return bool(pending)

        def poll_until_heard(limit: int, _timeout: float) -> list[FetchedRecords]:
            playground.turn_until(lambda: heard(limit), workers=second)
            first.log.poll = poll  # type: ignore[method-assign]
            return runs

        first.log.poll = poll_until_heard  # type: ignore[method-assign]

    first.at("after database commit", let_another_join)
    first.steps["revoked"] = lambda: pending.append(
        sum(len(entry.outputs) for owned in first.engine._assignment for entry in owned.pending)
    )
    playground.send(range(200))
    playground.settle(200)
    assert pending
    assert pending[0] > 0, "the revoke came while entries were pending"
    playground.turn_until(lambda: first.ready() == second[0].ready() == 2)
    playground.send(range(200))
    playground.settle(400)
    playground.assert_exactly_once(400)


def test_a_batch_in_flight_is_dropped_where_its_partition_is_gone(playground: Playground) -> None:
    """Revoked during the remote calls: another worker handles those records; nothing has its effect twice."""
    answer, asked = threading.Event(), threading.Event()

    def call(_ping: Ping) -> None:
        asked.set()
        answer.wait(PATIENCE)

    class Remote(RemotePingService):
        """A class of its own, so that each test has its own group."""

    playground.make_service = lambda: Remote(call)
    playground.recreate_topics()
    first = playground.worker("first")
    playground.turn_until(lambda: first.ready() == 2)
    playground.send(range(100), names=100)
    turning = threading.Thread(target=lambda: playground.turn_until(answer.is_set, workers=[first]))
    turning.start()
    assert asked.wait(PATIENCE)
    second = playground.worker("second")
    playground.turn_until(lambda: second.owns() == 1, workers=[second])
    answer.set()
    turning.join()
    playground.settle(100)
    assert first.owns() == second.owns() == 1
    playground.assert_exactly_once(100)


def test_remote_calls_longer_than_the_poll_interval_do_not_cost_the_membership(sqlite_playground: Playground) -> None:
    """The group is kept alive while a provider takes its time."""
    playground = sqlite_playground
    slow = threading.Event()

    class Remote(RemotePingService):
        """A class of its own, so that each test has its own group."""

    playground.make_service = lambda: Remote(lambda _ping: slow.wait(13))
    playground.recreate_topics()
    worker = playground.worker(max_poll_interval_ms="10000")  # a machine that stands still must stand so long
    playground.send(range(4), names=4)
    playground.settle(4)
    assert worker.seen["assigned"] == 1
    assert not worker.watch.doubts
    playground.assert_exactly_once(4)


def test_who_was_overtaken_by_a_recovery_does_not_publish(playground: Playground) -> None:
    """The group may believe in two owners at once (a false claim in a rebalance): the epoch decides.

    Another recovery happens when the outputs and cursors already are in the transaction: it is aborted.
    """
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    worker.at("offsets sent", lambda: playground.sql("update checkpoint set epoch = epoch + 1"))
    playground.send(range(100))
    playground.turn_until(lambda: bool(worker.watch.doubts))
    assert playground.pongs() == [], "what was decided is not published by the one who was overtaken"
    playground.settle(100)
    playground.assert_exactly_once(100)


def test_an_idle_worker_sees_that_it_was_overtaken(playground: Playground) -> None:
    """Nothing follows that would make it compare: the idle look at the checkpoint tells."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    playground.sql("update checkpoint set epoch = epoch + 1")
    playground.turn_until(lambda: bool(worker.watch.doubts))
    playground.turn_until(lambda: worker.ready() == 4)


def test_a_stale_generation_is_refused_and_recovered_from(playground: Playground) -> None:
    """Group metadata from before a rebalance: Kafka refuses the transaction, the worker recovers and repeats it."""
    worker = playground.worker("first")
    playground.turn_until(lambda: worker.ready() == 4)
    consumer = worker.log._consumer
    stale = consumer.consumer_group_metadata()
    playground.worker("second")
    playground.turn_until(lambda: worker.ready() == 2)

    class Stale:
        used = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(consumer, name)

        def consumer_group_metadata(self) -> Any:
            Stale.used += 1
            return stale if Stale.used == 1 else consumer.consumer_group_metadata()

    worker.log._consumer = Stale()
    playground.send(range(200))
    playground.settle(200)
    assert any("generation" in why.lower() for why in worker.watch.doubts)
    playground.assert_exactly_once(200)
