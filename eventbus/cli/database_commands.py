"""`<service> database …`: which versions the tables have, and upgrading them."""

from __future__ import annotations

from inspect import getdoc
from typing import Any

import click

from eventbus.cli.backup_commands import add_backup_commands
from eventbus.cli.help import CommandGroup
from eventbus.cli.options import as_json, database_option, print_json
from eventbus.database.schema_version import Schema
from eventbus.database.upgrade import Component, status, upgrade
from eventbus.service import Service
from eventbus.text.redaction import redact


def database_commands(service: type[Service[Any]], schema: Schema | str) -> click.Group:
    """Return the group of commands about a service's database."""
    commands = _DatabaseCommands(service.name, schema)
    program = f"{service.name} database"
    group = CommandGroup(
        "database",
        help=f"Show and upgrade the database's tables; resolve a quarantine.\n\nExample: {program} status",
    )
    for command in (
        click.Command("status", callback=commands.status),
        click.Command("upgrade", callback=commands.upgrade),
    ):
        database_option(service.name)(command)
        text, _, example = (getdoc(command.callback) or "").partition("Example: ")
        command.help = f"{text.rstrip()}\n\nExample: {program} {example.strip()}"
        group.add_command(command)
    as_json(group.commands["status"])
    add_backup_commands(group, service, schema)
    return group


class _DatabaseCommands:
    def __init__(self, service: str, schema: Schema | str) -> None:
        self._service, self._schema = service, schema

    def status(self, database: str, as_json: bool) -> None:
        """Show which versions the tables of the runtime and of the service have, and which steps they lack.

        Exit code 1 where an upgrade is needed, or the tables are too new for this release.

        Example: status --json
        """
        found = status(database, self._service, self._schema)
        if as_json:
            print_json([_as_dict(each) for each in found])
        else:
            for each in found:
                click.echo(_as_line(each))
        if any(each.wrong for each in found):
            click.get_current_context().exit(1)

    def upgrade(self, database: str) -> None:
        """Apply the migration steps that the tables lack: all, or none if one fails. Workers may keep running.

        Make a backup first: a step cannot be undone.

        Example: upgrade
        """
        steps = [step for steps in upgrade(database, self._service, self._schema).values() for step in steps]
        for component in status(database, self._service, self._schema):
            click.echo(_as_line(component))
        click.echo(f"{len(steps)} steps applied to {redact(database)}", err=True)


def _as_dict(component: Component) -> dict[str, Any]:
    return {
        "component": component.name,
        "version": component.here.version,
        "oldest_compatible": component.here.oldest_compatible,
        "release": component.ours.version,
        "missing": [step.name for step in component.steps],
        "ok": component.wrong is None,
    }


def _as_line(component: Component) -> str:
    state = component.wrong or "ok"
    return f"{component.name:<8} version {component.here.version}, this release {component.ours.version}: {state}"
