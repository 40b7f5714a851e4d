"""How fast one, two and four payment workers empty a backlog where a slow provider, not a processor, is the limit."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.bench import workload
from tests.bench.ground import Ground, handled
from tests.bench.payment import PATIENCE_SECONDS, Say
from tests.bench.report import Figures, median

GATEWAY = "simulated://?latency-ms=20"
CONCURRENCY = "4"
"""Calls at once of each worker: 200 events a second at most, a fraction of a processor."""
WORKERS = (1, 2, 4)


def workers(ground: Ground, events: int, rounds: int, say: Say) -> Figures:
    """Return events/s by number of workers, from the first batch of any to the last commit, and the ratios to one."""
    ground.fresh()
    workload.publish_backlog(ground.bootstrap_servers, events)
    runs: dict[int, list[float]] = {count: [] for count in WORKERS}
    for number in range(rounds):
        for count in WORKERS:
            ground.fresh(topics=False)
            runs[count].append(_rate(ground, events, count))
        say(f"  round {number + 1}: " + ", ".join(f"{count}: {rates[-1]:,.0f}/s" for count, rates in runs.items()))
    figures: Figures = {f"{count} workers, events/s": round(median(rates)) for count, rates in runs.items()}
    for count in WORKERS[1:]:
        ratios = [many / one for many, one in zip(runs[count], runs[1], strict=True)]
        figures[f"{count} workers / 1"] = round(median(ratios), 2)
    return figures | {"events": events, "rounds": rounds}


def _rate(ground: Ground, events: int, count: int) -> float:
    """Start the workers together, and measure from when all have partitions: how fast they start is not asked here."""
    arguments = ("--gateway", GATEWAY, "--remote-concurrency", CONCURRENCY)
    with ExitStack() as stack:
        started = [
            stack.enter_context(ground.worker("payment_service", "--instance", str(number), *arguments))
            for number in range(count)
        ]
        for worker in started:
            worker.wait_ready()
        done, begun = sum(handled(worker.log).published for worker in started), time.monotonic()
        while (published := sum(handled(worker.log).published for worker in started)) < events:
            if time.monotonic() - begun > PATIENCE_SECONDS:
                raise RuntimeError(f"{published} of {events} after {PATIENCE_SECONDS} s")
            time.sleep(0.2)
        return (events - done) / (time.monotonic() - begun)
