"""SQLite and PostgreSQL behind one small port: transactions, snapshots, and set-based loading and saving.

SQL is written once, with `?` for parameters. The differences between the two are in sqlite.py and postgresql.py.
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
"""How many attempts in a row may end in a concurrent update before ConcurrentUpdate is raised."""


class Unavailable(ConnectionError):
    """The database is unavailable, locked for too long, or the outcome of a commit is unknown. Retry."""


class ReadOnlyOrFull(Exception):
    """The database is full or read-only: an operator must free space, or make it writable. Nothing was lost."""


class ConcurrentUpdate(Exception):
    """Another transaction was first (a checkpoint that moved, a unique violation, a deadlock): roll back and retry."""


class WrongDatabase(Exception):
    """The database does not belong to this service, or the URL is not a database's."""


class WrongVersion(WrongDatabase):
    """The database's tables are too old or too new for this program: upgrade the database, or run a newer program."""


class NotThere(LookupError):
    """A file that must be read does not exist; it is not created."""


NO_RECORDS_FAULT = (Unavailable, ReadOnlyOrFull, ConcurrentUpdate, WrongDatabase)
"""What a repository raises independently of the records: any other exception is caused by a record of the batch."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table for statements; the first column is the primary key, of type text.

    A constant in a repository, never built from input.
    """

    name: str
    columns: tuple[str, ...]
    keys: int = 1
    """So many columns, the first ones, are the primary key. Rows with a key of several cannot be loaded."""

    @property
    def key(self) -> str:
        """The primary key's column."""
        return self.columns[0]


@dataclass(frozen=True, slots=True)
class DueColumn:
    """The two nullable columns of a service's table that hold a deadline, in milliseconds since 1970 UTC.

    They are set and cleared by the same write as the row, and each has an index `where … is not null`. A constant in a
    repository, never built from input.
    """

    table: str
    key: str
    """The primary key's column, of type text: the key of the events about the row."""
    at: str
    """When the deadline is over; null: none is set."""
    set_at: str
    """When it was set, by the clock that set it: the difference is its length."""

    @property
    def name(self) -> str:
        """The deadline's name in declarations and messages."""
        return f"{self.table}.{self.at}"

    @property
    def rows(self) -> Table:
        """The key and the deadline of each row."""
        return Table(self.table, (self.key, self.at, self.set_at))


class Transaction(Protocol):
    """Reads and writes between begin and commit.

    Statements may raise ConcurrentUpdate, Unavailable or ReadOnlyOrFull. What `executemany`, `insert` and `update`
    raise may be raised by a later statement, or at the end: on PostgreSQL they are sent together with it.
    """

    locking: str
    """The end of a select that locks: ` for update`, or empty if the transaction is the only writer."""

    def tables(self) -> set[str]:
        """Return the names of the existing tables."""

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        """Return the rows of a select, or of a statement with `returning`."""

    def execute(self, sql: str, *parameters: Scalar) -> int:
        """Run one statement; return the number of rows it changed."""

    def executemany(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of parameters."""

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        """Return the rows with these keys, in key order, locked until the end of the transaction."""

    def insert(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert all rows, given in key order. Raises ConcurrentUpdate if one exists already."""

    def update(self, table: Table, rows: Iterable[Row]) -> None:
        """Update all columns of these rows, found by their keys and given in key order."""

    def signal(self) -> None:
        """Let `Database.changed` of other connections return true once this transaction has committed."""


class Database(Protocol):
    """One connection of one service, used by one thread. It connects on first use, and again after a loss."""

    @property
    def losses(self) -> int:
        """How often the connection was lost, or its file was found to be no longer the one at its path.

        State in memory may then be wrong: the next connection may lead to an older copy of the database.
        """

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit at the end, roll back on an exception. On SQLite the only writer (`begin immediate`)."""

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """Read only, without locks: a consistent snapshot."""

    def changed(self) -> bool | None:
        """Return whether another connection has signalled since the last call; None if that cannot be known here.

        Cheap, and only a hint: it may be true without a reason, and a signal may be lost with the connection.
        """

    def close(self) -> None:
        """Close the connection."""


def retry_on_conflict(database: Database, act: Callable[[Transaction], V]) -> V:
    """Call `act` in a transaction, and repeat it after a concurrent update.

    Raises ConcurrentUpdate after RACES attempts.
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
        """Return the row with this key."""
        return self._rows.get(key)

    def put(self, key: str, value: V) -> None:
        """Set a row; it is written when the batch is saved."""
        if self._rows.get(key) != value:
            self._rows[key] = value
            self._touched.add(key)

    def save(self, tx: Transaction, table: Table, row: Callable[[V], Row]) -> None:
        """Insert new rows and update loaded ones, each in key order."""
        new, changed = self._touched - self._found, self._touched & self._found
        tx.insert(table, (row(self._rows[key]) for key in sorted(new)))
        tx.update(table, (row(self._rows[key]) for key in sorted(changed)))


def connect(
    url: str, *, service: str, schema: Schema | str | None, create: bool = True, any_version: bool = False
) -> Database:
    """Return the database at `url`: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://…`.

    The service's tables (`schema`) and the runtime's are created on first use if the database is empty and `create` is
    set (never without `schema`); on PostgreSQL in a schema named after the service. Use raises WrongDatabase if the
    database belongs to another service or to none, or is empty and nothing is created, and WrongVersion, unless
    `any_version`, if its tables are too old or too new.
    """
    # Only the driver in use is imported: psycopg would be half of a command's start-up time.
    from eventbus.database.upgrade import tables_of  # noqa: PLC0415

    tables = tables_of(service, schema, create=create and schema is not None, any_version=any_version)
    if is_postgresql(url):
        from eventbus.database.postgresql import PostgreSQL  # noqa: PLC0415

        return PostgreSQL(url, tables)
    from eventbus.database.sqlite import SQLite  # noqa: PLC0415

    return SQLite(url.removeprefix(SQLITE), tables)


def is_postgresql(url: str) -> bool:
    """Return whether a database is on a PostgreSQL server; False for SQLite. Raises WrongDatabase for other URLs."""
    if url.startswith(("postgresql://", "postgres://")):
        return True
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        return False
    raise WrongDatabase(f"the database {redact(url)!r} is neither sqlite:///FILE nor postgresql://USER@HOST/NAME")


@contextmanager
def existing(url: str, *, service: str, schema: Schema | str) -> Iterator[Database]:
    """Open an existing database: a wrong path must be an error, not an empty database.

    Raises NotThere if the file does not exist, and WrongDatabase if the service's tables are not in it; neither is
    created.
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
    """Raise NotThere if a URL of this scheme names a file that does not exist."""
    if url.startswith(scheme) and not Path(url.removeprefix(scheme)).exists():
        raise NotThere(f"{what} is not at {redact(url)}: run this where the services run, or specify its URL")


def check_owner(owner: str, service: str, where: str) -> None:
    """Raise WrongDatabase unless the database belongs to this service."""
    if owner != service:
        raise WrongDatabase(
            f"{where} is the database of {owner}, not of {service}: use a separate one for each service"
        )
