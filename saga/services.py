"""The services: those that installed distributions register as entry points, and the saga's own."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from eventbus.manifest import INSTALLED
from eventbus.service import Service
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService

SERVICES = (OrderService, PaymentService, InventoryService)
"""The saga's own services, which are installed with these tools."""


class NoService(LookupError):
    """No service is installed, or one cannot be loaded."""


def installed_services() -> list[type[Service[Any]]]:
    """Return the services of every installed distribution, by the group `saga.services`. Raises NoService."""
    points = sorted(entry_points(group=INSTALLED), key=lambda point: point.name)
    if not points:
        raise NoService(
            f"no installed package has a service (entry points of the group {INSTALLED});"
            " give files that `<service> declaration` wrote, or use --announced"
        )
    return [_load(point) for point in points]


def _load(point: EntryPoint) -> type[Service[Any]]:
    try:
        service = point.load()
    except (ImportError, AttributeError) as error:
        raise NoService(f"the entry point {point.name} = {point.value} cannot be loaded: {error}") from error
    if not (isinstance(service, type) and issubclass(service, Service)):
        raise NoService(f"the entry point {point.name} = {point.value} is not an eventbus.Service")
    return service
