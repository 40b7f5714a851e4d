"""Named steps at which a worker can be made to crash or to hang, to test both on a real broker.

`SAGA_FAILPOINT=STEP[:N]` in a worker's environment: it kills itself (SIGKILL) when it reaches that step for the Nth
time, by default the first. STEP is one of STEPS, e.g. `SAGA_FAILPOINT="before database commit:3"`. For tests:
`make crash-matrix` does it at every step of every service. With `STEP:N:hang` it blocks there and never returns, as a
call of a client library can. Without the variable no step is checked or counted.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

VARIABLE = "SAGA_FAILPOINT"

UNDER_WAY = {
    "remote under way": 0.010,
    "during database commit": 0.003,
    "during offsets": 0.002,
    "during commit": 0.004,
}
"""Steps that are calls: the worker dies at a random time, at most this many seconds after the call began."""

STEPS = (
    *("assigned", "recovering", "claiming", "claimed", "quarantined", "recovered", "before seek"),
    *("polled", "accepted", "taken"),
    *("before remote", "remote under way", "remote done"),
    *("compared", "before save", "after save"),
    *("before database commit", "during database commit", "after database commit"),
    *("parking", "parked", "retrying", "unparking", "unparked"),
    *("deadlines found", "deadlines set again"),
    *("before begin", "begun", "produced", "during offsets", "offsets sent"),
    *("before commit", "during commit", "committed", "published"),
    *("tidying", "tidied"),
    *("revoked", "revoked and published"),
    *("closing", "closing and published", "leaving", "left"),
)
"""Every step that the engine and the log report by calling `at`."""


class BadFailpoint(ValueError):
    """The variable has an unknown step or kind, or an invalid count."""


def failpoint(spec: str | None, log: Any) -> Callable[[str], None]:
    """Return the function to call at each step; raises BadFailpoint. A failpoint that is set is logged as a warning."""
    if not spec:
        return lambda _step: None
    step, _, rest = spec.partition(":")
    times, _, kind = rest.partition(":")
    if step not in STEPS:
        raise BadFailpoint(f"{VARIABLE}={spec}: unknown step {step!r}; the steps are {', '.join(STEPS)}")
    if times and not (times.isdecimal() and int(times) > 0):
        raise BadFailpoint(f"{VARIABLE}={spec}: {times!r} is not a number of times, 1 or more")
    if kind not in KINDS:
        raise BadFailpoint(f"{VARIABLE}={spec}: unknown kind {kind!r}; write STEP:N, or STEP:N:hang")
    what, act = KINDS[kind]
    log.warning("failpoint.set", step=step, times=int(times or 1), why=f"{VARIABLE} is set: this worker will {what}")
    return Failpoint(step, int(times or 1), act, timed=not kind).at


class Failpoint:
    """Counts how often its step is reached, and calls `die` at the Nth time."""

    def __init__(self, step: str, times: int, die: Callable[[], Any], *, timed: bool = True) -> None:
        """`timed`: at a step that is a call, `die` is called at a random moment after the call began."""
        self._step, self._left, self._die = step, times, die
        self._longest = UNDER_WAY.get(step) if timed else None
        self._timer: threading.Timer | None = None

    def at(self, step: str) -> None:
        """Record that a step is reached. A step after a call means that the call has ended: its timer is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if step != self._step:
            return
        self._left -= 1
        if self._left > 0:
            return
        if self._longest is None:
            self._die()
            return
        self._timer = threading.Timer(random.uniform(0, self._longest), self._die)  # noqa: S311 - any moment will do
        self._timer.daemon = True
        self._timer.start()


def _kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _hang() -> NoReturn:
    while True:
        time.sleep(3600)


KINDS: dict[str, tuple[str, Callable[[], Any]]] = {"": ("kill itself", _kill), "hang": ("hang", _hang)}
