"""The option for the tracker's database. A separate module, so that querying the tracker loads no Kafka client."""

from __future__ import annotations

from pathlib import Path

import click

tracker = click.option(
    "--tracker",
    envvar="SAGA_TRACKER",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    default="tracker.db",
    help="The tracker's database, a SQLite file.",
)
