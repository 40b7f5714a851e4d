"""`saga check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import click

from eventbus import Codec, Unavailable, Unwritable
from eventbus.cli import options as cli
from eventbus.cli.connection_options import secret
from eventbus.database import NotOurs, NotThere
from eventbus.serde.registry import RegistryUnavailable, UnknownSchema
from payment_service.gateway import BadGateway
from saga.check.facts import Facts
from saga.check.laws import judge
from saga.check.log import EventTopics, TopicsMissing, Watch
from saga.check.records import LogMoved
from saga.check.report import as_json as report_as_json
from saga.check.report import as_text, truncation
from saga.check.rules import CLOCK_SKEW_MS, Rules
from saga.check.stores import Stores
from saga.cluster import BadConfiguration, Cluster, Unreachable, client_config
from saga.flow.model import Flow
from saga.services import SERVICES
from saga.witness import ReadingsDiffer
from schemas import EVENTS

F = TypeVar("F", bound=Callable[..., Any])
CANNOT_CHECK = (
    *(NotThere, NotOurs, Unavailable, Unwritable, BadGateway),
    *(Unreachable, BadConfiguration, TopicsMissing, LogMoved, ReadingsDiffer),
    *(UnknownSchema, RegistryUnavailable),
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that is read."""

    bootstrap_servers: str
    kafka_config: dict[str, str]
    schema_registry_url: str | None
    stores: Stores

    def collect(self, flow: Flow, watch: Watch = lambda messages, _most: messages) -> Facts:
        """Read everything, effects before their causes: why, see `laws`. The log is what takes long."""
        self.stores.check()
        codec = Codec(cli.registry(self.schema_registry_url, EVENTS), EVENTS)
        cluster = Cluster(self.bootstrap_servers, self.kafka_config)
        topics = EventTopics(cluster, flow.effects_first())
        before = topics.ends()
        orders = self.stores.read_orders()
        reservations, stock = self.stores.read_inventory()
        payments = self.stores.read_payments()
        ledger = self.stores.read_ledger()
        until = topics.ends()
        config = client_config(self.bootstrap_servers, self.kafka_config)
        log = topics.read(config, codec, before, until, watch)
        return Facts(orders, payments, reservations, stock, ledger, log, self.stores.read_parked())


def _store(option: str, environment: str, default: str, what: str) -> Callable[[F], F]:
    return click.option(option, envvar=environment, show_envvar=True, default=default, callback=secret, help=what)


SOURCES = (
    cli.bootstrap_servers,
    cli.kafka_config,
    cli.schema_registry_url,
    _store("--order-database", "ORDER_SERVICE_DATABASE", "sqlite:///order_service.db", "Of the order service."),
    _store("--payment-database", "PAYMENT_SERVICE_DATABASE", "sqlite:///payment_service.db", "Of the payment service."),
    _store("--inventory-database", "INVENTORY_SERVICE_DATABASE", "sqlite:///inventory_service.db", "Of inventory."),
    _store("--gateway", "PAYMENT_GATEWAY", "simulated:///provider.db", "The payment provider; its ledger is read."),
)


def sources_options(command: F) -> F:
    """Decorate a click command with where everything is; it is called with `sources=Sources(...)`."""

    @wraps(command)
    def with_sources(**options: Any) -> Any:
        names = ("order_database", "payment_database", "inventory_database", "gateway")
        stores = Stores(*(options.pop(name) for name in names))
        settings = {name: options.pop(name) for name in ("bootstrap_servers", "kafka_config", "schema_registry_url")}
        return command(sources=Sources(**settings, stores=stores), **options)

    decorated: Any = with_sources
    for option in reversed(SOURCES):
        decorated = option(decorated)
    return cast("F", decorated)


@click.command("check")
@sources_options
@click.option(
    "--delivery",
    type=click.Choice(["exactly-once", "at-least-once"]),
    default="exactly-once",
    help="at-least-once: an event may be on the log again, with the same ce_id and bytes.",
)
@click.option("--quiescent", is_flag=True, help="Nothing moves any more: an open order is a violation too.")
@click.option(
    "--clock-skew",
    type=click.FloatRange(0),
    default=CLOCK_SKEW_MS / 1000,
    help="Seconds by which the clocks of the hosts of workers and databases may differ.",
)
@cli.as_json
def check_command(sources: Sources, as_json: bool, **rules: Any) -> None:
    """Check the laws of the saga over the databases, the payment provider's ledger and the topics.

    Reads only, and may run while the saga runs: what is still in flight is counted as open, not called broken. Exit 0
    when no law is broken, 1 when one is or the check could not be made. Orders of which events may have expired cannot
    be called broken for what they lack: the report counts them.

    Example: saga check --quiescent
    """
    flow = Flow.of(SERVICES)
    try:
        facts = sources.collect(flow, _with_a_bar)
    except CANNOT_CHECK as why:
        cli.fail(f"cannot check: {why}")
    verdict = judge(facts, _rules(flow, **rules))
    if as_json:
        for warning in truncation(verdict, facts.log):
            click.echo(warning, err=True)
        cli.print_json(report_as_json(verdict, facts.log))
    else:
        click.echo("\n".join(as_text(verdict, facts.log)))
    if verdict.violations:
        raise SystemExit(1)


def _with_a_bar(messages: Iterator[Any], most: int) -> Iterator[Any]:
    """Show on a terminal how much of the log is read: a million orders take minutes."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(
        messages, length=most, label="reading the log", file=sys.stderr, hidden=hidden, update_min_steps=5_000
    ) as shown:
        yield from shown


def _rules(flow: Flow, *, delivery: str, quiescent: bool, clock_skew: float) -> Rules:
    at_least_once = delivery == "at-least-once"
    return Rules(flow, quiescent=quiescent, at_least_once=at_least_once, clock_skew_ms=round(clock_skew * 1000))
