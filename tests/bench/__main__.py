"""Measures the saga on a real broker."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from tests.bench.deadlines import deadlines
from tests.bench.ground import SERVICES, Ground
from tests.bench.latency import latency
from tests.bench.memory import memory
from tests.bench.parked import parked
from tests.bench.payment import payment
from tests.bench.postgres import postgres
from tests.bench.report import Figures, lines, load, surroundings
from tests.bench.saga import saga
from tests.bench.watched import watched
from tests.bench.workers import workers
from tests.support.brokers.admin import Admin
from tests.support.brokers.for_commands import started_broker

PARTS = ("payment", "postgres", "saga", "latency", "parked", "watched", "memory", "workers", "deadlines")


@click.command(context_settings={"show_default": True})
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only this; may be repeated.")
@click.option("--payment-events", type=click.IntRange(1), default=50_000, help="Backlog for payment and postgres.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Runs of what is compared, in turns.")
@click.option("--saga-orders", type=click.IntRange(1), default=10_000)
@click.option("--rate", type=click.FloatRange(0.1), default=20.0, help="Orders a second, for latency and parked.")
@click.option("--busy-rate", type=click.FloatRange(0.1), default=500.0, help="The second rate of latency.")
@click.option("--seconds", type=click.FloatRange(1), default=30.0, help="How long, for latency and parked.")
@click.option(
    "--parked-rounds", type=click.IntRange(1), default=2, help="Clean runs and runs beside trouble, in turns."
)
@click.option("--workers-events", type=click.IntRange(1), default=6_000, help="Backlog of one, two and four workers.")
@click.option("--due", type=click.IntRange(1), default=20_000, help="Deadlines that are over, for deadlines.")
@click.option("--due-rate", type=click.FloatRange(0.1), default=100.0, help="Deadlines that come due a second.")
@click.option("--pending", type=click.IntRange(1), default=1_000_000, help="Deadlines that are far away.")
@click.option("--memory-events", type=click.IntRange(1), default=100_000)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here, too."
)
def main(parts: tuple[str, ...], json_file: Path | None, **sizes: float) -> None:
    """Measure, on the broker at KAFKA_BOOTSTRAP_SERVERS, else on one that is started and removed again.

    Example: python -m tests.bench --part payment --payment-events 10000 --rounds 3
    """
    with started_broker() as broker:
        _refuse_used(broker.bootstrap_servers)
        figures = _measure(broker.bootstrap_servers, parts or PARTS, sizes, own=broker.host_ports is not None)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _refuse_used(bootstrap_servers: str) -> None:
    used = [
        name for name in Admin(bootstrap_servers).everything() if name.startswith((*SERVICES, "order.", "payment."))
    ]
    if used:
        raise click.ClickException(f"{bootstrap_servers} already has {', '.join(sorted(used)[:3])}: use another broker")


def _measure(bootstrap_servers: str, parts: tuple[str, ...], sizes: dict[str, float], *, own: bool) -> Figures:
    all_figures: Figures = {"surroundings": surroundings(bootstrap_servers, own=own)}
    click.echo(lines("surroundings", all_figures["surroundings"]))
    with tempfile.TemporaryDirectory(prefix="saga-bench-") as folder:
        ground = Ground(bootstrap_servers, Path(folder))
        for part in parts:
            click.echo(f"{part} ...")
            before = load()
            figures = _one(part, ground, sizes) | {"load before": before, "load after": load()}
            all_figures[part] = figures
            click.echo(lines(part, figures))
    return all_figures


def _one(part: str, ground: Ground, sizes: dict[str, float]) -> Figures:  # noqa: PLR0911 - one a part
    if part == "payment":
        return payment(ground, int(sizes["payment_events"]), int(sizes["rounds"]), click.echo)
    if part == "postgres":
        return postgres(ground, int(sizes["payment_events"]), int(sizes["rounds"]), click.echo)
    if part == "saga":
        return saga(ground, int(sizes["saga_orders"]))
    if part == "latency":
        return latency(ground, (sizes["rate"], sizes["busy_rate"]), sizes["seconds"])
    if part == "parked":
        return parked(ground, sizes["rate"], sizes["seconds"], int(sizes["parked_rounds"]))
    if part == "workers":
        return workers(ground, int(sizes["workers_events"]), int(sizes["rounds"]), click.echo)
    if part == "deadlines":
        sizes_of = (int(sizes["due"]), sizes["due_rate"], sizes["seconds"], int(sizes["pending"]))
        return deadlines(ground, *sizes_of)
    if part == "watched":
        return watched(ground, int(sizes["saga_orders"]), int(sizes["rounds"]))
    return memory(ground, int(sizes["memory_events"]), click.echo)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
