"""Measures the tracker on a real broker: a backlog, its memory, every query, and how far it is behind a steady flow."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from saga.tracker.installed import MODEL
from saga.tracker.queries import Latest, Tracked, now
from saga.tracker.stats import branches, by_status, paces
from saga.tracker.timeline import timeline
from saga.tracker.wanted import Wanted
from schemas import EVENTS
from tests.bench.report import Figures, lines, load, percentile, surroundings
from tests.bench.tracking_load import Sagas
from tests.support.brokers.admin import Admin
from tests.support.brokers.for_commands import started_broker

PARTITIONS = 12
ROUNDS = 5
SAMPLE_SECONDS = 0.05
TOPICS = [event.topic for event in EVENTS]
TRACK = [sys.executable, "-m", "saga", "track"]
ORDERS = [sys.executable, "-m", "saga", "orders", "--tracker"]


@click.command(context_settings={"show_default": True})
@click.option("--orders", type=click.IntRange(100), default=1_000_000, help="In the backlog.")
@click.option("--rate", type=click.FloatRange(1), default=1_000.0, help="Orders a second, of the steady flow.")
@click.option(
    "--seconds",
    type=click.FloatRange(3),
    default=20.0,
    help="How long it flows; the first and last second are not measured.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here, too."
)
def main(orders: int, rate: float, seconds: float, json_file: Path | None) -> None:
    """Measure, on the broker at KAFKA_BOOTSTRAP_SERVERS, else on one that is started and removed again.

    Example: python -m tests.bench.track --orders 100000
    """
    with started_broker() as broker:
        admin = Admin(broker.bootstrap_servers)
        if set(TOPICS) & admin.topics():
            raise click.ClickException(f"{broker.bootstrap_servers} has orders of its own: use another broker")
        all_figures: Figures = {
            "surroundings": surroundings(broker.bootstrap_servers, own=broker.host_ports is not None)
        }
        try:
            admin.create(TOPICS, PARTITIONS)
            sagas = Sagas(broker.bootstrap_servers, PARTITIONS)
            with tempfile.TemporaryDirectory(prefix="saga-bench-") as folder:
                file = Path(folder) / "tracker.db"
                env = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "SAGA_TRACKER": str(file)}
                sagas.publish(orders)
                for name, part in (
                    ("backlog", lambda: backlog(env, file, sagas.events)),
                    ("queries, ms", lambda: queries(file)),
                    ("steady flow", lambda: flow(env, file, sagas, rate, seconds)),
                ):
                    before = load()
                    all_figures[name] = part() | {"load before": before, "load after": load()}
                    click.echo(lines(name, all_figures[name]))
        finally:
            admin.remove(TOPICS)
    if json_file is not None:
        json_file.write_text(json.dumps(all_figures, indent=2) + "\n", encoding="utf-8")


def backlog(env: dict[str, str], file: Path, events: int) -> Figures:
    """Return events/s of a tracker that may use one core, from its start to its end, and its greatest memory."""
    begun = time.monotonic()
    child = subprocess.Popen([*TRACK, "--no-follow"], env=env, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(child.pid, {max(os.sched_getaffinity(0))})
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    with closing(sqlite3.connect(file)) as database:
        [(tracked,)] = database.execute("select count(*) from events")
        [(orders,)] = database.execute("select count(*) from orders")
    if (child.returncode, tracked) != (0, events):
        raise RuntimeError(f"exit code {child.returncode}, {tracked} of {events} events")
    return {
        "orders": orders,
        "events": events,
        "events/s": round(events / wall),
        "events/s of processor time": round(events / (used.ru_utime + used.ru_stime)),
        "greatest memory, MB": round(used.ru_maxrss * 1024 / 1e6),
        "file, MB": round(file.stat().st_size / 1e6),
    }


def queries(file: Path) -> Figures:
    """Return how long each query takes, in ms: the median of some, on an open file; `saga orders` as a command, too.

    The command's time has the program's start in it; beside its median stands the longest.
    """
    with Tracked.at(file, MODEL) as tracked:
        order = tracked.orders(Wanted(undone="refunded", limit=1))[0]
        asked: dict[str, Callable[[], object]] = {
            "orders": lambda: tracked.orders(Wanted()),
            "orders --status confirmed": lambda: tracked.orders(Wanted(status="confirmed")),
            "orders --status pending --limit 1000": lambda: tracked.orders(Wanted(status="pending", limit=1_000)),
            "orders --stuck --older-than 1s": lambda: tracked.orders(Wanted(stuck_since=now() - 1_000)),
            "orders --waiting-on payment-service": lambda: tracked.orders(Wanted(waiting_on="payment-service")),
            "orders --waiting-on inventory-service": lambda: tracked.orders(Wanted(waiting_on="inventory-service")),
            "orders --customer": lambda: tracked.orders(Wanted(customer=order.customer_id)),
            "orders --failed-at": lambda: tracked.orders(Wanted(failed_at=["payment.failed"])),
            "orders --since --status --customer": lambda: tracked.orders(
                Wanted(since=order.placed_at, undone="refunded", customer=order.customer_id)
            ),
            "show, why": lambda: timeline(tracked, order.order_id),
            "stats, counts": lambda: by_status(MODEL, tracked.kinds()),
            "stats, ways and steps of the latest 1000": lambda: ways_and_times(tracked.latest(1_000)),
            "violations": tracked.violations,
        }
        figures: Figures = {name: _median(_milliseconds(query)) for name, query in asked.items()}
    command = _milliseconds(lambda: subprocess.run([*ORDERS, str(file)], capture_output=True, check=True))
    return {**figures, "saga orders, the whole command": _median(command), "the same, longest": command[-1]}


def ways_and_times(latest: Latest) -> object:
    """Return what `saga stats` says of the latest orders."""
    return branches(MODEL, latest), paces(latest.steps)


def flow(env: dict[str, str], file: Path, sagas: Sagas, rate: float, seconds: float) -> Figures:
    """Return how far the newest order in the tracker is behind the clock while orders are placed at a steady rate."""
    watch = f"import sys; from tests.bench.track import watch; watch(sys.argv[1], {seconds})"
    with subprocess.Popen(TRACK, env=env, stderr=subprocess.DEVNULL) as tracker:
        try:
            time.sleep(3)
            with subprocess.Popen([sys.executable, "-c", watch, str(file)], stdout=subprocess.PIPE, text=True) as eyes:
                sagas.publish(round(rate * seconds), rate)
                behind = json.loads(eyes.communicate()[0])
        finally:
            tracker.terminate()
    return {
        "orders/s": rate,
        "behind, ms, p50": percentile(behind, 50),
        "behind, ms, p99": percentile(behind, 99),
        "samples": len(behind),
    }


def watch(file: str, seconds: float) -> None:
    """Print how far the newest order is behind the clock, in ms, again and again, but for the first and last second."""
    until, behind = time.monotonic() + seconds - 1, []
    time.sleep(1)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)) as database:
        while time.monotonic() < until:
            [(newest,)] = database.execute("select max(placed_at) from orders")
            behind.append(now() - newest)
            time.sleep(SAMPLE_SECONDS)
    print(json.dumps(behind))


def _milliseconds(query: Callable[[], object]) -> list[float]:
    """Return how long it took each of some times, the shortest first."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        query()
        taken.append(round((time.perf_counter() - begun) * 1000, 2))
    return sorted(taken)


def _median(ordered: list[float]) -> float:
    return ordered[len(ordered) // 2]


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.track")
