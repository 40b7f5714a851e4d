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
    return worker(ground, "payment_service", events, events, "--gateway", gateway)


def worker(ground: Ground, module: str, events: int, answers: int, *arguments: str) -> Run:
    """Let a worker consume this many events, and publish this many."""
    with ground.worker(module, *arguments) as running, processor_time(running.pid) as used:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (done := handled(running.log)).published < answers or done.consumed < events:
            if time.monotonic() > deadline or not running.running:
                raise RuntimeError(f"{done} of {events}: {running.log[-2000:]}")
            time.sleep(0.5)
        middle, before = done.middle
        whole = Stretch(events, done.seconds, used.between(done.begun, done.ended))
        half = Stretch(events - before, done.ended - middle, used.between(middle, done.ended))
    done = handled(running.log)
    if (done.consumed, done.published) != (events, answers):
        raise RuntimeError(f"{done} of {events} events and {answers} answers: each must be there once")
    return Run(whole, half if half.events else whole)


def textbook(ground: Ground, events: int, orders: Amounts | None = None) -> Run:
    """Let the textbook loop empty the backlog into a topic of its own, and check its answers to these orders."""
    file = f"{ground.folder}/{uuid.uuid4().hex}.db"
    return textbook_loop(ground, events, orders, "tests.bench.textbook", "--file", file)


def textbook_loop(ground: Ground, events: int, orders: Amounts | None, module: str, *arguments: str) -> Run:
    """Do so with the loop in this module."""
    name = f"textbook-{uuid.uuid4().hex[:8]}"
    ground.admin.create([name], PARTITIONS)
    try:
        told = json.loads(
            ground.run(
                module,
                *("--bootstrap-servers", ground.bootstrap_servers, "--group", name, "--sink", name),
                *("--events", str(events), *arguments),
                seconds=PATIENCE_SECONDS,
            )
        )
        if orders is not None:
            check(ground.admin, name, orders)
    finally:
        ground.admin.remove([name])
    return Run.told(told)
