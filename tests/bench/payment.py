"""The payment service on a deep backlog, and the textbook loop on the same one, in turns."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

from tests.bench import workload
from tests.bench.ground import PARTITIONS, Ground, handled
from tests.bench.report import Figures, median

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
        runs["service"].append(service(ground, events, IN_MEMORY))
        runs["textbook"].append(textbook(ground, events))
        say(
            f"  round {number + 1}: " + ", ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in runs.items() if rates)
        )
    ground.fresh(topics=False)
    runs["service, ledger in a file"].append(service(ground, events, f"simulated:///{ground.folder}/provider.db"))
    figures: Figures = {f"{name}, events/s": round(median(rates)) for name, rates in runs.items()}
    ratios = [service / textbook for service, textbook in zip(runs["service"], runs["textbook"], strict=True)]
    return figures | {
        "service / textbook": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "events": events,
        "rounds": rounds,
    }


def service(ground: Ground, events: int, gateway: str) -> float:
    return worker(ground, "payment_service", events, events, "--gateway", gateway)


def worker(ground: Ground, module: str, events: int, answers: int, *arguments: str) -> float:
    """Run a worker until all events are answered; return how many it consumed a second."""
    with ground.worker(module, *arguments) as running:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (done := handled(running.log)).published < answers or done.consumed < events:
            if time.monotonic() > deadline or not running.running:
                raise RuntimeError(f"{done} of {events}: {running.log[-2000:]}")
            time.sleep(0.5)
    done = handled(running.log)
    if (done.consumed, done.published) != (events, answers):
        raise RuntimeError(f"{done} of {events} events and {answers} answers: each must be there once")
    return events / done.seconds


def textbook(ground: Ground, events: int) -> float:
    return textbook_loop(ground, events, "tests.bench.textbook", "--file", f"{ground.folder}/{uuid.uuid4().hex}.db")


def textbook_loop(ground: Ground, events: int, module: str, *arguments: str) -> float:
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
    finally:
        ground.admin.remove([name])
    return float(told["events"] / told["seconds"])
