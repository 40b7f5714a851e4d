"""What the tracker's commands share: which choreography, and where the database is."""

from __future__ import annotations

from pathlib import Path

import click

from saga.flow.model import Flow
from saga.services import SERVICES
from saga.track.model import Model

FLOW = Flow.of(SERVICES)
MODEL = Model.of(FLOW)

tracker = click.option(
    "--tracker",
    envvar="SAGA_TRACKER",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    default="tracker.db",
    help="The tracker's database, a SQLite file.",
)
