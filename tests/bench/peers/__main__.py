"""Measures the payment service beside other Python frameworks on one backlog, in turns: `make bench-peers`."""

from __future__ import annotations

import json
import subprocess
import tempfile
import uuid
from pathlib import Path

import click

from tests.bench import workload
from tests.bench.ground import PARTITIONS, Ground
from tests.bench.payment import IN_MEMORY, service, textbook
from tests.bench.report import lines, median, surroundings
from tests.support.brokers import any_broker
from tests.support.brokers.kafka_node import NoBroker

HERE = Path(__file__).parent
PEERS = {
    "aiokafka, exactly once": "aiokafka_loop.py",
    "bytewax, at least once": "bytewax_flow.py",
    "FastStream, at least once": "faststream_app.py",
    "Quix Streams, exactly once": "quixstreams_app.py",
}
SECONDS = 300


@click.command(context_settings={"show_default": True})
@click.option(
    "--python", type=click.Path(exists=True, dir_okay=False), required=True, help="Of the peers' environment."
)
@click.option("--events", type=click.IntRange(1), default=50_000, help="Backlog of order.created.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Runs of each, in turns.")
def main(python: str, events: int, rounds: int) -> None:
    """Charge a backlog with each: read Avro, charge in memory, a row in SQLite (FULL), write Avro.

    Only the payment service has guards, headers, a checkpoint and an outbox. Each has one process and one event loop.

    Example: python -m tests.bench.peers --python .venv/peers/bin/python --rounds 1
    """
    try:
        broker = any_broker().start()
    except NoBroker as why:
        raise click.ClickException(str(why)) from why
    try:
        click.echo(lines("surroundings", surroundings(broker.bootstrap_servers, own=broker.host_ports is not None)))
        with tempfile.TemporaryDirectory(prefix="saga-peers-") as folder:
            ground = Ground(broker.bootstrap_servers, Path(folder))
            ground.fresh()
            workload.publish_backlog(broker.bootstrap_servers, events)
            rates: dict[str, list[float]] = {}
            for number in range(rounds):
                for name, rate in _round(ground, python, events).items():
                    rates.setdefault(name, []).append(rate)
                click.echo(f"  round {number + 1}: " + ", ".join(f"{n} {r[-1]:,.0f}/s" for n, r in rates.items()))
    finally:
        broker.stop()
    click.echo(lines("events/s, medians", {name: round(median(found)) for name, found in rates.items()}))


def _round(ground: Ground, python: str, events: int) -> dict[str, float]:
    ground.fresh(topics=False)
    rates = {
        "payment-service, exactly once": service(ground, events, IN_MEMORY),
        "textbook loop": textbook(ground, events),
    }
    return rates | {name: _peer(ground, python, script, events) for name, script in PEERS.items()}


def _peer(ground: Ground, python: str, script: str, events: int) -> float:
    name = f"{Path(script).stem.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
    ground.admin.create([name], PARTITIONS)
    where = ("--bootstrap-servers", ground.bootstrap_servers, "--group", name, "--sink", name)
    run = [python, str(HERE / script), *where, "--file", f"{ground.folder}/{name}.db", "--events", str(events)]
    try:
        done = subprocess.run(run, capture_output=True, text=True, timeout=SECONDS, check=False)
    finally:
        ground.admin.remove([name])
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr[-2000:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return float(told["events"] / told["seconds"])


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.peers")
