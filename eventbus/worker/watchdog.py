"""A thread that ends the process when one step takes far too long.

librdkafka's send_offsets_to_transaction can block for minutes whatever timeout it is given: it waits for a group
coordinator that has left the cluster's metadata, and never looks at its timeout (confluentinc/librdkafka#5456, #5511).
Python cannot interrupt it, and the client's own threads go on sending heartbeats, so the group keeps the dead owner.
Recovery is made for a process that ends at any step: the supervisor starts the next one, and nothing is lost.

Only time in which this thread itself ran counts. A process that was stopped (SIGSTOP, a suspended virtual machine) or
starved is not ended for that.
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
"""How a process ends that the watchdog ends."""
TICK_SECONDS = 0.5
TIMES = 3
"""A step may take so many times its own limit..."""
MOST_SECONDS = 30.0
"""...but never longer than this."""
LEAST_LIMIT = 4.0
"""Limits of calls are at least so many seconds: what is given a moment may take a little longer on a busy host."""
STEP_LIMIT = 8.0
"""The limit from one named step of the engine to the next, where nothing else has a limit of its own."""
LOG_SECONDS = 2.0
"""How long writing the last line may take: whoever reads the log may be what hangs."""


class Awake:
    """Sums the time that was lived through: of a gap between two calls, only so much counts as a tick should take."""

    def __init__(self, clock: Callable[[], float], tick: float) -> None:
        self._clock, self._most = clock, 2 * tick
        self._at = clock()

    def elapsed(self) -> float:
        """Return the seconds since the last call that count."""
        before, self._at = self._at, self._clock()
        return min(max(0.0, self._at - before), self._most)


@dataclass(frozen=True, slots=True)
class WatchedStep:
    """What a thread is doing. A new one is made whenever something begins or ends: progress is another object."""

    name: str
    limit: float


class Steps:
    """The steps of one thread, which says what it is doing now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread = threading.get_ident()
        self.now: WatchedStep | None = None
        self._watched = WatchedStep("nothing", 0.0)
        self._seconds = 0.0

    def reach(self, name: str) -> None:
        """This named step is reached; the next one is to follow soon."""
        self.now = WatchedStep(name, STEP_LIMIT)

    @contextmanager
    def step(self, name: str, limit: float) -> Iterator[None]:
        """Within this, `name` is under way, which should take `limit` seconds at most."""
        outer = self.now
        self.now = WatchedStep(name, max(limit, LEAST_LIMIT))
        try:
            yield
        finally:
            self.now = outer and WatchedStep(outer.name, outer.limit)

    def rest(self) -> None:
        """Nothing is under way that has to end."""
        self.now = None

    def age(self, seconds: float) -> tuple[WatchedStep, float] | None:
        """So many more seconds have passed: return what is under way and for how long; None if nothing is."""
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
    """Looks at the steps of some threads. `log` is structlog's."""

    def __init__(
        self, log: Any, *, end: Callable[[], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._end, self._clock = log, end or _end, clock
        self._awake = Awake(clock, TICK_SECONDS)
        self._threads: list[Steps] = []
        self.overdue: str | None = None
        """What takes longer than its limit, in words; for /livez, before the process ends."""

    def watch(self, name: str) -> Steps:
        """Return the steps of the thread that calls this, watched from now on."""
        steps = Steps(name)
        self._threads.append(steps)
        return steps

    def start(self) -> None:
        """Look every TICK_SECONDS, until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> NoReturn:
        while True:
            time.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Look once."""
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
        told = {
            "thread": steps.name,
            "step": step.name,
            "seconds": round(age, 1),
            "limit": step.limit,
            "why": why,
            "stack": _stack(steps),
        }
        writing = threading.Thread(target=lambda: self._log.critical("worker.stuck", **told), daemon=True)
        writing.start()
        writing.join(LOG_SECONDS)
        self._end()


def _stack(steps: Steps) -> str:
    """Return where a thread is, the innermost call last."""
    frame = sys._current_frames().get(steps.thread)  # noqa: SLF001 - there is no other way
    summary = traceback.extract_stack(frame) if frame else []
    return "".join(traceback.format_list(summary))


def _end() -> NoReturn:
    os._exit(EXIT_CODE)
