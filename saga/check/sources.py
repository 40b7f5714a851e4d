"""The sources that `saga check` reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import click

from eventbus import Codec
from eventbus.cli import options as cli
from eventbus.cli.connection_options import secret
from saga.check.database_options import database_options
from saga.check.facts import Facts
from saga.check.log import Watch, read_events
from saga.check.stores import Stores
from saga.flow.model import Flow
from saga.kafka.event_topics import EventTopics
from saga.kafka.target import KafkaTarget
from schemas import EVENTS

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Sources(KafkaTarget):
    """All sources that are read."""

    schema_registry_url: str | None
    stores: Stores

    def collect(self, flow: Flow, watch: Watch = lambda messages, _most: messages) -> Facts:
        """Read everything, effects before their causes (see `laws`). Reading the log takes longest."""
        self.stores.check()
        codec = Codec(cli.registry(self.schema_registry_url, EVENTS), EVENTS)
        topics = EventTopics(self.cluster(), flow.reverse_topological())
        before = topics.ends()
        read_ms = time.time_ns() // 1_000_000
        orders = self.stores.read_orders()
        reservations, stock = self.stores.read_inventory()
        payments = self.stores.read_payments()
        ledger = self.stores.read_ledger()
        until = topics.ends()
        log = read_events(topics, self.client_config(), codec, before=before, until=until, watch=watch)
        return Facts(orders, payments, reservations, stock, ledger, log, self.stores.read_parked(), read_ms)


SOURCES = (
    cli.bootstrap_servers,
    cli.kafka_config,
    cli.schema_registry_url,
    database_options("what it holds is checked"),
    click.option(
        "--gateway",
        envvar="PAYMENT_GATEWAY",
        show_envvar=True,
        default="simulated:///provider.db",
        callback=secret,
        help="The payment provider: its ledger is checked.",
    ),
)


def sources_options(command: F) -> F:
    """Add the options for all sources to a click command; it is called with `sources=Sources(...)`."""

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
