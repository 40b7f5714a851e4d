"""The services: those that installed distributions register as entry points, and the saga's own."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from eventbus.manifest import INSTALLED, BadDeclaration, Declaration, read_declaration
from eventbus.service import Service
from eventbus.startable import misdeclared
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService

SERVICES = (OrderService, PaymentService, InventoryService)
"""The saga's own services, which are installed with these tools."""


DECLARATIONS = "SAGA_DECLARATIONS"
"""The environment variable for a folder of declarations of more services, as `<service> declaration` writes them."""


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
    if found := misdeclared(service):
        raise NoService(f"the entry point {point.name} = {point.value}: {'; '.join(found)}")
    return service


def declared_elsewhere() -> list[Declaration]:
    """Return the declarations of services that are not the saga's own, from the folder. Raises BadDeclaration."""
    folder = os.environ.get(DECLARATIONS)
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise BadDeclaration(f"{DECLARATIONS}={folder}: there is no such folder")
    found: dict[str, Declaration] = {}
    for path in sorted(Path(folder).glob("*.json")):
        declaration = read_declaration(path.read_bytes(), str(path))
        if declaration.service in found:
            raise BadDeclaration(f"{path}: {declaration.service} is already declared in another file of the folder")
        found[declaration.service] = declaration
    own = {service.name for service in SERVICES}
    return [declaration for name, declaration in found.items() if name not in own]
