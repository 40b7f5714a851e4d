"""What one order in trouble costs the others: their latency beside it, on one partition, and without it."""

from __future__ import annotations

from contextlib import nullcontext

from tests.bench.ground import Ground
from tests.bench.latency import Taken, taken
from tests.bench.report import Figures, percentile
from tests.chaos.refusals import refusing

UNLUCKY_TOTAL = 66_601
"""Minor units; no other order costs as much."""
PERCENT = (50, 95, 99)


def parked(ground: Ground, rate: float, seconds: float, rounds: int) -> Figures:
    """Return percentiles in ms of orders beside one that fails for so many seconds, and of a clean run, in turns."""
    runs: dict[str, list[float]] = {"clean": [], "beside one in trouble": []}
    for _ in range(rounds):
        for name, others in runs.items():
            run = _run(ground, rate, seconds, trouble=name != "clean")
            others.extend(run.milliseconds[1:])
            if name != "clean" and run.unlucky < 1_000 * seconds / 2:
                raise RuntimeError(f"the order that was to be in trouble was not: {run.unlucky} ms")
    figures: Figures = {
        f"{name}: p{percent}, ms": round(percentile(values, percent), 1)
        for name, values in runs.items()
        for percent in PERCENT
    }
    slower = percentile(runs["beside one in trouble"], 95) / percentile(runs["clean"], 95) - 1
    return figures | {"p95 slower by, percent": round(100 * slower, 1), "orders": len(runs["clean"])}


def _run(ground: Ground, rate: float, seconds: float, *, trouble: bool) -> Taken:
    ground.fresh(partitions=1)
    ground.load_stock()
    ground.run("payment_service", "ledger")  # makes the tables
    url = ground.env["PAYMENT_SERVICE_DATABASE"]
    refused = refusing(url, "payment-service", f"new.amount = {UNLUCKY_TOTAL}") if trouble else nullcontext()
    return taken(ground, rate, seconds, unlucky_total=UNLUCKY_TOTAL, while_placing=refused)
