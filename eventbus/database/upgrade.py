"""Upgrading the database of a service to the versions that this release needs, and reporting which it has."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from typing import NamedTuple

from eventbus.database import Database, check_file, connect, retry_on_conflict
from eventbus.database.schema_version import (
    RUNTIME,
    SERVICE,
    MigrationStep,
    Schema,
    Tables,
    Version,
    runtime,
    versions,
    wrong_version,
)


class Component(NamedTuple):
    """The version of a component in a database and in this release."""

    name: str
    here: Version
    ours: Version
    steps: tuple[MigrationStep, ...]
    """The steps that the database lacks."""
    wrong: str | None
    """Why this release is incompatible with it; None if it is not."""


def status(url: str, service: str, schema: Schema | str) -> list[Component]:
    """Return the versions of an existing database. Raises NotThere, WrongDatabase."""
    tables = tables_of(service, schema)
    check_file(f"the database of {service}", url)
    with _opened(url, service, schema) as database, database.snapshot() as tx:
        here = versions(tx)
    todo = tables.steps(here)
    return [
        Component(name, here[name], known.version, todo[name], wrong_version(here[name], known.version, name, service))
        for name, known in tables.components.items()
    ]


def upgrade(
    url: str, service: str, schema: Schema | str, *, create: bool = False
) -> dict[str, tuple[MigrationStep, ...]]:
    """Apply the steps that a database lacks, all or none, and return them by component; `create`: create an empty one.

    Raises NotThere, WrongDatabase, and ConcurrentUpdate or Unavailable if workers hold its locks for too long: retry.
    """
    if not create:
        check_file(f"the database of {service}", url)
    with _opened(url, service, schema, create=create) as database:
        return retry_on_conflict(database, tables_of(service, schema).upgrade)


def tables_of(service: str, schema: Schema | str | None, *, create: bool = False, any_version: bool = False) -> Tables:
    """Return the tables of a database; without the service's own if `schema` is None."""
    components = {RUNTIME: runtime()}
    if schema is not None:
        components[SERVICE] = Schema(schema) if isinstance(schema, str) else schema
    return Tables(service, components, create, any_version)


def _opened(url: str, service: str, schema: Schema | str, *, create: bool = False) -> AbstractContextManager[Database]:
    return closing(connect(url, service=service, schema=schema, create=create, any_version=True))
