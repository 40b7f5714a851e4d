"""The remote calls of a batch: when each is made, made again, or given up. Who makes them is in calling.py."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from eventbus.engine.backoff import Backoff
from eventbus.service import TryAgain, Unasked

Call = Callable[[], Any]
"""Returns the outcome, or an awaitable of it."""
Sleep = Callable[[float], Awaitable[None]]
UNKNOWN_OUTCOME = (TryAgain, ConnectionError, TimeoutError)
"""Exceptions that mean an unknown outcome: the call is retried indefinitely with the same idempotency key."""
ATTEMPTS = 4
"""Immediate attempts; after that the engine pauses the partition and retries later."""
CIRCUIT_BREAKER_THRESHOLD = 8
"""After this many consecutive unknown outcomes (or `concurrency`, if more) the remaining calls are not made."""
QUICK_SECONDS = 1.0
BACKOFF = Backoff(0.03, 1.0, random.random)
OVERDUE_SECONDS, OVERDUE_FACTOR = 1.0, 3.0
"""A call is overdue if it takes longer than OVERDUE_SECONDS, and than OVERDUE_FACTOR times the slowest answered one.

That is the slowest of its batch; if none of its batch is answered, the slowest of the last ANSWERS, late ones included:
when a provider has become slow, each late answer makes the calls after it wait for as long.
"""
ANSWERS = 100


class NotMade(TryAgain):
    """The call was not made because too many others had an unknown outcome; its own outcome is open."""


class NoAnswerYet(TryAgain):
    """The call takes much longer than others took, and those of its batch do not wait for it."""


def reason(error: BaseException) -> str:
    """Return why a call or a handler failed: the sentence of a TryAgain, of others the type too."""
    said = str(error)
    return said if said and isinstance(error, TryAgain) else f"{type(error).__name__}: {said}"


class Calls(Protocol):
    """The port through which the engine makes remote calls."""

    concurrency: int
    """The maximum number of calls in progress at once."""

    def start(self, calls: Sequence[Call], at_most: int | None = None) -> Pending:
        """Start all calls, at most `at_most` of them at once; returns immediately."""


class Pending(Protocol):
    """Calls in progress."""

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; return whether all calls have ended."""

    def overdue(self, *, than_earlier: bool) -> bool:
        """Return whether all calls have started and every one still in progress takes much longer than the others.

        `than_earlier`: if no call of this batch is answered, compare with those of earlier batches.
        """

    def outcomes(self) -> list[Any]:
        """Return one result per call, in the order of the calls; a call that raised has its exception as the result."""

    def abandon(self) -> None:
        """Start no further calls; those in progress run to their end and their results are ignored."""


class CallBatch:
    """The calls that are left of a batch, after those with `results`; any number of threads or tasks may `work` on it.

    `sleep` pauses the one that awaits it: a thread sleeps, a task lets others run. `took` is how long the last answers
    took, in seconds, of all batches.
    """

    def __init__(
        self, calls: Sequence[Call], workers: int, sleep: Sleep, took: deque[float], results: Sequence[Any] = ()
    ) -> None:
        self._took = took
        self._threshold = max(CIRCUIT_BREAKER_THRESHOLD, workers)
        self._sleep = sleep
        self._unknown_in_a_row = 0
        self._given_up: Exception | None = None
        in_any_order = list(enumerate(calls[len(results) :], len(results)))
        random.shuffle(in_any_order)  # a few neighbouring calls that fail must not look like an outage
        self._results = [
            *results,
            *[NoAnswerYet("there is no answer yet, and others took much less time")] * len(in_any_order),
        ]
        self._queue = deque(in_any_order)
        self._under_way: dict[int, float] = {}
        self._slowest: float | None = None
        self._left = len(in_any_order)
        self._lock = threading.Lock()
        self._done = threading.Event()
        if not self._left:
            self._done.set()

    async def work(self, first_taken: Callable[[], object]) -> None:
        """Make calls until none is left; `first_taken` is called once there is a call to make."""
        made = 0
        while True:
            try:
                number, call = self._queue.popleft()
            except IndexError:
                break
            if not made:
                first_taken()
            self._results[number] = self._given_up or await self._made(number, call)
            made += 1
        with self._lock:
            self._left -= made
            if self._left <= 0:
                self._done.set()

    async def _made(self, number: int, call: Call) -> Any:
        """Make the call; after too many consecutive unknown outcomes the provider is down, and the rest is not made."""
        self._under_way[number] = began = time.monotonic()
        outcome = await self._outcome(call)
        if isinstance(outcome, UNKNOWN_OUTCOME):
            self._unknown_in_a_row += 1
            if self._unknown_in_a_row >= self._threshold:
                self._given_up = NotMade(
                    f"the call was not made because {self._threshold} others had an unknown outcome: {outcome}"
                )
        elif not isinstance(outcome, Unasked):
            self._unknown_in_a_row = 0
            seconds = time.monotonic() - began
            self._slowest = max(self._slowest or 0.0, seconds)
            self._took.append(seconds)
        del self._under_way[number]
        return outcome

    async def _outcome(self, call: Call) -> Any:
        """Return what the call returns or raises, whatever that is: a call without an outcome would never end."""
        try:
            return await self._attempts(call)
        except asyncio.CancelledError:
            return TryAgain("the call was cancelled from within")  # nobody else cancels one
        except Exception as error:  # noqa: BLE001 - an outcome like any other, handled by the engine
            return error
        except BaseException as error:  # noqa: BLE001 - sys.exit in a call
            return RuntimeError(f"the call raised {type(error).__name__}: {error}")

    async def _attempts(self, call: Call) -> Any:
        """Make the call, again while its outcome is unknown and it fails quickly: a lost response costs no delay."""
        started = time.monotonic()
        for attempt in itertools.count(1):
            try:
                answer = call()
                return await answer if hasattr(answer, "__await__") else answer
            except UNKNOWN_OUTCOME as error:
                last: Exception = error
            except ExceptionGroup as group:  # of a TaskGroup
                if group.split(UNKNOWN_OUTCOME)[1] is not None:
                    raise
                last = TryAgain(str(group.exceptions[0]))
            if attempt == ATTEMPTS or time.monotonic() - started > QUICK_SECONDS:
                raise last
            await self._sleep(BACKOFF.seconds(attempt))
        raise AssertionError

    def wait(self, timeout: float) -> bool:
        """See Pending."""
        return self._done.wait(timeout)

    def overdue(self, *, than_earlier: bool) -> bool:
        """See Pending."""
        slowest = self._slowest
        if slowest is None and than_earlier:
            slowest = max(list(self._took), default=None)
        if slowest is None or self._queue:
            return False
        began = time.monotonic() - max(OVERDUE_SECONDS, OVERDUE_FACTOR * slowest)
        left = list(self._under_way.values())
        return bool(left) and max(left) < began

    def outcomes(self) -> list[Any]:
        """See Pending."""
        return list(self._results)

    def abandon(self) -> None:
        """See Pending."""
        self._queue.clear()
