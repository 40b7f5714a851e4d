"""Wall clocks that somebody sets while a worker runs; the monotonic clock goes on as before.

A host's clock is set wrong, and right again later (NTP after an outage, a virtual machine that was moved). So a moment
that a worker kept in its database may lie an hour in the future.
"""

from __future__ import annotations

from typing import Protocol

JUMPS = {"an hour ahead": 3_600.0, "an hour behind": -3_600.0}
"""Seconds by which a clock is off."""


class Time(Protocol):
    """Who knows the true time: the simulation."""

    now: float


class Clocks:
    """The wall clock of each worker's host, by the worker's name; a worker that is started again finds it as it was."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._off: dict[str, float] = {}

    def now_ms(self, worker: str) -> int:
        """Return what the worker takes for the time, in milliseconds."""
        return round((self._time.now + self._off.get(worker, 0.0)) * 1000)

    def jump(self, worker: str, seconds: float) -> None:
        """Set a worker's clock, so many seconds off; 0 is right."""
        self._off[worker] = seconds
