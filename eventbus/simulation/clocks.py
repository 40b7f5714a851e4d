"""Wall clocks that jump while a worker runs; the monotonic clock does not.

A host's clock is set wrong, and corrected later (NTP after an outage, a virtual machine that was migrated). So a time
that a worker stored in its database may be an hour in the future.
"""

from __future__ import annotations

from typing import Protocol

JUMPS = {"an hour ahead": 3_600.0, "an hour behind": -3_600.0}
"""Seconds by which a clock is off."""


class Time(Protocol):
    """The source of the true time: the simulation."""

    now: float


class Clocks:
    """The wall clock of each worker's host, by the worker's name; a restart of the worker does not change it."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._off: dict[str, float] = {}

    def now_ms(self, worker: str) -> int:
        """Return the time by the worker's wall clock, in milliseconds."""
        return round((self._time.now + self._off.get(worker, 0.0)) * 1000)

    def jump(self, worker: str, seconds: float) -> None:
        """Set a worker's clock this number of seconds off; 0 is correct."""
        self._off[worker] = seconds
