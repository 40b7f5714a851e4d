"""Remote calls of a batch: one lost answer holds nobody up, and a provider that is away is not asked for all of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from eventbus import TryAgain
from eventbus.engine.calling import RemoteCalls
from eventbus.engine.calls import (
    ATTEMPTS,
    CIRCUIT_BREAKER_THRESHOLD,
    UNKNOWN_OUTCOME,
    NoAnswerYet,
    NotMade,
)
from tests.support.saga.processes import PATIENCE


@pytest.fixture(params=["threads", "async"])
def style(request):
    return request.param


def outcomes(calls, style="threads", concurrency=4):
    pending = RemoteCalls(concurrency, style).start(calls)
    assert pending.wait(PATIENCE)
    return pending.outcomes()


def as_called(style, function):
    """Return the function as a remote function of this style: a coroutine, or one that blocks."""

    async def called():
        return function()

    return called if style == "async" else function


def sleeping(style, seconds):
    """Return a call that takes so long."""
    return (lambda: asyncio.sleep(seconds, "slept")) if style == "async" else lambda: time.sleep(seconds) or "slept"


def waiting(style):
    """Return a call that hangs, and a function that ends it."""
    over = threading.Event()

    async def waits():
        await asyncio.to_thread(over.wait, PATIENCE)

    return (waits if style == "async" else lambda: over.wait(PATIENCE)), over.set


def test_a_provider_that_is_away_is_not_asked_a_whole_batch_long(style):
    """The rest has the outcome of those who asked: unknown, to be asked for again."""
    asked = set()

    def away(number):
        asked.add(number)
        raise TryAgain("away")

    found = outcomes([as_called(style, lambda n=number: away(n)) for number in range(500)], style)
    assert {str(outcome).rpartition(": ")[2] for outcome in found} == {"away"}
    assert CIRCUIT_BREAKER_THRESHOLD <= len(asked) < CIRCUIT_BREAKER_THRESHOLD + 10


def test_answers_in_between_are_a_reason_to_go_on_asking(style):
    """Losing some answers is no outage: every call is made, and again where its outcome is unknown."""
    tries, lock = dict.fromkeys(range(60), 0), threading.Lock()

    def lossy(number):
        with lock:
            tries[number] += 1
        if number % 5 == 0:
            raise TryAgain(f"lost {number}")
        return number

    found = outcomes([as_called(style, lambda n=number: lossy(n)) for number in range(60)], style)
    assert [outcome for outcome in found if isinstance(outcome, int)] == [n for n in range(60) if n % 5]
    assert all(made == (1 if number % 5 else ATTEMPTS) for number, made in tries.items())


def test_as_many_calls_as_allowed_are_under_way_at_once():
    """Each thread wakes the next: calls that wait for three others in other threads end."""
    together = threading.Barrier(4)
    assert outcomes([lambda: together.wait(PATIENCE) >= 0] * 8) == [True] * 8


def test_a_thousand_calls_wait_at_once_without_a_thread_each():
    """An asynchronous remote function waits in a task: all of them together take little longer than one."""
    before, started = threading.active_count(), time.monotonic()
    pending = RemoteCalls(1_000, "async").start([sleeping("async", 0.2)] * 1_000)
    assert threading.active_count() == before + 1
    assert pending.wait(PATIENCE)
    assert time.monotonic() - started < 5
    assert pending.outcomes() == ["slept"] * 1_000


def test_calls_that_are_answered_together_are_all_made_at_once():
    """As one request they do not count against the concurrency; a batch that leaves places to others still does."""
    calls = RemoteCalls(4, "together")
    for at_most, together in ((None, 100), (2, 2)):
        pending = calls.start([Gate().passed] * 100, at_most)
        assert pending.wait(PATIENCE)
        assert pending.outcomes() == [together] * 100


class Gate:
    """Opens once a turn of the event loop, for all who wait there then; each learns how many they were."""

    def __init__(self):
        self.waiting = []

    async def passed(self):
        here = asyncio.get_running_loop().create_future()
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.open)
        self.waiting.append(here)
        return await here

    def open(self):
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.set_result(len(waiting))


def test_no_more_calls_than_allowed_are_under_way_at_once(style):
    """Also where there are many more calls than threads, and in two batches at once."""
    under_way, lock = [0, 0], threading.Lock()

    def counted(by):
        with lock:
            under_way[0] += by
            under_way[1] = max(under_way)

    async def task():
        counted(1)
        await asyncio.sleep(0.001)
        counted(-1)

    def thread():
        counted(1)
        time.sleep(0.001)
        counted(-1)

    calls = RemoteCalls(4, style)
    for batch in [calls.start([task if style == "async" else thread] * 50) for _ in range(2)]:
        assert batch.wait(PATIENCE)
    assert under_way == [0, 4]


def test_outcomes_are_in_the_order_of_the_calls(style):
    """They are made in any order; an error is the outcome of the call that raised it."""

    def numbered(number):
        if number % 7 == 0:
            raise ValueError(number)
        return number

    found = outcomes([as_called(style, lambda n=number: numbered(n)) for number in range(50)], style)
    assert [each.args[0] if isinstance(each, ValueError) else each for each in found] == list(range(50))


def test_a_batch_that_is_abandoned_starts_no_further_call(style):
    """A worker that shuts down does not wait for them."""
    made, lock = [], threading.Lock()
    hangs, end = waiting(style)

    def counted():
        with lock:
            made.append(1)
        return hangs()

    pending = RemoteCalls(2, style).start([counted] * 100)
    started = time.monotonic()
    while len(made) < 2:
        assert time.monotonic() - started < PATIENCE
        time.sleep(0.01)
    pending.abandon()
    end()
    assert pending.wait(0.2) is False
    assert len(made) == 2


def test_who_was_not_asked_any_more_is_told_from_who_was_asked(style):
    """Nobody is to take the rest of the batch for refused."""

    def away():
        raise TryAgain("away")

    found = outcomes([as_called(style, away)] * 100, style)
    assert sum(not isinstance(outcome, NotMade) for outcome in found) < CIRCUIT_BREAKER_THRESHOLD + 10


def test_many_refused_ones_side_by_side_are_no_outage(style):
    """Calls are made in any order: the answers in between are heard of."""

    def refused():
        raise TryAgain("refused")

    found = outcomes([as_called(style, refused)] * 20 + [as_called(style, lambda: "answer")] * 180, style)
    assert found[20:].count("answer") == 180


def test_a_call_that_hangs_is_not_waited_for_by_those_that_were_answered(style):
    """It is overdue after a second, where all others took a moment; its outcome is unknown."""
    hangs, end = waiting(style)
    pending = RemoteCalls(4, style).start([hangs, *[as_called(style, lambda: "answer")] * 9])
    assert not pending.wait(0.1)
    assert not pending.overdue(than_earlier=False), "too soon"
    started = time.monotonic()
    while not pending.overdue(than_earlier=False):
        assert time.monotonic() - started < PATIENCE
        pending.wait(0.05)
    hanging, *answered = pending.outcomes()
    end()
    assert isinstance(hanging, NoAnswerYet)
    assert isinstance(hanging, UNKNOWN_OUTCOME)
    assert answered == ["answer"] * 9


def test_a_call_that_hangs_alone_is_compared_with_those_before_it(style):
    """An order about which the provider is silent, alone in its batch, holds up its worker for a second."""
    calls = RemoteCalls(4, style)
    assert calls.start([as_called(style, lambda: "answer")]).wait(PATIENCE)
    hangs, end = waiting(style)
    pending = calls.start([hangs])
    assert not pending.wait(0.1)
    assert not pending.overdue(than_earlier=True), "too soon"
    pending.wait(1.0)
    assert not pending.overdue(than_earlier=False), "an order that is retried by itself waits for its answer"
    assert pending.overdue(than_earlier=True)
    assert isinstance(pending.outcomes()[0], NoAnswerYet)
    end()


def test_a_provider_that_becomes_slow_is_waited_for_from_its_first_late_answer_on(style):
    calls = RemoteCalls(4, style)
    assert calls.start([as_called(style, lambda: "answer")]).wait(PATIENCE)
    late, end = waiting(style)
    pending = calls.start([late])
    pending.wait(1.2)
    assert pending.overdue(than_earlier=True), "it was quick before"
    end()
    assert pending.wait(PATIENCE)
    slowly, end = waiting(style)
    pending = calls.start([slowly])
    pending.wait(1.2)
    assert not pending.overdue(than_earlier=True)
    end()
    assert pending.wait(PATIENCE)


def test_calls_that_are_all_slow_are_waited_for(style):
    """A slow provider is none that hangs: nothing is overdue as long as nothing is answered, or all take as long."""
    slowly, end = waiting(style)
    pending = RemoteCalls(4, style).start([slowly] * 4)
    pending.wait(1.5)
    assert not pending.overdue(than_earlier=True)
    end()
    assert pending.wait(PATIENCE)


def test_a_batch_may_leave_places_to_others(style):
    """Parked orders about which somebody is asked leave half of the calls to all others."""
    (hangs, end), calls = waiting(style), RemoteCalls(4, style)
    calls.start([hangs] * 10, at_most=2)
    for _ in range(20):
        pending = calls.start([as_called(style, lambda: "answer")] * 10)
        assert pending.wait(PATIENCE / 2)
    end()


def test_a_coroutine_that_is_cancelled_from_within_has_an_unknown_outcome():
    """What it did is not known; the other calls are made."""

    async def cancelled():
        raise asyncio.CancelledError

    found = outcomes([cancelled, *[as_called("async", lambda: "answer")] * 9], "async", concurrency=1)
    assert isinstance(found[0], TryAgain)
    assert found[1:] == ["answer"] * 9


@pytest.mark.parametrize("style", ["threads", "async"])
def test_a_call_that_ends_in_any_way_has_an_outcome(style):
    """Else its batch would be waited for as long as the worker runs, and every later one of its thread."""

    def leaves():
        sys.exit("out of here")

    calls = RemoteCalls(1, style)
    for _ in range(2):
        pending = calls.start([as_called(style, leaves), as_called(style, lambda: "answer")])
        assert pending.wait(PATIENCE)
        assert sorted(map(str, pending.outcomes())) == ["answer", "the call raised SystemExit: out of here"]


def test_a_coroutine_that_is_cancelled_while_it_waits_to_be_made_again_has_an_unknown_outcome():
    async def is_cancelled_soon():
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
        raise TryAgain("busy")

    [found] = outcomes([is_cancelled_soon], "async")
    assert isinstance(found, TryAgain)
    assert "cancelled" in str(found)


def test_a_task_of_the_calls_own_that_leaves_the_loop_ends_no_other_call():
    async def leaves_from_a_task():
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(sys.exit))

    [left, answered] = outcomes([leaves_from_a_task, as_called("async", lambda: "answer")], "async")
    assert "SystemExit" in str(left)
    assert answered == "answer"


@pytest.mark.parametrize(("error", "unknown"), [(ConnectionError("reset"), True), (ValueError("a bug"), False)])
def test_a_group_of_tasks_has_the_outcome_of_its_errors(error, unknown):
    async def in_a_group():
        async def fails():
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    [found] = outcomes([in_a_group], "async")
    assert isinstance(found, TryAgain) is unknown


def test_a_coroutine_of_a_service_that_calls_inline_is_a_mistake_and_no_answer():
    """Whoever takes it for the answer would go on without any call."""
    [found] = outcomes([as_called("async", lambda: "answer")], "inline")
    assert "asynchronous" in str(found)
    assert isinstance(found, TypeError)


def test_a_coroutine_on_a_thread_ends_or_fails():
    """A thread has no event loop: what needs one has failed, and holds up nobody."""

    async def waits():
        await asyncio.sleep(1)

    async def lets_others_run():
        await asyncio.sleep(0)
        return "answer"

    *answered, failed = outcomes([*[lets_others_run] * 5, waits])
    assert answered == ["answer"] * 5
    assert str(failed) == "no running event loop"


HANGING = """
import asyncio
from eventbus.engine.calling import RemoteCalls
pending = RemoteCalls(10, "async").start([lambda: asyncio.sleep(600)] * 20)
assert not pending.wait(0.2)
"""


def test_a_coroutine_that_hangs_keeps_no_process_from_exiting():
    """Nor does it say anything then."""
    command = [sys.executable, "-c", HANGING]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_calls_that_cannot_block_are_made_by_the_caller():
    """No thread is woken: it would take longer than the call. Outcomes are in the order of the calls, as ever."""
    pending = RemoteCalls(4, "inline").start([lambda n=n: (n, threading.get_ident()) for n in range(50)])
    assert pending.wait(0)
    assert pending.outcomes() == [(n, threading.get_ident()) for n in range(50)]


def test_an_outage_ends_a_batch_of_inline_calls_too():
    """Else a thousand calls would each be tried again before the worker reads on."""
    asked = []

    def away():
        asked.append(1)
        raise TryAgain("away")

    pending = RemoteCalls(32, "inline").start([away] * 500)
    assert len(asked) <= CIRCUIT_BREAKER_THRESHOLD * ATTEMPTS + 1
    assert {type(outcome) for outcome in pending.outcomes()} == {TryAgain, NotMade}


def test_inline_calls_that_fail_are_made_again_like_all_others():
    """One lost answer among many: it is asked for again, and the calls after it are made."""
    tries = dict.fromkeys(range(30), 0)

    def lossy(number):
        tries[number] += 1
        if number == 20 and tries[number] < 3:
            raise ConnectionError
        if number == 10:
            raise ValueError(number)
        return number

    pending = RemoteCalls(32, "inline").start([lambda n=number: lossy(n) for number in range(30)])
    assert pending.wait(0)
    found = pending.outcomes()
    assert isinstance(found[10], ValueError)
    assert found[:10] + found[11:] == [*range(10), *range(11, 30)]
    assert tries == {**dict.fromkeys(range(30), 1), 20: 3}
