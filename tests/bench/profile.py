"""Where the processor time of a service goes, stage by stage, on a backlog on a real broker: `make profile`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tests.bench import workload
from tests.bench.ground import Ground, Handled, handled
from tests.bench.payment import IN_MEMORY, PATIENCE_SECONDS
from tests.bench.report import lines, surroundings
from tests.bench.run import processor_time
from tests.bench.stages import ONCE, STAGES
from tests.support.brokers.for_commands import started_broker
from tests.support.saga.processes import Worker

ARGUMENTS = {"order_service": (), "payment_service": ("--gateway", IN_MEMORY), "inventory_service": ()}
EVENTS_AN_ORDER = {"order_service": 1, "payment_service": 1, "inventory_service": 2}
"""The inventory service consumes order.created and payment.charged."""


@click.command(context_settings={"show_default": True})
@click.argument("service", type=click.Choice(["payment", "inventory", "order"]))
@click.option("--orders", type=click.IntRange(1), default=50_000, help="Whose events are the backlog.")
def main(service: str, orders: int) -> None:
    """Show the main thread's processor time and waiting an event, for each stage of an event's life.

    The waiting is what the wall clock shows beyond the processor time: for Kafka, the disk, a thread, a busy machine.

    Example: python -m tests.bench.profile payment --orders 20000
    """
    module = f"{service}_service"
    with started_broker() as broker:
        click.echo(lines("surroundings", surroundings(broker.bootstrap_servers, own=broker.host_ports is not None)))
        with tempfile.TemporaryDirectory(prefix="saga-profile-") as folder:
            ground = Ground(broker.bootstrap_servers, Path(folder))
            _prepare(ground, module, orders)
            file = ground.folder / "profile.json"
            ground.env |= {"PROFILED_SERVICE": module, "PROFILE_FILE": str(file)}
            done, cpu_seconds = _emptied(ground, "tests.bench.profiled", ARGUMENTS[module], orders)
            spent = json.loads(file.read_text(encoding="utf-8"))
    expected = orders * EVENTS_AN_ORDER[module]
    if (done.consumed, done.published) != (expected, orders):
        raise click.ClickException(f"{expected} events and {orders} answers were expected: {done[:2]}")
    click.echo("\n".join(table(f"{service}-service", spent, done.consumed)))
    rate, cpu_us = done.consumed / done.seconds, cpu_seconds / done.consumed * 1e6
    click.echo(f"{done.consumed:,} events, {rate:,.0f}/s; {cpu_us:.1f} us of processor time an event in all threads")


def _prepare(ground: Ground, module: str, orders: int) -> None:
    """Let the other services write what the one to be measured consumes."""
    ground.fresh()
    if module == "order_service":
        ground.import_orders(orders)
        _emptied(ground, module, (), orders)
    else:
        workload.publish_backlog(ground.bootstrap_servers, orders)
    if module != "payment_service":
        ground.load_stock()
        _emptied(ground, "payment_service", ARGUMENTS["payment_service"], orders)
    if module == "order_service":
        _emptied(ground, "inventory_service", (), orders)


def _emptied(ground: Ground, module: str, arguments: tuple[str, ...], answers: int) -> tuple[Handled, float]:
    """Run a worker until it has published so many; return what it did, and the seconds of processor time of that."""
    with ground.worker(module, *arguments) as worker:
        with processor_time(worker.pid) as used:
            _wait(worker, answers)
        done = handled(worker.log)
        return done, used.between(done.begun, done.ended)


def _wait(worker: Worker, answers: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while handled(worker.log).published < answers:
        if time.monotonic() > deadline or not worker.running:
            raise RuntimeError(f"{handled(worker.log)[:2]} of {answers} answers: {worker.log[-2000:]}")
        time.sleep(0.5)


def table(title: str, spent: Mapping[str, Any], events: int) -> list[str]:
    """Return the stages with their microseconds an event, as the lines of a Markdown table."""
    cpu = {stage.step: spent["cpu"].get(stage.step, 0) for stage in STAGES}
    wall = {stage.step: spent["wall"].get(stage.step, 0) for stage in STAGES}
    ours = [stage.step for stage in STAGES if stage is not ONCE]
    rows = [(stage.step, cpu[stage.step], wall[stage.step], stage.what) for stage in STAGES]
    rows.append(("**all**", sum(cpu[step] for step in ours), sum(wall[step] for step in ours), ""))
    return [f"| {title} | us | waiting, us | what is in it |", "|---|---|---|---|"] + [
        f"| {step} | {ran / events / 1000:.1f} | {max(0, took - ran) / events / 1000:.1f} | {what} |"
        for step, ran, took, what in rows
    ]


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.profile")
