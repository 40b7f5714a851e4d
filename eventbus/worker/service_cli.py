"""The command of a service: `<service> run`, and the other commands that every service has."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from eventbus.cli.database_commands import database_commands
from eventbus.cli.options import (
    CONTEXT,
    declaration_command,
    fail,
    group_saying,
    worker_config,
    worker_options,
)
from eventbus.cli.parked_commands import parked_commands
from eventbus.database import ConcurrentUpdate, NotThere, ReadOnlyOrFull, Unavailable, WrongDatabase
from eventbus.database.schema_version import Schema
from eventbus.database.short_keys import AmbiguousKey
from eventbus.serde.plans import BadCodec
from eventbus.serde.registry import RegistryUnavailable, UnknownSchema
from eventbus.serde.registry_config import BadRegistryConfig
from eventbus.service import NoState, Service
from eventbus.startable import cannot_be_made, cannot_start, half_a_repository, misdeclared
from eventbus.store.quarantine import Quarantined
from eventbus.store.schema_source import OtherSchemaIds
from eventbus.text.redaction import scrub, secrets_in
from eventbus.worker.command import workers_command
from eventbus.worker.signals import Signals
from eventbus.worker.telemetry import configure_logging
from eventbus.worker.worker import Worker

FACTS = (
    *(WrongDatabase, NotThere, Quarantined, Unavailable, ReadOnlyOrFull, ConcurrentUpdate),
    *(RegistryUnavailable, UnknownSchema, BadRegistryConfig, OtherSchemaIds, BadCodec),
    AmbiguousKey,
)
"""Errors that are not bugs: reported in one line on stderr, exit code 1."""
Build = Callable[..., Service[Any] | AbstractContextManager[Service[Any]]]


def service_cli(  # noqa: PLR0913 - what differs from service to service, each by its name
    service: type[Service[Any]],
    schema: Schema | str = NoState.schema,
    *,
    build: Build | None = None,
    options: Sequence[Callable[[Any], Any]] = (),
    facts: Sequence[type[Exception]] = (),
    distribution: str | None = None,
) -> click.Group:
    """Return the command of a service: `run`, `parked`, `database`, `workers` and `declaration`; add your own to it.

    Its help is the class's docstring. `schema`: the tables of its repository; without it, it keeps nothing. `build`
    returns the service, or a context manager with it, and is called with what `options` say (click options that only
    `run` takes); its docstring is the help of `run`. By default it is the class. `facts` are exceptions of your
    commands that are not bugs: they are reported in one line on stderr, exit code 1. `distribution`: the package whose
    version --version prints.
    """
    if found := misdeclared(service):
        return Unusable(service.__name__, found)
    unmade = cannot_be_made(build or service, _names(options))
    main = group_saying(*FACTS, *facts)(
        service.name, help=_help(service, f"Example: {service.name} run"), context_settings=CONTEXT
    )
    if distribution is not None:
        main = click.version_option(package_name=distribution)(main)
    main.add_command(_run_command(service, build or service, options, unmade))
    main.add_command(parked_commands(service, schema))
    main.add_command(database_commands(service, schema))
    main.add_command(workers_command(service, schema))
    main.add_command(declaration_command(service, unmade))
    return main


class Unusable(click.Group):
    """The command of a service that has no declaration: whatever is asked of it, it says why, and fails."""

    def __init__(self, service: str, found: Sequence[str]) -> None:
        super().__init__(service)
        self._why = f"{service} cannot start: {'; '.join(found)}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Fail."""
        del ctx, args
        fail(self._why)


def _names(options: Sequence[Callable[[Any], Any]]) -> list[str]:
    """Return the names by which a command gets the values of these options."""
    command = click.Command("options")
    for option in options:
        option(command)
    return [parameter.name for parameter in command.params if parameter.name and parameter.expose_value]


def _run_command(
    service: type[Service[Any]], build: Build, options: Sequence[Callable[[Any], Any]], unmade: Sequence[str]
) -> click.Command:
    def check(found: Sequence[str]) -> None:
        if found:
            fail(f"{service.__name__} cannot start: {'; '.join(found)}")

    def run(**arguments: Any) -> None:
        config = worker_config(arguments)
        check([*unmade, *cannot_start(service, registry=config.schema_registry_url is not None)])
        secrets = secrets_in(config.kafka_config)
        configure_logging(config.log_format, config.log_level, secrets)
        built = build(**arguments)
        with built if isinstance(built, AbstractContextManager) else nullcontext(built) as one:
            check(half_a_repository(service, one.repository))
            worker = Worker(one, config)
            Signals(worker.stop)
            code, error = worker.run()
        if error is not None:
            fail(scrub(str(error), secrets), code)
        sys.exit(code)

    example = f"Example: {service.name} run --bootstrap-servers localhost:9092"
    text = "Start a worker.\n\n" + example if build is service else _help(build, example)
    command = click.command("run", help=text)(run)
    for option in (*options, *worker_options(service.name)):
        command = option(command)
    return command


def _help(documented: object, example: str) -> str:
    text = inspect.getdoc(documented) or ""
    return text if "Example:" in text else f"{text}\n\n{example}"
