"""The watchdog: what takes far too long ends the process, and time in which the process stood still does not count."""

from __future__ import annotations

import re
import threading

import pytest
import structlog
from confluent_kafka import KafkaException

from eventbus.worker.telemetry import Telemetry
from eventbus.worker.watchdog import LEAST_LIMIT, MOST_SECONDS, STEP_LIMIT, TICK_SECONDS, TIMES, Awake, Steps, Watchdog
from eventbus.worker.watched import watched_clients

LOG = structlog.get_logger()


class Bench:
    """A watchdog whose time a test moves."""

    def __init__(self) -> None:
        self.now, self.ended = 100.0, 0
        self.watchdog = Watchdog(LOG, end=self._end, clock=lambda: self.now)
        self.steps = self.watchdog.watch("loop")

    def _end(self) -> None:
        self.ended += 1

    def seconds(self, seconds: float) -> None:
        """Let time pass, with the watchdog awake."""
        for _ in range(round(seconds / TICK_SECONDS)):
            self.now += TICK_SECONDS
            self.watchdog.tick()

    def stopped(self, seconds: float) -> None:
        """Let time pass without anything of the process running."""
        self.now += seconds
        self.watchdog.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("limit", [LEAST_LIMIT, 5.0, 10.0, 60.0])
def test_a_step_that_takes_too_long_ends_the_process_and_livez_says_so_before(bench: Bench, limit: float) -> None:
    """Over its limit it is said; over three times its limit, and never later than after 30 s, the process ends."""
    most = min(TIMES * limit, MOST_SECONDS)
    with structlog.testing.capture_logs() as said, bench.steps.step("commit_transaction", limit):
        bench.seconds(min(limit, most))
        assert bench.watchdog.overdue is None
        assert not bench.ended
        if limit < most:
            bench.seconds(2)
            assert bench.watchdog.overdue is not None
            assert "commit_transaction" in bench.watchdog.overdue
        bench.seconds(most - min(limit, most) - 3)
        assert not bench.ended
        bench.seconds(3)
    assert bench.ended
    line = said[0]
    assert (line["log_level"], line["event"], line["step"]) == ("critical", "worker.stuck", "commit_transaction")
    assert "test_watchdog" in line["stack"], "it says where"


def test_from_one_named_step_of_the_engine_to_the_next_there_is_a_limit_too(bench: Bench) -> None:
    for _ in range(20):
        bench.steps.reach("polled")
        bench.seconds(STEP_LIMIT)
    assert not bench.ended
    bench.seconds(STEP_LIMIT * TIMES)
    assert bench.ended


def test_a_step_inside_another_one_lets_that_begin_anew(bench: Bench) -> None:
    """As callbacks inside poll do: the calls that they make have limits of their own."""
    with bench.steps.step("poll", 5):
        for _ in range(10):
            bench.seconds(5)
            with bench.steps.step("flush", 5):
                bench.seconds(5)
    bench.steps.rest()
    bench.seconds(100)
    assert not bench.ended


@pytest.mark.parametrize("seconds", [40.0, 3600.0, 1e6])
def test_a_process_that_was_stopped_is_not_ended_for_it(bench: Bench, seconds: float) -> None:
    """SIGSTOP, a suspended machine: nothing of it ran, nothing of it hangs."""
    with bench.steps.step("poll", 5):
        bench.seconds(3)
        bench.stopped(seconds)
        assert bench.watchdog.overdue is None
        bench.seconds(0.5)
        assert bench.watchdog.overdue is None
    assert not bench.ended


def test_a_clock_that_goes_back_counts_nothing() -> None:
    times = iter((10.0, 5.0, 5.5))
    awake = Awake(lambda: next(times), TICK_SECONDS)
    assert [awake.elapsed(), awake.elapsed()] == [0.0, 0.5]


def test_livez_says_what_is_overdue(bench: Bench) -> None:
    telemetry = Telemetry("payment-service", "a")
    telemetry.overdue = lambda: bench.watchdog.overdue
    with bench.steps.step("database: commit", 10):
        bench.seconds(12)
        (why,) = telemetry.not_alive()
        assert re.fullmatch(r"loop: 'database: commit' has taken 1[12] s, its limit is 10 s", why)
    bench.seconds(1)
    assert telemetry.not_alive() == []


def test_a_log_that_nobody_reads_does_not_keep_it_from_ending(bench: Bench) -> None:
    """Whoever reads stderr may be what hangs."""
    never = threading.Event()

    class Blocked:
        def critical(self, *_: object, **__: object) -> None:
            never.wait()

    bench.watchdog._log = Blocked()
    with bench.steps.step("poll", 5):
        bench.seconds(16)
    assert bench.ended
    never.set()


def test_calls_of_the_clients_are_steps() -> None:
    """The class is a client like any other; while a call is under way it is the step."""
    steps = Steps("loop")
    seen: list[str] = []
    producer = watched_clients(steps).producer(
        {"bootstrap.servers": "localhost:1", "log_level": 0, "on_delivery": print}
    )
    steps.reach("begun")
    with pytest.raises(KafkaException):
        producer.commit_transaction(1)
    producer.flush(0)
    assert steps.now is not None
    assert steps.now.name == "begun"
    consumer = watched_clients(steps).consumer(
        {
            "bootstrap.servers": "localhost:1",
            "group.id": "x",
            "log_level": 0,
            "error_cb": lambda _: seen.append(steps.now.name),
        }
    )
    for _ in range(100):
        consumer.poll(0.1)
        if seen:
            break
    assert seen[0] == "Consumer.poll"
    consumer.close()
