"""What the tracker's commands share: which choreography, and where the database is."""

from __future__ import annotations

from pathlib import Path

import click

from choreography.track.model import Model
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService

MODEL = Model.of((OrderService, PaymentService, InventoryService))

tracker = click.option(
    "--tracker",
    envvar="SAGA_TRACKER",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    default="tracker.db",
    help="The tracker's database, a SQLite file.",
)
