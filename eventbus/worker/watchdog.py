"""A thread that ends the process when one step takes far too long.

librdkafka's send_offsets_to_transaction can block for minutes, whatever timeout it is given: it waits for a group
coordinator that has left the cluster's metadata, and ignores its timeout (confluentinc/librdkafka#5456, #5511).
Python cannot interrupt it, and the client's own threads keep sending heartbeats, so the group keeps the stuck member.
Recovery handles a process that ends at any step: the supervisor starts the next one, and nothing is lost.

Only time in which this thread itself ran counts. A process that was stopped (SIGSTOP, a suspended virtual machine) or
starved is not ended for it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

EXIT_CODE = 8
"""The exit code of a process that the watchdog ends."""
TICK_SECONDS = 0.5
TIMES = 3
"""A step may take this many times its own limit..."""
MOST_SECONDS = 30.0
"""...but never longer than this."""
LEAST_LIMIT = 4.0
"""The smallest limit of a call: even a short call can take this long on a busy host."""
STEP_LIMIT = 8.0
"""The limit from one named step of the engine to the next, outside calls that have a limit of their own."""
LOG_SECONDS = 2.0
"""How long writing the last log line may take: the reader of the log may be what hangs."""


class Awake:
    """Measures the time in which this process ran: a gap between two calls counts for at most two ticks."""

    def __init__(self, clock: Callable[[], float], tick: float) -> None:
        self._clock, self._most = clock, 2 * tick
        self._at = clock()

    def elapsed(self) -> float:
        """Return how many of the seconds since the last call count."""
        before, self._at = self._at, self._clock()
        return min(max(0.0, self._at - before), self._most)


@dataclass(frozen=True, slots=True)
class WatchedStep:
    """What a thread is doing. Each begin and end of a step makes a new object, so another object means progress."""

    name: str
    limit: float


class Steps:
    """The steps of one thread, which reports here what it is doing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread = threading.get_ident()
        self.now: WatchedStep | None = None
        self._watched = WatchedStep("nothing", 0.0)
        self._seconds = 0.0

    def reach(self, name: str) -> None:
        """Report that this step is reached; the next one must follow within STEP_LIMIT."""
        self.now = WatchedStep(name, STEP_LIMIT)

    @contextmanager
    def step(self, name: str, limit: float) -> Iterator[None]:
        """Report that `name` is running inside this context; it should take `limit` seconds at most."""
        outer = self.now
        self.now = WatchedStep(name, max(limit, LEAST_LIMIT))
        try:
            yield
        finally:
            self.now = outer and WatchedStep(outer.name, outer.limit)

    def rest(self) -> None:
        """Report that no step is running."""
        self.now = None

    def age(self, seconds: float) -> tuple[WatchedStep, float] | None:
        """Add the seconds that have passed; return the running step and how long it has been running, or None."""
        now = self.now
        if now is None or now is not self._watched:
            self._watched, self._seconds = now or self._watched, 0.0
        else:
            self._seconds += seconds
        return (now, self._seconds) if now else None


def most(step: WatchedStep) -> float:
    """Return how many seconds a step may take before the process ends."""
    return min(TIMES * step.limit, MOST_SECONDS)


class Watchdog:
    """Checks the steps of several threads. `log` is a structlog logger."""

    def __init__(
        self, log: Any, *, end: Callable[[], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._end, self._clock = log, end or _end, clock
        self._awake = Awake(clock, TICK_SECONDS)
        self._threads: list[Steps] = []
        self.overdue: str | None = None
        """Which step exceeds its limit, as a sentence; /livez reports it before the process ends."""

    def watch(self, name: str) -> Steps:
        """Return the steps of the thread that calls this, watched from now on."""
        steps = Steps(name)
        self._threads.append(steps)
        return steps

    def start(self) -> None:
        """Check every TICK_SECONDS, until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> NoReturn:
        while True:
            time.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Check once."""
        seconds = self._awake.elapsed()
        overdue = None
        for steps in list(self._threads):
            aged = steps.age(seconds)
            if aged is None:
                continue
            step, age = aged
            if age > step.limit:
                overdue = f"{steps.name}: {step.name!r} has taken {age:.0f} s, its limit is {step.limit:g} s"
            if age > most(step):
                self.overdue = overdue
                self._give_up(steps, step, age)
                return
        self.overdue = overdue

    def _give_up(self, steps: Steps, step: WatchedStep, age: float) -> None:
        why = (
            f"{step.name!r} has taken {age:.1f} s, its limit is {step.limit:g} s, and it cannot be interrupted."
            " This process ends; start it again: nothing is lost"
        )
        fields = {
            "thread": steps.name,
            "step": step.name,
            "seconds": round(age, 1),
            "limit": step.limit,
            "why": why,
            "stack": _stack(steps),
        }
        writing = threading.Thread(target=lambda: self._log.critical("worker.stuck", **fields), daemon=True)
        writing.start()
        writing.join(LOG_SECONDS)
        self._end()


def _stack(steps: Steps) -> str:
    """Return the stack of a thread, the innermost call last."""
    frame = sys._current_frames().get(steps.thread)  # noqa: SLF001 - there is no other way
    summary = traceback.extract_stack(frame) if frame else []
    return "".join(traceback.format_list(summary))


def _end() -> NoReturn:
    os._exit(EXIT_CODE)
