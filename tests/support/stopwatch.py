"""How long something took of its own accord: what the machine kept from running does not count."""

from __future__ import annotations

import os
import time
from pathlib import Path

PRESSURE = Path("/proc/pressure")
TICKS = os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """Measures seconds, from when it is made. Promises like "within 10 s" are held against it.

    The kernel tells how long somebody has waited for a CPU or for the disk, and what the host took away from this
    machine (/proc/pressure, and "steal" in /proc/stat). That is subtracted: a wait that the code itself makes (a pause,
    a time-out, a session) still counts in full, a machine that is busy or stands still does not. Where the kernel does
    not tell, all time counts.
    """

    def __init__(self) -> None:
        self._began, self._held = time.monotonic(), _held()

    @property
    def held(self) -> float:
        """Seconds that the machine kept somebody waiting meanwhile."""
        return _held() - self._held

    @property
    def seconds(self) -> float:
        """Seconds without those."""
        return max(0.0, time.monotonic() - self._began - self.held)


def _held() -> float:
    return sum(_pressure(name) for name in ("cpu", "io")) + _stolen()


def _pressure(name: str) -> float:
    """Return in how many seconds since the start of the machine somebody waited for this (psi.rst)."""
    try:
        [some] = [line for line in (PRESSURE / name).read_text().splitlines() if line.startswith("some ")]
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1_000_000


def _stolen() -> float:
    """Return how long the host ran something else, in seconds of all CPUs (proc_stat(5))."""
    try:
        cpus = Path("/proc/stat").read_text().partition("\n")[0].split()
    except OSError:
        return 0.0
    return int(cpus[8]) / TICKS
