"""What watching costs the saga: its throughput beside a tracker and a page that stand still, are killed, or busy."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.ground import Ground
from tests.bench.report import Figures, median
from tests.bench.saga import saga

WATCHERS = {"tracker": ("track",), "page": ("ui", "--port", "0")}
CONDITIONS = ("alone", "stopped", "killed", "busy")
"""Nobody watches; both stand still (SIGSTOP); both are killed while orders flow; both follow, on the same cores."""
START_SECONDS = 60.0
KILL_SECONDS = 1.5
"""After so long with orders under way."""


def watched(ground: Ground, orders: int, rounds: int) -> Figures:
    """Return orders/s under each condition, in turns, and the ratio of the medians; the laws judge each run."""
    runs: dict[str, list[int]] = {condition: [] for condition in CONDITIONS}
    saga(ground, orders)  # a broker that was just started is slow
    for _ in range(rounds):
        for condition, rates in runs.items():
            rates.append(saga(ground, orders, beside=_watching(ground, condition))["orders/s"])
            ground.run("saga", "check", "--finished")
    alone = median(runs["alone"])
    ratios = {f"{condition} / alone": round(median(rates) / alone, 3) for condition, rates in runs.items()}
    return {f"{condition}: orders/s": rates for condition, rates in runs.items()} | ratios


@contextmanager
def _watching(ground: Ground, condition: str) -> Iterator[None]:
    if condition == "alone":
        yield
        return
    watchers = [_started(ground, *watcher) for watcher in WATCHERS.items()]
    timer = threading.Timer(KILL_SECONDS, _tell, (watchers, signal.SIGKILL))
    try:
        if condition == "stopped":
            _tell(watchers, signal.SIGSTOP)
        elif condition == "killed":
            timer.start()
        yield
        ended = [watcher.poll() for watcher in watchers]
        if ended != [-signal.SIGKILL if condition == "killed" else None] * len(watchers):
            raise RuntimeError(f"{condition}, but the watchers ended with {ended}")
    finally:
        timer.cancel()
        _tell(watchers, signal.SIGKILL)


def _started(ground: Ground, name: str, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start one, and wait until it follows: its database is there then."""
    file = ground.folder / f"{name}.db"
    run = [sys.executable, "-m", "saga", *arguments]
    with (ground.folder / f"{name}.log").open("wb") as log:
        watcher = subprocess.Popen(run, env=ground.env | {"SAGA_TRACKER": str(file)}, stdout=log, stderr=log)
    until = time.monotonic() + START_SECONDS
    while not file.exists():
        if watcher.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the {name} did not start: {(ground.folder / f'{name}.log').read_text()}")
        time.sleep(0.1)
    return watcher


def _tell(watchers: list[subprocess.Popen[bytes]], what: signal.Signals) -> None:
    for watcher in watchers:
        watcher.send_signal(what)
