"""Measures the payment service beside Kafka Streams and Python frameworks, in turns: `make bench-peers`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from tests.bench import workload
from tests.bench.answers import placed
from tests.bench.ground import Ground
from tests.bench.peers.programs import Program, Task, programs
from tests.bench.report import lines, load, median, surroundings
from tests.bench.run import Run
from tests.support.brokers.for_commands import started_broker
from tests.support.brokers.maven import Missing

TEXTBOOK = "textbook loop"
HEAD = (
    "| | events/s | / textbook | processor time, us an event | events/s with the start | guarantee |",
    "|---|---|---|---|---|---|",
)
Runs = dict[str, list[Run]]


@click.command(context_settings={"show_default": True})
@click.option(
    "--python", type=click.Path(exists=True, dir_okay=False), required=True, help="Of the peers' environment."
)
@click.option(
    "--flechtwerk-python",
    type=click.Path(exists=True, dir_okay=False),
    help="Of Flechtwerk's environment, which needs Python 3.13; without it Flechtwerk is left out.",
)
@click.option("--peer", "chosen", multiple=True, help="Only this beside the textbook loop (streams, say); repeatable.")
@click.option("--events", type=click.IntRange(1), default=100_000, help="Backlog of order.created.")
@click.option("--rounds", type=click.IntRange(1), default=5, help="Runs of each, in turns.")
def main(python: str, flechtwerk_python: str | None, chosen: tuple[str, ...], events: int, rounds: int) -> None:
    """Charge a backlog with each: read Avro, charge in memory, keep a row for each order, write Avro.

    The rows are in SQLite (FULL); Kafka Streams and Flechtwerk keep theirs in their own RocksDB. Only the payment
    service has guards, headers, a checkpoint and an outbox. Each has one process, and one thread or event loop of its
    own that decides. A read_committed consumer checks every answer. The figures are those of the second half of the
    backlog, which does not include start-up costs; Kafka Streams works it off several times in one JVM.

    Example: python -m tests.bench.peers --python .venv/peers/bin/python --peer payment-service --peer streams
    """
    everyone = programs(python, flechtwerk_python)
    if unknown := set(chosen) - set(everyone):
        raise click.UsageError(f"there is no peer {', '.join(sorted(unknown))}: {', '.join(everyone)}")
    measured = {name: one for name, one in everyone.items() if not chosen or name in (*chosen, "textbook")}
    with started_broker() as broker:
        click.echo(lines("surroundings", surroundings(broker.bootstrap_servers, own=broker.host_ports is not None)))
        with tempfile.TemporaryDirectory(prefix="saga-peers-") as folder:
            ground = Ground(broker.bootstrap_servers, Path(folder))
            ground.fresh()
            workload.publish_backlog(broker.bootstrap_servers, events)
            task, runs = Task(ground, placed(ground.admin)), Runs()
            for number in range(rounds):
                click.echo(f"round {number + 1}, load {load()}")
                _round(task, measured, runs)
    guarantees = {row: said for one in measured.values() for row, said in one.rows.items()}
    click.echo("\n".join(table(runs, guarantees)))


def _round(task: Task, measured: Mapping[str, Program], runs: Runs) -> None:
    for one in measured.values():
        try:
            done = one.run(task)
        except Missing as why:
            click.echo(f"  without {', '.join(one.rows)}: {why}")
            continue
        for row, run in zip(one.rows, done, strict=True):
            runs.setdefault(row, []).append(run)
            whole, half = run
            click.echo(f"  {row}: {half.rate:,.0f}/s, {half.cpu_us:.1f} us; from the start {whole.rate:,.0f}/s")


def table(runs: Mapping[str, Sequence[Run]], guarantees: Mapping[str, str]) -> list[str]:
    """Return the medians, fastest first, as the lines of a Markdown table; ratios are those of medians."""
    rates = {row: median([run.half.rate for run in done]) for row, done in runs.items()}
    cpu_us = {row: median([run.half.cpu_us for run in done]) for row, done in runs.items()}
    whole = {row: median([run.whole.rate for run in done]) for row, done in runs.items()}
    fastest = sorted(rates, key=lambda row: -rates[row])
    cells = [
        (row, f"{rates[row]:,.0f}", f"{rates[row] / rates[TEXTBOOK]:.2f}", f"{cpu_us[row]:.1f}", f"{whole[row]:,.0f}")
        for row in fastest
    ]
    return [*HEAD, *(f"| {' | '.join((*cell, guarantees[cell[0]]))} |" for cell in cells)]


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.peers")
