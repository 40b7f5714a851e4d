"""Runs the matrix."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click

from eventbus.worker.failpoints import STEPS
from saga.commands.exits import stoppable
from tests.bench.report import surroundings
from tests.crash_matrix import report
from tests.crash_matrix.cells import Cell, cells, small
from tests.crash_matrix.ground import ORDERS_A_GROUND, Ground
from tests.crash_matrix.run import Outcome, run
from tests.support.brokers.admin import Admin
from tests.support.brokers.for_commands import started_broker
from tests.support.saga import SERVICES

SAGA_NAMES = ("order.", "payment.", "inventory.", "order-service", "payment-service", "inventory-service")

IN_FLIGHT = "So many in flight; 0: what people decided instead. By default 1, 500 and 0."


@click.command(context_settings={"show_default": True})
@click.option("--service", "services", type=click.Choice(SERVICES), multiple=True, help="Only this; may be repeated.")
@click.option("--step", "steps", type=click.Choice(STEPS), multiple=True, help="Only this; may be repeated.")
@click.option("--orders", type=click.IntRange(0), multiple=True, help=IN_FLIGHT)
@click.option("--small", "as_small", is_flag=True, help="The cut that CI runs; the other options are not looked at.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the report here, too."
)
def main(
    *,
    services: tuple[str, ...],
    steps: tuple[str, ...],
    orders: tuple[int, ...],
    as_small: bool,
    json_file: Path | None,
) -> None:
    """Kill workers at every step of every service, start them again, and check the laws.

    On the broker at KAFKA_BOOTSTRAP_SERVERS, else on one that is started and removed again. Exit 1 when a law is
    broken, a step was not reached, or a worker was not back in time.

    Example: python -m tests.crash_matrix --service payment_service --step committed --orders 1
    """
    wanted = small() if as_small else list(cells(services, steps, orders))
    with started_broker() as broker:
        used = [name for name in Admin(broker.bootstrap_servers).everything() if name.startswith(SAGA_NAMES)]
        if used:
            raise click.ClickException(f"the broker already has {', '.join(sorted(used)[:3])}: use another one")
        outcomes = crash(wanted, broker.bootstrap_servers)
        under = surroundings(broker.bootstrap_servers, own=broker.host_ports is not None)
    click.echo("\n".join(report.as_text(outcomes)))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(outcomes, under), indent=1) + "\n", encoding="utf-8")
    raise SystemExit(report.failed(outcomes))


def crash(wanted: Iterable[Cell], bootstrap_servers: str) -> list[Outcome]:
    """Run these cells one after another; what breaks a law is not carried over into the next cell."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="saga-crashes-") as folder:
        ground = Ground(bootstrap_servers, Path(folder))
        try:
            for cell in wanted:
                if ground.placed >= ORDERS_A_GROUND or (outcomes and outcomes[-1].violations):
                    ground.renew()
                outcomes.append(run(cell, ground))
                click.echo(f"{len(outcomes):4} {cell}: {_said(outcomes[-1])}", err=True)
        finally:
            ground.end()
    return outcomes


def _said(outcome: Outcome) -> str:
    if outcome.violations:
        return f"{len(outcome.violations)} VIOLATIONS: {outcome.violations[0]}"
    back = outcome.progress
    return ("killed" if outcome.reached else "NOT REACHED") + (f", back after {back:.2f} s" if back else "")


if __name__ == "__main__":
    with stoppable():
        main(prog_name="python -m tests.crash_matrix")
