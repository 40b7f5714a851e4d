"""Upgrading the database of a service to the versions that this release needs, and saying which it has."""

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
    """Where a component of a database is, and what this release has."""

    name: str
    here: Version
    ours: Version
    steps: tuple[MigrationStep, ...]
    """What the database lacks."""
    wrong: str | None
    """Why this release cannot work with it."""


def status(url: str, service: str, schema: Schema | str) -> list[Component]:
    """Return the versions of a database that is there. Raises NotThere, WrongDatabase."""
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
    """Apply the steps that a database lacks, all or none, and return them by component; `create`: make an empty one.

    Raises NotThere, WrongDatabase, and ConcurrentUpdate or Unavailable where workers hold what it needs for too long:
    try again.
    """
    if not create:
        check_file(f"the database of {service}", url)
    with _opened(url, service, schema, create=create) as database:
        return retry_on_conflict(database, tables_of(service, schema).upgrade)


def tables_of(service: str, schema: Schema | str | None, *, create: bool = False, any_version: bool = False) -> Tables:
    """Return what is known of a database; where `schema` is None, nothing of the service's own tables."""
    components = {RUNTIME: runtime()}
    if schema is not None:
        components[SERVICE] = Schema(schema) if isinstance(schema, str) else schema
    return Tables(service, components, create, any_version)


def _opened(url: str, service: str, schema: Schema | str, *, create: bool = False) -> AbstractContextManager[Database]:
    return closing(connect(url, service=service, schema=schema, create=create, any_version=True))
