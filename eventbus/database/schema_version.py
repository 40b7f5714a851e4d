"""Versions of a database's tables: the newest schema for a new database, numbered migration steps for an older one.

A database has two components, the runtime's tables and the service's own, and a version of each. A step is a file
`migrations/NNNN_name.sql` beside `schema.sql`; steps are applied in order, once, forward only. A step that older
programs are compatible with (a new table, a column with a default) needs no mark. One that breaks them begins with
`-- oldest compatible: N`, the oldest version that still works; it belongs in a release later than the one that no
longer needs what the step removes. A database without the table schema_version was created by release a2f560b: version
1 of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from eventbus.database import Transaction, WrongDatabase, WrongVersion

TABLE = "schema_version"
RUNTIME, SERVICE = "runtime", "service"
FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
CONTRACT = re.compile(r"^-- oldest compatible: (\d+)$", re.MULTILINE)


class Version(NamedTuple):
    """The version of a component's tables, and the oldest version whose programs are compatible with them."""

    version: int
    oldest_compatible: int


FIRST = Version(1, 1)


class MigrationStep(NamedTuple):
    """One migration step."""

    version: int
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one component: the newest DDL, and the steps that lead to it. Without steps it is version 1."""

    ddl: str
    steps: tuple[MigrationStep, ...] = ()

    @property
    def version(self) -> Version:
        """The newest version."""
        return after(FIRST, self.steps)


def schema_in(folder: Path) -> Schema:
    """Read `schema.sql` and `migrations/*.sql` of a folder."""
    ddl = (folder / "schema.sql").read_text(encoding="utf-8")
    steps = [MigrationStep(number(file), file.stem, file.read_text(encoding="utf-8")) for file in _files(folder)]
    return Schema(ddl, tuple(steps))


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "migrations").glob("*.sql"))


def number(file: Path) -> int:
    """Return the number of a step's file; ValueError if its name is not NNNN_name.sql."""
    match = FILE.fullmatch(file.name)
    if match is None:
        raise ValueError(f"{file}: a migration step must be named NNNN_name.sql")
    return int(match[1])


def after(before: Version, steps: tuple[MigrationStep, ...]) -> Version:
    """Return the version after these steps."""
    oldest = [int(found[1]) for step in steps if (found := CONTRACT.search(step.sql))]
    newest = [step.version for step in steps]
    return Version(max([before.version, *newest]), max([before.oldest_compatible, *oldest]))


@cache
def runtime() -> Schema:
    """Return the runtime's own tables."""
    return schema_in(Path(__file__).parents[1] / "store")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that a program knows. `components` lacks the service's own tables if it does not know them."""

    service: str
    components: Mapping[str, Schema]
    create: bool
    """Create the tables in an empty database."""
    any_version: bool = False
    """Open the database in any version: to upgrade it, or to report its version."""

    def make(self, tx: Transaction) -> None:
        """Create all tables in an empty database, in their newest version. Raises WrongDatabase unless `create`."""
        if not self.create:
            raise WrongDatabase(f"the database is empty, it has no tables of {self.service}: check its URL")
        for schema in self.components.values():
            _run(tx, schema.ddl)
        tx.execute("insert into service (name) values (?)", self.service)
        _make_version_table(tx)
        self._write(tx, {name: schema.version for name, schema in self.components.items()})

    def check(self, tx: Transaction, where: str) -> None:
        """Raise WrongVersion if the tables are too old or too new for this program."""
        if self.any_version:
            return
        here = versions(tx)
        for name, schema in self.components.items():
            if wrong := wrong_version(here[name], schema.version, name, self.service):
                raise WrongVersion(f"{where}: {wrong}")

    def steps(self, here: Mapping[str, Version]) -> dict[str, tuple[MigrationStep, ...]]:
        """Return the steps that a database of these versions lacks, by component."""
        return {
            name: tuple(step for step in schema.steps if step.version > here[name].version)
            for name, schema in self.components.items()
        }

    def upgrade(self, tx: Transaction) -> dict[str, tuple[MigrationStep, ...]]:
        """Apply all missing steps and write the versions, in this transaction. Return the steps."""
        # One upgrade at a time, on PostgreSQL too; no worker locks this row.
        tx.rows(f"select name from service{tx.locking}")
        here = versions(tx)
        todo = self.steps(here)
        if TABLE not in tx.tables():
            _make_version_table(tx)
            self._write(tx, here)
        for steps in todo.values():
            for step in steps:
                _run(tx, step.sql)
        self._write(tx, {name: after(here[name], steps) for name, steps in todo.items() if steps})
        return todo

    def _write(self, tx: Transaction, now: Mapping[str, Version]) -> None:
        for name, version in now.items():
            tx.execute(f"delete from {TABLE} where component = ?", name)
            tx.execute(f"insert into {TABLE} (component, version, oldest_compatible) values (?, ?, ?)", name, *version)


def versions(tx: Transaction) -> dict[str, Version]:
    """Return the versions of a database's components."""
    rows: list[tuple[Any, ...]] = []
    if TABLE in tx.tables():
        rows = tx.rows(f"select component, version, oldest_compatible from {TABLE}")
    return {RUNTIME: FIRST, SERVICE: FIRST} | {name: Version(*version) for name, *version in rows}


def wrong_version(here: Version, ours: Version, component: str, service: str) -> str | None:
    """Return why a program with the version `ours` of a component cannot work with `here`; None if it can."""
    what = f"the {component}'s tables"
    if here.version < ours.version:
        return (
            f"{what} have version {here.version}, and this release needs {ours.version}:"
            f" run `{service} database upgrade`"
        )
    if here.oldest_compatible > ours.version:
        return (
            f"{what} have version {here.version}, which needs a release of version {here.oldest_compatible} or newer,"
            f" and this one has {ours.version}: run the newer release, or restore a backup from before the upgrade"
        )
    return None


def _make_version_table(tx: Transaction) -> None:
    _run(tx, (Path(__file__).parent / f"{TABLE}.sql").read_text(encoding="utf-8"))


def _run(tx: Transaction, sql: str) -> None:
    for statement in statements(sql):
        tx.execute(statement)


def statements(sql: str) -> Iterator[str]:
    """Return the statements of a .sql file, without its comments."""
    lines = [line.partition("--")[0] for line in sql.splitlines()]
    return (statement for part in "\n".join(lines).split(";") if (statement := part.strip()))
