"""`saga demo`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from eventbus.cli import options as cli
from eventbus.cli.connection_options import servers
from eventbus.serde.registry import registry_at
from eventbus.text.terminal import raw_stdout
from saga.commands.exits import exit_cleanly, stoppable
from saga.demo.place import DemoPlace, InUse, embedded, real
from saga.demo.plan import DECLINE_ABOVE, DemoPlan, Shares, make_plan
from saga.demo.run import DemoRun, DemoStuck
from saga.demo.shown import page
from saga.demo.story import examples, print_order, print_outcomes, surprises
from saga.demo.workers import WorkerDied, Workers, without_settings
from saga.tracker.installed import MODEL
from saga.tracker.queries import Tracked
from saga.tracker.source import TrackedLog, track_once
from schemas import EVENTS

PLAIN_WIDTH = 140
CHECK_SECONDS = 60.0
ROUNDING = 1e-9
TIMEOUT_MS = 500
"""How long a call waits for a payment provider that does not answer."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command handle it, like every other command; rich itself would exit with 1."""
        raise BrokenPipeError


@click.command("demo")
@click.option("--orders", type=click.IntRange(1, 100_000), default=50, help="How many orders are placed.")
@click.option("--decline", type=click.FloatRange(0, 1), default=0.2, help="Share of orders that the provider declines.")
@click.option(
    "--short", type=click.FloatRange(0, 1), default=0.2, help="Share of orders that are paid, but out of stock."
)
@click.option("--cancel", type=click.FloatRange(0, 1), default=0.1, help="Share of orders that customers cancel.")
@click.option(
    "--silent",
    type=click.FloatRange(0, 1),
    default=0.1,
    help="Share of orders that the payment provider never answers: they cancel themselves after 2 s.",
)
@click.option("--seed", type=int, default=1, help="The same seed places the same orders.")
@click.option("--ui", is_flag=True, help="Also serve the web page, until Ctrl-C.")
@click.option(
    "--bootstrap-servers",
    callback=servers,
    help="A real broker, exactly-once.  [default: a broker inside this process]",
)
@cli.kafka_config
def demo_command(*, orders: int, seed: int, ui: bool, **more: Any) -> None:
    """Run the whole saga: a broker, the three workers as processes, and orders that progress from event to event.

    All data is in a temporary folder, which is removed at the end. On a real broker the saga's topics must be missing
    or empty; at the end they are as they were before. KAFKA_BOOTSTRAP_SERVERS is ignored.

    With --ui a web page shows them live, at an address that is printed first and last, until Ctrl-C.

    Example: saga demo --orders 200 --decline 0.1 --short 0.3 --cancel 0.1 --silent 0.1 --seed 7
    """
    shares = Shares(*(more[name] for name in Shares._fields))
    if sum(shares) > 1 + ROUNDING:
        given = ", ".join(f"--{name} {share:g}" for name, share in shares._asdict().items() if share)
        raise click.UsageError(f"{given} add up to more than 1")
    plan = make_plan(orders, shares, seed)
    console = _Console(highlight=False, file=raw_stdout())
    if not console.is_terminal:
        console = _Console(highlight=False, width=PLAIN_WIDTH, file=raw_stdout())
    with exit_cleanly(), stoppable():
        try:
            _demo(plan, console, more["bootstrap_servers"], more["kafka_config"], ui=ui)
        except (InUse, DemoStuck, WorkerDied) as error:
            cli.fail(str(error))


def _demo(plan: DemoPlan, console: Console, servers: str | None, kafka_config: dict[str, str], *, ui: bool) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="saga-demo-")))
        place = stack.enter_context(real(servers, kafka_config) if servers else embedded())
        gateway = f"simulated:///{folder}/provider.db?decline-above={DECLINE_ABOVE}&timeout-ms={TIMEOUT_MS}"
        options = [*place.options(folder), "--log-format", "json", "--instance", folder.name]
        run = stack.enter_context(DemoRun.prepared(plan, folder, place, gateway))
        workers = stack.enter_context(Workers(folder, options, {"payment-service": ["--gateway", gateway]}))
        shown = stack.enter_context(page(folder, place, wanted=ui))
        if shown:
            console.print(shown.said)
        console.print(Text(f"The broker is {_said(place, servers)}"), soft_wrap=True)
        history = run.watch(workers, console)
        found = run.orders()
        print_outcomes(console, found, history)
        _tell(console, folder / "tracker.db", place, examples(history))
        wrong = surprises(plan, found, history)
        clean = _check(console, folder, place, gateway)
        if shown:
            console.print(shown.said)
            shown.wait()
    for surprise in wrong:
        click.echo(f"error: {surprise}", err=True)
    if wrong or not clean:
        sys.exit(1)


def _said(place: DemoPlace, given: str | None) -> str:
    if given:
        return f"the Kafka at {given}"
    return f"inside this process, at {place.bootstrap_servers}; --bootstrap-servers names a real one"


def _tell(console: Console, file: Path, place: DemoPlace, order_ids: Iterable[str]) -> None:
    """Track the log to its end, as `saga track` does, and print the timelines of these orders."""
    track_once(TrackedLog(place.bootstrap_servers, dict(place.kafka_config), registry_at(None, EVENTS)), file)
    with Tracked.at(file, MODEL) as tracked:
        for order_id in order_ids:
            print_order(console, tracked, order_id)


def _check(console: Console, folder: Path, place: DemoPlace, gateway: str) -> bool:
    """Run `saga check --finished`, repeatedly for some seconds, because the last effects follow the last event."""
    databases = [
        f"--{name}-database=sqlite:///{folder}/{name}_service.db" for name in ("order", "payment", "inventory")
    ]
    command = [sys.executable, "-m", "saga", "check", "--finished", *databases, "--gateway", gateway]
    until = time.monotonic() + CHECK_SECONDS
    while True:
        done = subprocess.run(  # noqa: S603 - our own module
            [*command, *place.options(folder)], env=without_settings(), capture_output=True, text=True, check=False
        )
        if done.returncode == 0 or time.monotonic() > until:
            break
        time.sleep(0.2)
    console.print("saga check --finished", style="bold")
    console.out(done.stdout, done.stderr, sep="")
    return done.returncode == 0
