"""Lets the faults of a timeline happen, each at its time in a thread of its own, some alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet
from tests.chaos.timeline import AFTERMATH_SECONDS, ALONE, ALONE_SECONDS, BACK_SECONDS, PlannedFault

LOOK_SECONDS = 0.5


class Schedule:
    """One clock for all faults. It stands still while one that is alone takes longer than the timeline keeps for it."""

    def __init__(self, faults: Faults, fleet: Fleet) -> None:
        self.late = 0.0
        """By so many seconds it takes longer than planned, so far."""
        self._faults, self._fleet = faults, fleet
        self._threads: list[threading.Thread] = []

    def begin(self, timeline: Iterable[PlannedFault]) -> None:
        """Start the clock."""
        self._spawn(threading.Thread(target=self._follow, args=(list(timeline),), daemon=True))

    @property
    def over(self) -> bool:
        """Whether every fault has happened, and everything is as it was before."""
        return not any(thread.is_alive() for thread in list(self._threads))

    def _follow(self, timeline: Iterable[PlannedFault]) -> None:
        start = time.monotonic()
        for fault in timeline:
            time.sleep(max(0.0, start + self.late + fault.at - time.monotonic()))
            if fault.how == ALONE:
                self._alone(fault)
            else:
                self._spawn(threading.Thread(target=self._faults.make, args=(fault,), daemon=True))

    def _spawn(self, thread: threading.Thread) -> None:
        thread.start()
        self._threads.append(thread)

    def _alone(self, fault: PlannedFault) -> None:
        """Wait until nothing else is felt any more, and let nothing else begin before everybody is back."""
        began = time.monotonic()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        time.sleep(AFTERMATH_SECONDS if self._faults.happened else 0)
        self._faults.make(fault)
        until, is_back = time.monotonic() + BACK_SECONDS, self._fleet.watch_work()
        while time.monotonic() < until and not is_back():
            time.sleep(LOOK_SECONDS)
        self.late += max(0.0, time.monotonic() - began - ALONE_SECONDS)
