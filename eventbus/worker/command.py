"""`<service> workers`: which workers hold which instance names."""

from __future__ import annotations

import inspect
from typing import Any

import click

from eventbus.cli.options import as_json, database_option, print_json
from eventbus.cli.tables import print_table
from eventbus.database import existing
from eventbus.database.schema_version import Schema
from eventbus.log import to_iso
from eventbus.service import Service
from eventbus.text.redaction import redact
from eventbus.worker.lease import Lease, leases


def workers_command(service: type[Service[Any]], schema: Schema | str) -> click.Command:
    """Return the `workers` command of a service."""

    def workers(database: str, as_json: bool) -> None:
        with existing(database, service=service.name, schema=schema) as opened, opened.snapshot() as tx:
            found = [_as_dict(lease) for lease in leases(tx)]
        if as_json:
            print_json(found)
            return
        if found:
            columns = ("name", "host", "pid", "since", "last_seen")
            rows = ([str(each[column]) for column in columns] for each in found)
            print_table([column.replace("_", " ") for column in columns], rows, right=("pid",))
        else:
            click.echo(f"no worker has a lease in {redact(database)}", err=True)

    text = f"""List the workers that hold an instance name: where they run, since when, and when they renewed it last.

    A worker renews its lease every 2 s and releases its name when it stops; one that was killed stays listed until its
    name is used again, or for a week. The times are from the workers' own clocks.

    Example: {service.name} workers --json
    """
    command = click.command("workers", help=inspect.cleandoc(text))(workers)
    return database_option(service.name)(as_json(command))


def _as_dict(lease: Lease) -> dict[str, Any]:
    return {
        "name": lease.name,
        "host": lease.host,
        "pid": lease.pid,
        "since": to_iso(lease.started_at_ms),
        "last_seen": to_iso(lease.heartbeat_at_ms),
    }
