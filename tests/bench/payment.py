"""The payment service on a deep backlog, and the textbook loop on the same one, in turns."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

from tests.bench import workload
from tests.bench.answers import Amounts, check
from tests.bench.ground import PARTITIONS, Ground, handled
from tests.bench.report import Figures, median
from tests.bench.run import Run, Stretch, processor_time

IN_MEMORY = "simulated://"
PATIENCE_SECONDS = 300
Say = Callable[[str], None]


def payment(ground: Ground, events: int, rounds: int, say: Say) -> Figures:
    """Return events/s of both and their ratio: from the first batch to the last commit, by each process's own clock."""
    ground.fresh()
    workload.publish_backlog(ground.bootstrap_servers, events)
    runs: dict[str, list[float]] = {"service": [], "textbook": [], "service, ledger in a file": []}
    for number in range(rounds):
        ground.fresh(topics=False)
        runs["service"].append(service(ground, events, IN_MEMORY).whole.rate)
        runs["textbook"].append(textbook(ground, events).whole.rate)
        say(
            f"  round {number + 1}: " + ", ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in runs.items() if rates)
        )
    ground.fresh(topics=False)
    runs["service, ledger in a file"].append(
        service(ground, events, f"simulated:///{ground.folder}/provider.db").whole.rate
    )
    figures: Figures = {f"{name}, events/s": round(median(rates)) for name, rates in runs.items()}
    ratios = [service / textbook for service, textbook in zip(runs["service"], runs["textbook"], strict=True)]
    return figures | {
        "service / textbook": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "events": events,
        "rounds": rounds,
    }


def service(ground: Ground, events: int, gateway: str) -> Run:
    """Let a worker empty the backlog into payment.charged."""
    with ground.worker("payment_service", "--gateway", gateway) as worker, processor_time(worker.pid) as used:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while handled(worker.log).published < events:
            if time.monotonic() > deadline or not worker.running:
                raise RuntimeError(f"{handled(worker.log)} of {events}: {worker.log[-2000:]}")
            time.sleep(0.5)
        done = handled(worker.log)
        middle, before = done.middle
        whole = Stretch(events, done.seconds, used.between(done.begun, done.ended))
        half = Stretch(events - before, done.ended - middle, used.between(middle, done.ended))
    done = handled(worker.log)
    if (done.consumed, done.published) != (events, events):
        raise RuntimeError(f"{done} of {events} events: each must be handled and answered once")
    return Run(whole, half if half.events else whole)


def textbook(ground: Ground, events: int, orders: Amounts | None = None) -> Run:
    """Let the textbook loop empty the backlog into a topic of its own, and check its answers to these orders."""
    name = f"textbook-{uuid.uuid4().hex[:8]}"
    ground.admin.create([name], PARTITIONS)
    try:
        told = json.loads(
            ground.run(
                "tests.bench.textbook",
                *("--bootstrap-servers", ground.bootstrap_servers, "--group", name, "--sink", name),
                *("--file", f"{ground.folder}/{name}.db", "--events", str(events)),
                seconds=PATIENCE_SECONDS,
            )
        )
        if orders is not None:
            check(ground.admin, name, orders)
    finally:
        ground.admin.remove([name])
    return Run.told(told)
