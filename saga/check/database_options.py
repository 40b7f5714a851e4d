"""The option for each service's database, of commands that read all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from eventbus.cli import options as cli
from eventbus.cli.connection_options import secret
from saga.services import SERVICES

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
