"""The services' databases, of commands that read all of them: an option for each of the saga's own services."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from eventbus.cli import options as cli
from eventbus.cli.connection_options import from_file, secret
from saga.services import SERVICES, declared_elsewhere

F = TypeVar("F", bound=Callable[..., Any])


def database_options(purpose: str) -> Callable[[F], F]:
    """Add an option for the database of each service, as `order_database`; `purpose` ends the help of each."""

    def add(command: F) -> F:
        for service in reversed(SERVICES):
            variable, default = cli.database_of(service.name)
            command = click.option(
                f"--{service.name.removesuffix('-service')}-database",
                envvar=variable,
                show_envvar=True,
                default=default,
                callback=secret,
                help=f"The database of {service.name}: {purpose}.",
            )(command)
        return command

    return add


def declared_databases() -> dict[str, str]:
    """Return the databases of services of other projects, which have no option, as their workers find them."""
    places = {declaration.service: cli.database_of(declaration.service) for declaration in declared_elsewhere()}
    return {name: from_file(os.environ.get(variable, default)) for name, (variable, default) in places.items()}
