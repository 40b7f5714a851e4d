"""One run of a program on a backlog: how long it took, and how much of the processors."""

from __future__ import annotations

import bisect
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

SAMPLE_SECONDS = 0.02


class Stretch(NamedTuple):
    """A part of a run: so many events, and what they took."""

    events: int
    seconds: float
    cpu_seconds: float
    """Of all threads of the process, and of all processors."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time an event."""
        return self.cpu_seconds / self.events * 1e6


class Run(NamedTuple):
    """From the first batch to the last commit; and the second half of it, which has no start-up costs."""

    whole: Stretch
    half: Stretch

    @classmethod
    def told(cls, said: Mapping[str, Any]) -> Run:
        """Return what a program has printed of its run."""
        return cls(Stretch(**said["whole"]), Stretch(**said["half"]))


class ProcessorTime:
    """The processor time of another process, at any moment that it was watched."""

    def __init__(self, pid: int) -> None:
        self._clock = (~pid << 3) | 2  # what clock_getcpuclockid(3) returns on Linux
        self._samples: list[tuple[float, float]] = []

    def sample(self) -> None:
        """Note what it has used by now; only Linux tells."""
        used = time.clock_gettime(self._clock) if sys.platform == "linux" else math.nan
        self._samples.append((time.time(), used))

    def between(self, begun: float, ended: float) -> float:
        """Return the seconds used between two moments (seconds since 1970). The process must still be there."""
        self.sample()
        return self._at(ended) - self._at(begun)

    def _at(self, moment: float) -> float:
        after = bisect.bisect(self._samples, (moment,))
        if not 0 < after < len(self._samples):
            raise ValueError(f"{moment} is not between {self._samples[0]} and {self._samples[-1]}")
        (earlier, less), (later, more) = self._samples[after - 1 : after + 1]
        return less + (more - less) * (moment - earlier) / (later - earlier)


@contextmanager
def processor_time(pid: int) -> Iterator[ProcessorTime]:
    """Watch a process, which must outlive this."""
    watched, over = ProcessorTime(pid), threading.Event()

    def watch() -> None:
        with suppress(OSError):  # it has ended; who waits for it sees that
            watched.sample()
            while not over.wait(SAMPLE_SECONDS):
                watched.sample()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        over.set()
        thread.join()
