"""What the shell completes: keys of a service's tables, and names of its workers, by how they begin."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import click
from click.shell_completion import FishComplete, add_completion_class

from eventbus.database import NO_RECORDS_FAULT, NotThere, Table, check_file, connect
from eventbus.database.short_keys import BLOCKED_KEYS, beginning_with

INSTANCES = Table("instance_lease", ("name",))
NOTHING_TO_OFFER = (*NO_RECORDS_FAULT, NotThere)
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


@add_completion_class
class _Fish(FishComplete):
    """click 8.4 splits a line for fish at every comma, and shows a description up to its first one only."""

    source_template = FishComplete.source_template.replace('split ","', 'split --max 1 ","')


def complete_keys(service: str, *tables: Table) -> Complete:
    """Return the `shell_complete` of a click parameter: keys of these tables, and blocked keys, of `--database`.

    If the database cannot be read nothing is completed, without a message: it would land in what somebody types.
    """
    return _complete(service, (*tables, BLOCKED_KEYS))


def complete_instances(service: str) -> Complete:
    """Return the `shell_complete` of a worker's name: the names in the leases of `--database`."""
    return _complete(service, (INSTANCES,))


def _complete(service: str, tables: tuple[Table, ...]) -> Complete:
    def complete(context: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
        url = context.params.get("database") or ""
        try:
            check_file(f"the database of {service}", url)
            with closing(connect(url, service=service, schema=None, create=False)) as opened, opened.snapshot() as tx:
                return beginning_with(tx, given, tables)
        except NOTHING_TO_OFFER:
            return []

    return complete
