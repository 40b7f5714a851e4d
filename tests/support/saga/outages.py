"""What every outage must leave as it was, and how long the tests let one last."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import pytest

from tests.support.saga import SESSION, Saga
from tests.support.saga.processes import Worker
from tests.support.stopwatch import Stopwatch

SECONDS = float(os.environ.get("OUTAGE_SECONDS", "0"))
"""How long outages last: `make outages` sets a minute. Without it each test takes what shows it."""
LONG = pytest.mark.skipif(not SECONDS, reason="takes longer: make outages")
NORMAL_AGAIN_SECONDS = 30.0
"""So soon after the end of an outage nothing that was placed before it waits any more."""
LINES_A_SECOND = 2.0
"""What a worker says at most during an outage, a minute's average; each kind of line comes every few seconds."""


def lasting(seconds: float) -> float:
    """Return how long an outage is to last that takes at least so many seconds to show."""
    return max(SECONDS, seconds)


def busy(saga: Saga, orders: int = 600) -> list[Worker]:
    """Start a worker of each service and return them when the work on so many new orders has begun to end."""
    saga.stock(cd_1=1_000_000)
    workers = saga.start_all(*SESSION)
    saga.in_the_middle("busy", orders, "cd-1")
    return workers


class Endured:
    """Watches workers through an outage: made when it begins; then `wait()`, and `over(saga)` when it has ended."""

    def __init__(self, workers: Iterable[Worker], seconds: float) -> None:
        self._workers, self._seconds = list(workers), lasting(seconds)
        self._before = {worker.name: worker.log.count("\n") for worker in self._workers}
        self._began = time.monotonic()

    def wait(self) -> None:
        """Let the outage last; everybody stays alive all the time."""
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            assert [worker.get("/livez") for worker in self._workers] == [(200, "ok\n")] * len(self._workers)
            time.sleep(0.5)
        for worker in self._workers:
            said = worker.log.count("\n") - self._before[worker.name]
            most = 30 + LINES_A_SECOND * (time.monotonic() - self._began)
            assert said < most, f"{worker.name} said {said} lines: {worker.log[-3000:]}"

    def over(self, saga: Saga, *check: str) -> None:
        """Wait until all is well, in time: everything has ended, and no lag is left."""
        again = Stopwatch()
        saga.until(lambda: not saga.pending(), "not every order had ended")
        saga.until(self._no_lag, "something stays unread")
        took = again.seconds
        print(f"normal again after {took:.1f} s, outage of {self._seconds:.0f} s")
        assert took < NORMAL_AGAIN_SECONDS
        saga.settle(*check)
        assert all(worker.running for worker in self._workers)
        assert all(not worker.events("record.dead_lettered") for worker in self._workers)

    def _no_lag(self) -> bool:
        return all(worker.metric("saga_consumer_lag_records") == 0 for worker in self._workers)
