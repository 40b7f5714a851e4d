"""Deadlines on a real broker and both databases: each is fired once, in time, whatever happens."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from confluent_kafka import Producer

from eventbus import DueColumn, Overdue, Service, Transaction, WrongClock, when_due
from eventbus.engine import deadlines, parking
from eventbus.engine.config import EngineConfig
from tests.support.engines import CODEC, Playground, Worker
from tests.support.engines.sample import Pang, Ping, Pong
from tests.support.engines.sample.timed import DUE, TimedService, Timer, TimerRepository, Timers

HOUR_MS = 3_600_000
QUICK = {"session_timeout_ms": "6000", "max_poll_interval_ms": "6000"}


class Clock:
    """The time of day, `ahead` by so many milliseconds."""

    ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead


@pytest.fixture
def clock(playground: Playground) -> Clock:
    playground.now_ms = clock = Clock()
    return clock


@pytest.fixture
def service(playground: Playground, clock: Clock) -> TimedService:
    """Let every worker of the playground have one and the same service."""

    class Times(TimedService):
        """A class of its own, so that each test has its own group."""

    service = Times(clock)
    playground.make_service = lambda: service
    playground.tuning = EngineConfig(prune_after=0.2, retry_most=0.5)
    return service


def ready(playground: Playground, **kafka: str) -> Worker:
    """Start a worker, and wait until it has all partitions of both topics."""
    worker = playground.worker(**kafka)
    playground.turn_until(lambda: worker.ready() == 4)
    return worker


def send(playground: Playground, *events: Ping | Pang) -> None:
    producer = Producer({"bootstrap.servers": playground.bootstrap, "partitioner": "murmur2_random"})
    for event in events:
        producer.produce(event.topic, CODEC.encode(event), event.key)
    producer.flush()


def set_deadlines(playground: Playground, names: list[str], at_ms: int, set_ms: int) -> None:
    """Set deadlines as another process does, which tells nobody."""
    with playground.database().transaction() as tx:
        rows = [(name, 0, at_ms, set_ms) for name in names]
        tx.executemany("insert into timer (name, times, due_at, set_at) values (?, ?, ?, ?)", rows)


def rung(playground: Playground) -> Counter[str]:
    """Return how often each deadline was fired, by what is on the log."""
    return Counter((message.key() or b"").decode() for message in playground.pongs())


def assert_each_once(playground: Playground, names: list[str]) -> None:
    assert rung(playground) == Counter(names), "each is fired once"
    left = playground.sql("select name from timer where times <> 1 or due_at is not null or set_at is not null")
    assert left == [], "each counts once, and is cleared"
    assert playground.sql("select key from parked") == []


NAMES = [f"name-{number}" for number in range(50)]


def test_a_deadline_is_fired_once_with_an_id_of_its_own(playground: Playground, service: TimedService) -> None:
    """It says when it was over, and has no cause in the log."""
    ready(playground)
    send(playground, Ping("A", 300), Ping("B", HOUR_MS))
    playground.turn_until(lambda: bool(playground.pongs()))
    [message] = playground.pongs()
    headers = dict(message.headers())
    due = headers["ce_deadline"].decode()
    assert headers["ce_id"].decode() == f"pong@{due}/A"
    assert "ce_causationid" not in headers
    assert playground.sql("select name, times from timer order by name") == [("A", 1), ("B", 0)]


def test_a_deadline_that_was_cleared_in_time_is_not_fired(playground: Playground, service: TimedService) -> None:
    """Nor one that is cleared after it was found, before its transaction."""
    worker = ready(playground)
    now = service.now_ms()
    set_deadlines(playground, ["C"], now, now)
    worker.at("deadlines found", lambda: playground.sql("update timer set due_at = null, set_at = null"))
    playground.turn_until(lambda: worker.seen["after database commit"] > 0)
    send(playground, Ping("A", HOUR_MS))
    playground.turn_until(lambda: playground.sql("select 1 from timer where name = 'A'") != [])
    send(playground, Pang("A", 0))
    cleared = "select 1 from timer where name = 'A' and due_at is null"
    playground.turn_until(lambda: playground.sql(cleared) != [])
    send(playground, Ping("B", 1))
    playground.turn_until(lambda: bool(playground.pongs()))
    assert rung(playground) == {"B": 1}


@pytest.mark.parametrize(
    "step", ["deadlines found", "compared", "before database commit", "after database commit", "produced", "published"]
)
def test_each_is_fired_once_through_kill_9(playground: Playground, service: TimedService, step: str) -> None:
    """The owner is gone at this step; the next one goes on."""
    worker = ready(playground, **QUICK)
    now = service.now_ms()
    worker.crash_at(step)
    set_deadlines(playground, NAMES, now, now - 1_000)
    with pytest.raises(BaseException, match=step):
        playground.turn_until(lambda: False)
    playground.abandon(worker)
    playground.worker("one")
    playground.turn_until(lambda: playground.sql("select count(*) from timer where times = 0") == [(0,)])
    playground.turn_until(lambda: len(playground.pongs()) >= len(NAMES))
    assert_each_once(playground, NAMES)


@pytest.mark.parametrize("step", ["deadlines found", "remote done", "after database commit", "offsets sent"])
def test_a_zombie_fires_nothing(playground: Playground, service: TimedService, step: str) -> None:
    """Stalled at a step until another worker has taken over and fired; then it goes on where it stopped."""
    zombie = ready(playground, **QUICK)
    other: list[Worker] = []

    def stall() -> None:
        other.append(playground.worker("other"))
        playground.turn_until(lambda: other[0].ready() == 4 and len(rung(playground)) == len(NAMES), workers=other)

    now = service.now_ms()
    set_deadlines(playground, NAMES, now, now - 1_000)
    zombie.at(step, stall)
    playground.turn_until(lambda: bool(other), workers=[zombie])
    set_deadlines(playground, ["late"], now, now - 1_000)
    playground.turn_until(lambda: rung(playground)["late"] > 0)
    assert_each_once(playground, [*NAMES, "late"])


def test_each_is_fired_once_while_workers_come_and_go(playground: Playground, service: TimedService) -> None:
    """A second worker joins, and the first one leaves, while deadlines come due."""
    first = ready(playground)
    now = service.now_ms()
    names = [f"name-{number}" for number in range(300)]
    for number, name in enumerate(names):
        set_deadlines(playground, [name], now + 20 * number, now)
    playground.turn_until(lambda: len(playground.pongs()) > 50)
    second = playground.worker("two")
    playground.turn_until(lambda: second.ready() > 0)
    first.engine.close()
    playground.workers.remove(first)
    playground.turn_until(lambda: len(playground.pongs()) >= len(names))
    assert_each_once(playground, names)


def test_a_thousand_bad_ones_do_not_hold_up_the_next_good_one(playground: Playground, service: TimedService) -> None:
    """They are parked, leave the due list, and are fired once when the code is mended."""
    bad = [f"bad-{number}" for number in range(1_000)]
    service.broken = lambda name: name.startswith("bad")
    ready(playground)
    now = service.now_ms()
    set_deadlines(playground, bad, now - 5_000, now - 10_000)
    playground.turn_until(lambda: playground.sql("select count(*) from fence") == [(1_000,)])
    send(playground, Ping("good", 100))
    playground.turn_until(lambda: rung(playground)["good"] == 1)
    assert playground.sql("select count(*) from parked") == [(1_000,)]
    service.broken = lambda _name: False
    playground.turn_until(lambda: len(playground.pongs()) >= 1_001)
    assert_each_once(playground, [*bad, "good"])


def test_more_failing_ones_than_can_be_parked_hold_up_no_events(
    playground: Playground, service: TimedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait in their rows, and root events and records do not wait for them; mended, all are fired."""
    for module in (parking, deadlines):
        monkeypatch.setattr(module, "MAX_BLOCKED_KEYS", 20)
    bad = [f"bad-{number}" for number in range(50)]
    service.broken = lambda name: name.startswith("bad")
    worker = ready(playground)
    now = service.now_ms()
    set_deadlines(playground, bad, now - 5_000, now - 10_000)
    playground.turn_until(lambda: "no deadline is fired, because 20 keys are blocked already" in worker.watch.doubts)
    send(playground, *(Ping(name, HOUR_MS) for name in NAMES))
    pinged = "select count(*) from timer where name like 'name-%'"
    playground.turn_until(lambda: playground.sql(pinged) == [(len(NAMES),)], 20)
    assert playground.sql("select count(*) from fence") == [(20,)]
    service.broken = lambda _name: False
    playground.turn_until(lambda: len(playground.pongs()) >= len(bad))
    assert rung(playground) == Counter(bad)


def test_failures_of_the_database_now_and_then_are_not_counted_for_ever(
    playground: Playground, service: TimedService
) -> None:
    """Only those that follow each other end the worker: a deadline that was fired ends the count."""

    class Flaky(TimerRepository):
        failures = 0

        def save(self, tx: Transaction, work: Timers) -> None:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("now and then")
            super().save(tx, work)

    service.repository = flaky = Flaky()
    ready(playground)
    now = service.now_ms()
    for name in NAMES[: 2 * playground.tuning.attempts]:
        flaky.failures = 2
        set_deadlines(playground, [name], now, now - 1_000)
        playground.turn_until(lambda: playground.sql("select 1 from timer where times = 0") == [])
    assert flaky.failures == 0


def test_of_two_deadlines_of_a_row_the_second_is_not_fired_if_the_first_one_clears_it(playground: Playground) -> None:
    """Both are over: the handler of one clears both."""
    fired: list[str] = []

    class Twice(TimedService):
        @when_due(DueColumn("timer", "name", "set_at", "set_at"))
        def ring_too(self, overdue: Overdue, timers: Timers) -> Pong:
            """Clear the row as the other one does."""
            fired.append(overdue.key)
            timers.put(overdue.key, Timer(overdue.key, 1))
            return Pong(overdue.key, 0, 1)

    service = Twice(playground.now_ms)
    playground.make_service = lambda: service
    ready(playground)
    now = service.now_ms()
    set_deadlines(playground, NAMES, now, now - 1_000)
    playground.turn_until(lambda: playground.sql("select 1 from timer where due_at is not null") == [])
    playground.turn_until(lambda: len(playground.pongs()) >= len(NAMES))
    assert fired == []
    assert_each_once(playground, NAMES)


def test_a_service_that_reads_no_topic_fires_too(sqlite_playground: Playground) -> None:
    """Its workers share the resolutions of its dead letters."""

    class Alone(Service[Timers]):
        """A service that only waits."""

        name = "alone"
        repository = TimerRepository()

        @when_due(DUE)
        def ring(self, overdue: Overdue, timers: Timers) -> Pong:
            """Clear it."""
            timers.put(overdue.key, Timer(overdue.key, 1))
            return Pong(overdue.key, 0, 1)

    sqlite_playground.make_service, sqlite_playground.redrives = Alone, True
    sqlite_playground.worker()
    now = sqlite_playground.now_ms()
    set_deadlines(sqlite_playground, NAMES, now, now - 1_000)
    sqlite_playground.turn_until(lambda: len(sqlite_playground.pongs()) >= len(NAMES))
    assert_each_once(sqlite_playground, NAMES)


def test_a_handler_that_clears_nothing_is_parked_and_not_fired_for_ever(
    playground: Playground, service: TimedService
) -> None:
    """With a message that says so; the others of its batch are fired."""
    service.forgetful = lambda name: name == "A"
    ready(playground)
    now = service.now_ms()
    set_deadlines(playground, ["A", "B"], now, now - 1_000)
    playground.turn_until(lambda: rung(playground)["B"] == 1)
    playground.turn_until(lambda: playground.sql("select max(attempts) from fence")[0][0] >= 2)
    [(error,)] = playground.sql("select error from fence where key = 'A'")
    assert "ring left the deadline timer.due_at/-2/" in error
    assert "must clear or move it" in error
    service.forgetful = lambda _name: False
    playground.turn_until(lambda: rung(playground)["A"] > 0)
    assert_each_once(playground, ["A", "B"])


@pytest.mark.parametrize("ahead", [HOUR_MS, -HOUR_MS], ids=["by a clock that was ahead", "while ours is behind"])
def test_no_deadline_is_held_longer_than_its_own_length(
    playground: Playground, service: TimedService, clock: Clock, ahead: int
) -> None:
    """It was set an hour from now, by a clock that was ahead, or as ours tells, which is behind."""
    worker = ready(playground)
    now = service.now_ms()
    clock.ahead = min(ahead, 0)
    set_ms = now + max(ahead, 0)
    set_deadlines(playground, NAMES, set_ms + 500, set_ms)
    playground.turn_until(lambda: len(playground.pongs()) >= len(NAMES), 20)
    clock.ahead = 0
    assert_each_once(playground, NAMES)
    assert worker.seen["deadlines set again"] > 0
    assert worker.seen["deadlines found"] > 0


def test_a_clock_that_falls_back_to_2000_ends_the_worker(
    playground: Playground, service: TimedService, clock: Clock
) -> None:
    """Else it would set all deadlines again by it, and all would be over when it is corrected."""
    worker = ready(playground)
    send(playground, Ping("A", HOUR_MS))
    playground.turn_until(lambda: playground.sql("select 1 from timer") != [])
    before = playground.sql("select * from timer")
    clock.ahead = 946_684_800_000 - service.now_ms()
    with pytest.raises(WrongClock, match="the clock of this host says 2000-01-01"):
        playground.turn_until(lambda: False, 20)
    playground.workers.remove(worker)
    worker.engine.close()
    assert playground.sql("select * from timer") == before
    clock.ahead = 0


def test_firing_and_handling_the_same_keys_at_once_ends(playground: Playground, service: TimedService) -> None:
    """Each worker in a thread of its own: one fires what the other one sets again and clears."""
    workers = [playground.worker("one"), playground.worker("two")]
    playground.turn_until(lambda: all(worker.ready() == 2 for worker in workers))
    names = [f"name-{number}" for number in range(40)]
    stop = threading.Event()
    failures: list[BaseException] = []

    def turn(worker: Worker) -> None:
        try:
            while not stop.is_set():
                worker.engine.run_once()
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=turn, args=[worker]) for worker in workers]
    for worker in workers:
        worker.database.close()  # it connects again in the thread that uses it
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            send(playground, *(Ping(name, 1) for name in names))
        until = time.monotonic() + 60
        left = "select count(*) from timer where due_at is not null"
        while time.monotonic() < until and not failures:
            time.sleep(0.5)
            if len(playground.sql("select 1 from timer")) == len(names) and playground.sql(left) == [(0,)]:
                break
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for worker in workers:
            worker.database.close()
    assert failures == []
    playground.turn_until(
        lambda: sum(rung(playground).values()) == playground.sql("select sum(times) from timer")[0][0]
    )
    ids = Counter(dict(message.headers())["ce_id"] for message in playground.pongs())
    assert set(ids.values()) == {1}
