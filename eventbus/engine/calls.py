"""Remote calls of a batch: many at once, on threads that are independent of the engine."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from eventbus.engine.backoff import Backoff
from eventbus.service import TryAgain, Unasked

Call = Callable[[], Any]
UNKNOWN_OUTCOME = (TryAgain, ConnectionError, TimeoutError)
"""Exceptions that mean an unknown outcome: the call is retried indefinitely with the same idempotency key."""
ATTEMPTS = 4
"""Immediate attempts; after that the engine pauses the partition and retries later."""
CIRCUIT_BREAKER_THRESHOLD = 8
"""After this many consecutive unknown outcomes (or `concurrency`, if more) the remaining calls are not made."""
QUICK_SECONDS = 1.0
BACKOFF = Backoff(0.03, 1.0, random.random)
OVERDUE_SECONDS, OVERDUE_FACTOR = 1.0, 3.0
"""A call is overdue if it takes longer than OVERDUE_SECONDS, and than OVERDUE_FACTOR times the slowest answered one."""


class NotMade(TryAgain):
    """The call was not made because too many others had an unknown outcome; its own outcome is open."""


class NoAnswerYet(TryAgain):
    """The call takes much longer than the others of its batch, which do not wait for it."""


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

    def overdue(self) -> bool:
        """Return whether all calls have started and every one still in progress takes much longer than the others."""

    def outcomes(self) -> list[Any]:
        """Return one result per call, in the order of the calls; a call that raised has its exception as the result."""

    def abandon(self) -> None:
        """Start no further calls; those in progress run to their end and their results are ignored."""


class _CallBatch:
    def __init__(self, calls: Sequence[Call], concurrency: int, call_for_help: Callable[[_CallBatch], None]) -> None:
        self._threshold = max(CIRCUIT_BREAKER_THRESHOLD, concurrency)
        self._call_for_help, self._helpers = call_for_help, min(concurrency, len(calls)) - 1
        self._unknown_in_a_row = 0
        self._given_up: Exception | None = None
        self._results: list[Any] = [NoAnswerYet("there is no answer yet")] * len(calls)
        in_any_order = list(enumerate(calls))
        random.shuffle(in_any_order)  # a few neighbouring calls that fail must not look like an outage
        self._queue = deque(in_any_order)
        self._under_way: dict[int, float] = {}
        self._slowest: float | None = None
        self._left = len(calls)
        self._lock = threading.Lock()
        self._done = threading.Event()

    def work(self) -> None:
        """Make calls until none is left; each thread wakes the next, so that quick calls do not wake idle threads."""
        made = 0
        while True:
            try:
                number, call = self._queue.popleft()
            except IndexError:
                break
            if not made and self._helpers:
                self._helpers -= 1
                self._call_for_help(self)
            self._results[number] = self._given_up or self._made(number, call)
            made += 1
        with self._lock:
            self._left -= made
            if self._left <= 0:
                self._done.set()

    def _made(self, number: int, call: Call) -> Any:
        """Make the call; after too many consecutive unknown outcomes the provider is down, and the rest is not made."""
        self._under_way[number] = began = time.monotonic()
        outcome = _outcome(call)
        if isinstance(outcome, UNKNOWN_OUTCOME):
            self._unknown_in_a_row += 1
            if self._unknown_in_a_row >= self._threshold:
                self._given_up = NotMade(
                    f"the call was not made because {self._threshold} others had an unknown outcome: {outcome}"
                )
        elif not isinstance(outcome, Unasked):
            self._unknown_in_a_row = 0
            self._slowest = max(self._slowest or 0.0, time.monotonic() - began)
        del self._under_way[number]
        return outcome

    def wait(self, timeout: float) -> bool:
        return self._done.wait(timeout)

    def overdue(self) -> bool:
        if self._slowest is None or self._queue:
            return False
        began = time.monotonic() - max(OVERDUE_SECONDS, OVERDUE_FACTOR * self._slowest)
        left = list(self._under_way.values())
        return bool(left) and max(left) < began

    def outcomes(self) -> list[Any]:
        return list(self._results)

    def abandon(self) -> None:
        self._queue.clear()


def _outcome(call: Call) -> Any:
    """Make the call, a few times while its outcome is unknown and it fails quickly: a lost response costs no delay."""
    started = time.monotonic()
    for attempt in itertools.count(1):
        try:
            return call()
        except UNKNOWN_OUTCOME as error:
            if attempt == ATTEMPTS or time.monotonic() - started > QUICK_SECONDS:
                return error
            time.sleep(BACKOFF.seconds(attempt))
        except Exception as error:  # noqa: BLE001 - an outcome like any other, handled by the engine
            return error
    raise AssertionError


class RemoteCalls:
    """A pool of threads; `concurrency` is the most that one batch uses. With `inline` the caller makes its calls.

    The threads are daemons: a call that hangs must not keep a worker from exiting. The worker that handles the event
    next repeats the call with the same idempotency key.
    """

    def __init__(self, concurrency: int, *, inline: bool = False) -> None:
        self.concurrency, self._inline = concurrency, inline
        self._batches: SimpleQueue[_CallBatch] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, calls: Sequence[Call], at_most: int | None = None) -> Pending:
        """See Calls."""
        if self._inline:
            made = _CallBatch(calls, 1, self._batches.put)
            made.work()
            return made
        batch = _CallBatch(calls, min(at_most or self.concurrency, self.concurrency), self._batches.put)
        wanted = min(self.concurrency, len(calls))
        while len(self._threads) < wanted:
            thread = threading.Thread(target=self._work, name=f"remote-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._batches.put(batch)
        return batch

    def _work(self) -> None:
        while True:
            self._batches.get().work()
