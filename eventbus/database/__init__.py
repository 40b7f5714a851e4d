"""SQLite and PostgreSQL behind one small port: transactions, snapshots, and set-based loading and saving.

SQL is written once, with `?` for parameters. What differs between the two is in sqlite.py and postgresql.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from eventbus.text.redaction import redact

if TYPE_CHECKING:
    from eventbus.database.schema_version import Schema

SQLITE = "sqlite:///"
V = TypeVar("V")
Row = tuple[Any, ...]
Scalar = str | int | bytes | None

LOCK_WAIT_MS = 5_000
"""How long a statement waits for a lock before Unavailable."""
RACES = 10
"""How often in a row somebody else may be first, before that is an error of its own."""


class Unavailable(ConnectionError):
    """The database is away, locked for too long, or a commit's outcome is unknown. Ask again."""


class ReadOnlyOrFull(Exception):
    """The database is full or read-only: a person has to make room, or let it be written. Nothing was lost."""


class ConcurrentUpdate(Exception):
    """Somebody else was first (a checkpoint that moved, a unique violation, a deadlock): roll back, do it again."""


class WrongDatabase(Exception):
    """The database is not one of this service's, or the URL cannot be one."""


class WrongVersion(WrongDatabase):
    """The database's tables are too old or too new for this program: it is to be upgraded, or a newer program run."""


class NotThere(LookupError):
    """A file that must be read does not exist; it is not made either, where nothing is to be made."""


NO_RECORDS_FAULT = (Unavailable, ReadOnlyOrFull, ConcurrentUpdate, WrongDatabase)
"""What a repository raises that no record is to blame for: whatever else it raises, one of the batch is."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as statements see it; the first column is the primary key, of type text.

    A constant in a repository, never made from input.
    """

    name: str
    columns: tuple[str, ...]

    @property
    def key(self) -> str:
        """The primary key's column."""
        return self.columns[0]


class Transaction(Protocol):
    """What is read and written between begin and commit.

    Statements may raise ConcurrentUpdate, Unavailable or ReadOnlyOrFull.
    """

    locking: str
    """What a select that locks ends with: ` for update`, or nothing where the transaction is the only writer."""

    def tables(self) -> set[str]:
        """Return the names of the tables that are there."""

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        """Return the rows of a select, or of a statement with `returning`."""

    def execute(self, sql: str, *parameters: Scalar) -> int:
        """Run one statement; return the number of rows it changed."""

    def executemany(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of parameters."""

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        """Return the rows with these keys, in key order, locked until the end of the transaction."""

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert all rows; ConcurrentUpdate when one is there already. Give them in key order."""

    def update(self, table: Table, rows: Sequence[Row]) -> None:
        """Write all columns of these rows, found by their keys. Give them in key order."""


class Database(Protocol):
    """One connection of one service, used by one thread. It connects when it is first used, and again after a loss."""

    @property
    def losses(self) -> int:
        """How often the connection was lost, or found to lead to a file that is no longer the one at its path.

        Whatever memory knows of the database may be wrong then: the next connection may lead to an older copy of it.
        """

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit at the end, roll back on an exception. On SQLite the only writer (`begin immediate`)."""

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """Read only, without locks: everything as it was at one moment."""

    def close(self) -> None:
        """Close the connection."""


def retry_on_conflict(database: Database, act: Callable[[Transaction], V]) -> V:
    """Do it in a transaction, and do it again when somebody else was first.

    ConcurrentUpdate when that is so RACES times.
    """
    for _ in range(RACES - 1):
        with suppress(ConcurrentUpdate), database.transaction() as tx:
            return act(tx)
    with database.transaction() as tx:
        return act(tx)


class WorkingSet(Generic[V]):
    """Rows of one batch by key: loaded once, changed in memory event by event, written back as two sets."""

    def __init__(self, loaded: Mapping[str, V] | None = None) -> None:
        self._rows: dict[str, V] = dict(loaded or {})
        self._found = frozenset(self._rows)
        self._touched: set[str] = set()

    def get(self, key: str) -> V | None:
        """Return what is known under this key."""
        return self._rows.get(key)

    def put(self, key: str, value: V) -> None:
        """Remember a new value; it is written when the batch is saved."""
        if self._rows.get(key) != value:
            self._rows[key] = value
            self._touched.add(key)

    def save(self, tx: Transaction, table: Table, row: Callable[[V], Row]) -> None:
        """Insert what was not found, update what was; each in key order."""
        touched = sorted(self._touched)
        tx.insert(table, [row(self._rows[key]) for key in touched if key not in self._found])
        tx.update(table, [row(self._rows[key]) for key in touched if key in self._found])


def connect(
    url: str, *, service: str, schema: Schema | str | None, create: bool = True, any_version: bool = False
) -> Database:
    """Return the database at `url`: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://…`.

    The service's tables (`schema`) and the runtime's are made on first use if the database is empty and `create`; on
    PostgreSQL in a schema named after the service. Using it raises WrongDatabase when the database is another service's
    or nobody's, or when it is empty and nothing is to be made (never without `schema`), and WrongVersion, unless
    `any_version`, when its tables are too old or too new.
    """
    # Each loads the other's driver never: half of a command's start-up time would be psycopg.
    from eventbus.database.upgrade import tables_of  # noqa: PLC0415

    tables = tables_of(service, schema, create=create and schema is not None, any_version=any_version)
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        from eventbus.database.sqlite import SQLite  # noqa: PLC0415

        return SQLite(url.removeprefix(SQLITE), tables)
    if url.startswith(("postgresql://", "postgres://")):
        from eventbus.database.postgresql import PostgreSQL  # noqa: PLC0415

        return PostgreSQL(url, tables)
    raise WrongDatabase(f"the database {redact(url)!r} is neither sqlite:///FILE nor postgresql://USER@HOST/NAME")


@contextmanager
def existing(url: str, *, service: str, schema: Schema | str) -> Iterator[Database]:
    """Open a database that is there: who looks into the wrong place must not be told that nothing is in it.

    Raises NotThere where there is no such file, and WrongDatabase where nothing of the service is in it; neither is
    made.
    """
    check_file(f"the database of {service}", url)
    with closing(connect(url, service=service, schema=schema, create=False)) as database:
        try:
            with database.snapshot():
                pass
        except WrongDatabase as error:
            raise type(error)(f"{redact(url)}: {error}") from error
        yield database


def check_file(what: str, url: str, scheme: str = SQLITE) -> None:
    """Raise NotThere where a URL of this scheme names a file that does not exist."""
    if url.startswith(scheme) and not Path(url.removeprefix(scheme)).exists():
        raise NotThere(f"{what} is not at {redact(url)}: run this where the services run, or say where it is")


def check_owner(owner: str, service: str, where: str) -> None:
    """Raise WrongDatabase unless the database is this service's."""
    if owner != service:
        raise WrongDatabase(f"{where} is the database of {owner}, not of {service}: give each service its own")
