"""The command behind `make chaos`."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.cli.connection_options import secret
from eventbus.text.redaction import HIDDEN, is_secret
from saga.commands.exits import exit_cleanly, stoppable
from saga.demo.place import InUse, real
from saga.demo.plan import Shares, make_plan
from saga.kafka.cluster import Cluster
from tests.chaos.brokers import Brokers, Control, Node
from tests.chaos.customers import Minds
from tests.chaos.databases import NotEmpty, databases
from tests.chaos.faults import World
from tests.chaos.fleet import ROOT, Fleet
from tests.chaos.poison import Poison
from tests.chaos.proxy import Proxy
from tests.chaos.report import Outcome, as_json, as_text
from tests.chaos.run import Chaos
from tests.chaos.timeline import KINDS, NEEDS_CLUSTER, NEEDS_CONTROL, NEEDS_PROXY, draw
from tests.chaos.unreadable import Unreadable
from tests.mutants.planting import named, plant

DECLINED = SHORT = 0.1
CLUSTER = 3
"""Brokers, at least, for faults that leave others at work."""
CLASSIC_SESSION, CONSUMER_SESSION = 10.0, 45.0
"""Seconds until a silent worker is given up: the workers' own setting, and the broker's for the consumer protocol."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Kills and starts a broker by shell commands of the user's."""

    killing: str
    starting: str

    def kill(self) -> None:
        """See Node."""
        subprocess.run(shlex.split(self.killing), check=True, capture_output=True)

    def restart(self) -> None:
        """See Node."""
        subprocess.run(shlex.split(self.starting), check=True, capture_output=True)

    def terminate(self) -> None:
        """See Node; no fault that is possible with such commands asks for it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Commanded:
    """Brokers that are killed and started by the user's commands."""

    nodes: Sequence[Node]

    def reassign(self, plan: str) -> None:
        """See Control; the same."""
        raise NotImplementedError


def _ports(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[tuple[int, int]]:
    ways = []
    for value in values:
        listen, _, upstream = value.partition(":")
        if not (listen.isdecimal() and upstream.isdecimal()):
            raise click.BadParameter(f"{value!r} is not LISTEN:UPSTREAM, two ports of this host")
        ways.append((int(listen), int(upstream)))
    return ways


def _kinds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    kinds = tuple(kind.strip() for kind in value.split(",") if kind.strip()) if value is not None else None
    if kinds is not None and (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise click.BadParameter(f"there is no {unknown[0]!r}; there are {', '.join(KINDS)}")
    return kinds


@click.command("chaos")
@click.option("--orders", type=click.IntRange(1, 1_000_000), default=2_000, help="How many are placed.")
@click.option("--minutes", type=click.FloatRange(0.1, 24 * 60), default=2.0, help="So long orders and faults come.")
@click.option("--seed", type=int, default=1, help="The same seed draws the same orders and the same faults.")
@click.option("--cancel", type=click.FloatRange(0, 0.5), default=0.1, help="Share of orders that customers cancel.")
@click.option("--overdue", type=click.FloatRange(0, 0.5), default=0.05, help="Share of orders with a short deadline.")
@click.option(
    "--database",
    default="sqlite",
    callback=secret,
    help="sqlite: files in a temporary folder; or postgresql://USER@HOST/NAME, or file:PATH.",
)
@click.option("--faults", callback=_kinds, help=f"Some of {','.join(KINDS)}.  [default: all that are possible]")
@click.option("--every", type=click.FloatRange(0.1), default=4.0, help="Seconds from fault to fault, on average.")
@cli.bootstrap_servers
@click.option(
    "--broker-kill", multiple=True, metavar="COMMAND", help="Kills a broker, as in 'docker kill kafka'; once for each."
)
@click.option(
    "--broker-start", multiple=True, metavar="COMMAND", help="Starts it again, as in 'docker start kafka'; as often."
)
@click.option(
    "--proxy",
    multiple=True,
    callback=_ports,
    metavar="LISTEN:UPSTREAM",
    help="Ports of 127.0.0.1: one that a broker's listener advertises to the workers, and where that listener is; once"
    " for each broker.",
)
@cli.kafka_config
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here.")
@click.option("--mutant", help="Plant this bug of tests/mutants in the workers: it must be found.")
@click.pass_obj
def chaos_command(
    control: Control | None,
    /,
    *,
    orders: int,
    minutes: float,
    seed: int,
    cancel: float,
    overdue: float,
    database: str,
    every: float,
    faults: tuple[str, ...] | None,
    json_file: Path | None,
    **where: Any,
) -> None:
    """Let orders flow while everything breaks; then the laws must hold, and two readings of the log must agree.

    Some orders are cancelled by their customers, and some have a deadline that is over while they are handled.
    Two workers of each service run as processes. They are killed, stopped and restarted; brokers are killed if it is
    said how (--broker-kill and --broker-start), their network breaks where workers can be sent through a proxy
    (--proxy); `make chaos` has three brokers of its own for both, and rolls them, takes two away, moves leaders and
    reassigns partitions too. A database is put back to a backup under running workers, and at the end a topic is
    deleted and created again: all workers concerned must refuse, and go on when it is mended. The saga's topics must
    be missing or empty, and the schemas of a PostgreSQL database too. Exit 0 when nothing is wrong, 1 otherwise; then
    the workers' logs are kept.

    Example: python -m tests.chaos --orders 2000 --minutes 2 --seed 7 --faults kill,stop,term --json report.json
    """
    killing, starting = where.pop("broker_kill"), where.pop("broker_start")
    if len(killing) != len(starting):
        raise click.UsageError("--broker-kill and --broker-start go together: one of each for every broker")
    if killing:
        control = Commanded([Commands(*pair) for pair in zip(killing, starting, strict=True)])
    possible = _possible(faults, control, where["proxy"])
    session = CONSUMER_SESSION if where["kafka_config"].get("group.protocol") == "consumer" else CLASSIC_SESSION
    timeline = draw(seed, minutes * 60, possible, session, every, brokers=len(control.nodes) if control else 0)
    settings = {"orders": orders, "minutes": minutes, "seed": seed, "database": database.partition(":")[0]}
    settings |= {"cancel": cancel, "overdue": overdue}
    settings |= {
        "brokers": len(control.nodes) if control else None,
        "faults": possible,
        "every": every,
        "kafka_config": {name: HIDDEN if is_secret(name) else value for name, value in where["kafka_config"].items()},
        "mutant": where["mutant"],
    }
    plan = make_plan(orders, Shares(DECLINED, SHORT), seed)
    folder = Path(tempfile.mkdtemp(prefix="saga-chaos-"))
    with exit_cleanly(), stoppable(), ExitStack() as stack:
        try:
            stack.enter_context(real(where["bootstrap_servers"], where["kafka_config"]))
            proxy = stack.enter_context(Proxy(*where["proxy"])) if where["proxy"] else None
            chaos = Chaos(
                plan=plan,
                minds=Minds.of(plan.requests, cancel, overdue, seed),
                seconds=minutes * 60,
                timeline=timeline,
                folder=folder,
                bootstrap_servers=where["bootstrap_servers"],
                workers_servers=proxy.bootstrap_servers if proxy else where["bootstrap_servers"],
                kafka_config=where["kafka_config"],
                say=_saying(),
            )
            poison = Poison(where["bootstrap_servers"], where["kafka_config"])
            stores = databases(database, folder)
            unreadable = Unreadable(where["bootstrap_servers"], where["kafka_config"], stores.url, stores.opening)
            source = stack.enter_context(_planted(where["mutant"])) if where["mutant"] else ROOT
            fleet = Fleet(folder, lambda worker: chaos.command(worker, world), source)
            brokers = Brokers(where["bootstrap_servers"], where["kafka_config"], control, seed) if control else None
            cluster = Cluster(where["bootstrap_servers"], where["kafka_config"])
            world = World(fleet, stores, cluster, brokers, proxy, poison, unreadable)
            outcome = chaos.run(world, settings, seed)
        except (InUse, NotEmpty, TimeoutError) as error:
            cli.fail(str(error))
        finally:
            with suppress(OSError):  # it stays where there is anything in it
                folder.rmdir()
    _report(outcome, folder, json_file)


@contextmanager
def _planted(name: str) -> Iterator[Path]:
    """Yield a copy of the source with a bug in it. Raises click.BadParameter where there is no such bug, or several."""
    found = named(name)
    if len(found) != 1:
        raise click.BadParameter(f"{name!r} names {len(found)} of the bugs in tests/mutants/planted.py, not one")
    with tempfile.TemporaryDirectory(prefix="saga-chaos-mutant-") as folder:
        plant(found[0], Path(folder))
        yield Path(folder)


def _possible(wanted: tuple[str, ...] | None, control: Control | None, proxy: object) -> list[str]:
    """Return the faults that can be made here; say which are left out."""
    impossible = (NEEDS_CONTROL if control is None else frozenset()) | (frozenset() if proxy else NEEDS_PROXY)
    if control is None or isinstance(control, Commanded) or len(control.nodes) < CLUSTER:
        impossible |= NEEDS_CLUSTER
    if wanted is not None and (cannot := [kind for kind in wanted if kind in impossible]):
        why = "three brokers of `make chaos`" if cannot[0] in NEEDS_CLUSTER else "--broker-kill and --broker-start"
        raise click.UsageError(f"{cannot[0]} needs {'--proxy' if cannot[0] in NEEDS_PROXY else why}: see --help")
    if wanted is None and impossible:
        click.echo(f"without {', '.join(sorted(impossible))}: `make chaos` has brokers for them", err=True)
    return [kind for kind in KINDS if kind in (wanted if wanted is not None else KINDS.keys() - impossible)]


def _saying() -> Any:
    start = time.monotonic()
    return lambda what: click.echo(f"{time.monotonic() - start:7.1f}  {what}")


def _report(outcome: Outcome, folder: Path, json_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(outcome), indent=2), encoding="utf-8")
    click.echo("\n" + "\n".join(as_text(outcome)))
    if not outcome.clean:
        click.echo(f"the workers' logs and databases are in {folder}", err=True)
        raise SystemExit(1)
    shutil.rmtree(folder)
