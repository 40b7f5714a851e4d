"""`saga workers`: who runs, since when, how far behind, and what waits for a retry."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eventbus.cli import options as cli
from eventbus.cli.tables import print_table
from eventbus.database import SQLITE
from eventbus.log import to_iso
from saga.check.database_options import database_options, declared_databases
from saga.flow.sources import from_announcements
from saga.kafka.cluster import Unreachable
from saga.kafka.group_members import GroupLag, group_lag
from saga.kafka.reader import NoSuchTopic, ReadFailed
from saga.kafka.target import KafkaTarget
from saga.services import declared_elsewhere, installed_services
from saga.ui.health import workers_in
from saga.ui.trouble import parked_orders

COLUMNS = ("service", "worker", "host", "since", "partitions", "behind")


@click.command("workers", context_settings=cli.CONTEXT)
@cli.bootstrap_servers
@cli.kafka_config
@database_options("its parked orders are counted, if it can be read here")
@cli.as_json
def workers_command(bootstrap_servers: str, kafka_config: dict[str, str], as_json: bool, **databases: str) -> None:
    """List the workers that consume now: since when, how far behind, and which orders wait for a retry.

    Workers and lag are those of the consumer groups: a worker that has just ended is listed until its session ends.
    Since when: as each worker published at its start. From the databases: orders to retry, and why a worker retries in
    place (the payment provider is unavailable, for example). `<service> workers` lists who holds the instance names.

    Example: saga workers
    """
    target = KafkaTarget(bootstrap_servers, kafka_config)
    since = _announced(target)
    reactions = {service.name: [event.topic for event in service.reactions] for service in installed_services()}
    reactions |= {each.service: [does.event for does in each.reactions] for each in declared_elsewhere()}
    lags = {service: group_lag(target, service, topics) for service, topics in reactions.items()}
    workers = [row for service, lag in lags.items() for row in _rows(service, lag, since)]
    readable = _readable(databases)
    known = workers_in(readable)
    waits = {(entry["service"], worker["name"]): worker["waits_for"] for entry in known for worker in entry["workers"]}
    for each in workers:
        each["waits_for"] = waits.get((each["service"], each["worker"]), "")
    unreadable = {entry["service"]: entry["error"] for entry in known if entry["error"]}
    parked, errors = parked_orders({service: url for service, url in readable.items() if service not in unreadable})
    errors = [*unreadable.values(), *errors]
    waiting = [_waiting(service, parked) for service in dict.fromkeys(each["service"] for each in parked)]
    if as_json:
        cli.print_json({"workers": workers, "parked": waiting, "not_read": errors})
        return
    print_table(COLUMNS, map(_cells, workers), right=("partitions", "behind"))
    for each in workers:
        if each["waits_for"]:
            click.echo(f"{each['service']} {each['worker']} waits: {each['waits_for']}")
    for each in waiting:
        click.echo(
            f"{each['service']}: {each['orders']} parked, next retry {each['next_retry']}, {each['error']}"
            f"; `{each['service']} parked list`"
        )
    for error in errors:
        click.echo(f"parked orders are unknown: {error}", err=True)


def _announced(target: KafkaTarget) -> dict[tuple[str, str], int]:
    """Return when each worker announced itself, by service and name; empty if that cannot be read.

    Raises Unreachable if no broker answers: the next query would only wait for the same again.
    """
    try:
        found = from_announcements(target.bootstrap_servers, target.kafka_config, lambda _why: None)
    except (NoSuchTopic, ReadFailed):
        return {}
    except Unreachable as error:
        if error.silence:
            raise
        return {}
    return {(worker.service, worker.instance): worker.at for worker in found}


def _rows(service: str, lag: GroupLag, since: Mapping[tuple[str, str], int]) -> Iterator[dict[str, Any]]:
    taken = set[tuple[str, int]]()
    for member in lag.members:
        at = since.get((service, member.name))
        behind = sum(count for tp, count in lag.behind.items() if tp in member.partitions)
        taken |= member.partitions
        place = {"service": service, "worker": member.name, "host": member.host}
        started = None if at is None else to_iso(at)
        yield place | {
            "since": started,
            "partitions": len(member.partitions),
            "behind": behind,
            "is_exact": lag.is_exact,
        }
    left = sum(count for tp, count in lag.behind.items() if tp not in taken)
    if left or not lag.members:
        nobody = dict.fromkeys(("worker", "host", "since"))
        yield {"service": service, **nobody, "partitions": 0, "behind": left, "is_exact": lag.is_exact}


def _cells(row: Mapping[str, Any]) -> list[str]:
    behind = f"{'' if row['is_exact'] else 'at most '}{row['behind']}"
    worker = row["worker"] or "no worker"
    return [row["service"], worker, row["host"] or "", row["since"] or "", str(row["partitions"]), behind]


def _readable(databases: Mapping[str, str]) -> dict[str, str]:
    """Return the databases by service; not those that nobody named and that are not in this folder."""
    context = click.get_current_context()
    found = {}
    for parameter, url in databases.items():
        is_default = context.get_parameter_source(parameter) is ParameterSource.DEFAULT
        if not is_default or Path(url.removeprefix(SQLITE)).exists():
            found[parameter.replace("_database", "-service")] = url
    return found | {
        service: url
        for service, url in declared_databases().items()
        if cli.database_of(service)[0] in os.environ or Path(url.removeprefix(SQLITE)).exists()
    }


def _waiting(service: str, parked: list[dict[str, Any]]) -> dict[str, Any]:
    own = [each for each in parked if each["service"] == service]
    first = min(own, key=lambda each: str(each["retry_at"]))
    return {"service": service, "orders": len(own), "next_retry": first["retry_at"], "error": first["error"]}
