"""The parameters of what reads the tracker. A separate module, so that querying the tracker loads no Kafka client."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click

from saga.tracker.installed import MODEL
from saga.tracker.queries import NotTracked, Tracked

tracker = click.option(
    "--tracker",
    envvar="SAGA_TRACKER",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    default="tracker.db",
    help="The tracker's database, a SQLite file.",
)


def complete_order(context: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
    """Return the ids that the shell offers; none, without a message, if the tracker's database cannot be read."""
    try:
        with Tracked.at(context.params["tracker"], MODEL) as tracked:
            return tracked.beginning_with(given)
    except (NotTracked, sqlite3.Error):
        return []


order_id = click.argument("order_id", shell_complete=complete_order)
