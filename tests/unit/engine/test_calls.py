"""Remote calls of a batch: one lost answer holds nobody up, and a provider that is away is not asked for all of it."""

from __future__ import annotations

import threading
import time

from eventbus import TryAgain
from eventbus.engine.calls import (
    ATTEMPTS,
    CIRCUIT_BREAKER_THRESHOLD,
    UNKNOWN_OUTCOME,
    NoAnswerYet,
    NotMade,
    RemoteCalls,
)
from tests.support.saga.processes import PATIENCE


def outcomes(calls, concurrency=4):
    pending = RemoteCalls(concurrency).start(calls)
    assert pending.wait(PATIENCE)
    return pending.outcomes()


def test_a_provider_that_is_away_is_not_asked_a_whole_batch_long():
    """The rest has the outcome of those who asked: unknown, to be asked for again."""
    asked = set()

    def away(number):
        asked.add(number)
        raise TryAgain("away")

    found = outcomes([lambda n=number: away(n) for number in range(500)])
    assert {str(outcome).rpartition(": ")[2] for outcome in found} == {"away"}
    assert CIRCUIT_BREAKER_THRESHOLD <= len(asked) < CIRCUIT_BREAKER_THRESHOLD + 10


def test_answers_in_between_are_a_reason_to_go_on_asking():
    """Losing some answers is no outage: every call is made, and again where its outcome is unknown."""
    tries, lock = dict.fromkeys(range(60), 0), threading.Lock()

    def lossy(number):
        with lock:
            tries[number] += 1
        if number % 5 == 0:
            raise TryAgain(f"lost {number}")
        return number

    found = outcomes([lambda n=number: lossy(n) for number in range(60)])
    assert [outcome for outcome in found if isinstance(outcome, int)] == [n for n in range(60) if n % 5]
    assert all(made == (1 if number % 5 else ATTEMPTS) for number, made in tries.items())


def test_as_many_calls_as_allowed_are_under_way_at_once():
    """Each thread wakes the next: calls that wait for three others in other threads end."""
    together = threading.Barrier(4)
    assert outcomes([lambda: together.wait(PATIENCE) >= 0] * 8) == [True] * 8


def test_no_more_calls_than_allowed_are_under_way_at_once():
    """Also where there are many more calls than threads."""
    under_way, lock = [0, 0], threading.Lock()

    def counted():
        with lock:
            under_way[0] += 1
            under_way[1] = max(under_way)
        time.sleep(0.001)
        with lock:
            under_way[0] -= 1

    outcomes([counted] * 100)
    assert under_way[0] == 0
    assert 1 <= under_way[1] <= 4


def test_who_was_not_asked_any_more_is_told_from_who_was_asked():
    """Nobody is to take the rest of the batch for refused."""

    def away():
        raise TryAgain("away")

    found = outcomes([away] * 100)
    assert sum(not isinstance(outcome, NotMade) for outcome in found) < CIRCUIT_BREAKER_THRESHOLD + 10


def test_many_refused_ones_side_by_side_are_no_outage():
    """Calls are made in any order: the answers in between are heard of."""

    def refused():
        raise TryAgain("refused")

    found = outcomes([refused] * 20 + [lambda: "answer"] * 180)
    assert found[20:].count("answer") == 180


def test_a_call_that_hangs_is_not_waited_for_by_those_that_were_answered():
    """It is overdue after a second, where all others took a moment; its outcome is unknown."""
    hangs = threading.Event()
    pending = RemoteCalls(4).start([lambda: hangs.wait(PATIENCE), *[lambda: "answer"] * 9])
    assert not pending.wait(0.1)
    assert not pending.overdue(), "too soon"
    started = time.monotonic()
    while not pending.overdue():
        assert time.monotonic() - started < PATIENCE
        pending.wait(0.05)
    hanging, *answered = pending.outcomes()
    hangs.set()
    assert isinstance(hanging, NoAnswerYet)
    assert isinstance(hanging, UNKNOWN_OUTCOME)
    assert answered == ["answer"] * 9


def test_calls_that_are_all_slow_are_waited_for():
    """A slow provider is none that hangs: nothing is overdue as long as nothing is answered, or all take as long."""
    slowly = threading.Event()
    pending = RemoteCalls(4).start([lambda: slowly.wait(PATIENCE)] * 4)
    pending.wait(1.5)
    assert not pending.overdue()
    slowly.set()
    assert pending.wait(PATIENCE)


def test_a_batch_may_leave_threads_to_others():
    """Parked orders about which somebody is asked leave half of the calls to all others."""
    hangs, calls = threading.Event(), RemoteCalls(4)
    calls.start([lambda: hangs.wait(PATIENCE)] * 10, at_most=2)
    pending = calls.start([lambda: "answer"] * 10)
    assert pending.wait(PATIENCE / 2)
    hangs.set()


def test_calls_that_cannot_block_are_made_by_the_caller():
    """No thread is woken: it would take longer than the call. Outcomes are in the order of the calls, as ever."""
    pending = RemoteCalls(4, inline=True).start([lambda n=n: (n, threading.get_ident()) for n in range(50)])
    assert pending.wait(0)
    assert pending.outcomes() == [(n, threading.get_ident()) for n in range(50)]


def test_an_outage_ends_a_batch_of_inline_calls_too():
    """Else a thousand calls would each be tried again before the worker reads on."""
    asked = []

    def away():
        asked.append(1)
        raise TryAgain("away")

    pending = RemoteCalls(32, inline=True).start([away] * 500)
    assert len(asked) <= CIRCUIT_BREAKER_THRESHOLD * ATTEMPTS
    assert {type(outcome) for outcome in pending.outcomes()} == {TryAgain, NotMade}
