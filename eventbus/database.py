"""SQLite and PostgreSQL behind one small port: transactions, snapshots, and set-based loading and saving.

SQL is written once, with `?` for parameters. What differs between the two is here and nowhere else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import psycopg

V = TypeVar("V")
Row = tuple[Any, ...]
Scalar = str | int | bytes | None

LOCK_WAIT_MS = 5_000
"""How long a statement waits for a lock before Unavailable."""
IDLE_IN_TRANSACTION_MS = 10_000
"""PostgreSQL ends a transaction whose worker was stopped in the middle of it, so that others can go on."""


class Unavailable(ConnectionError):
    """The database is away, locked for too long, full or read-only, or a commit's outcome is unknown. Ask again."""


class LostRace(Exception):
    """Somebody else was first (a checkpoint that moved, a unique violation, a deadlock): roll back, do it again."""


class NotOurs(Exception):
    """The database is not one of this service's, or the URL cannot be one."""


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
    """What is read and written between begin and commit. Statements may raise LostRace or Unavailable."""

    locking: str
    """What a select that locks ends with: ` for update`, or nothing where the transaction is the only writer."""

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        """Return the rows of a select, or of a statement with `returning`."""

    def execute(self, sql: str, *parameters: Scalar) -> int:
        """Run one statement; return the number of rows it changed."""

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of parameters."""

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        """Return the rows with these keys, in key order, locked until the end of the transaction."""

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert all rows; LostRace when one is there already. Give them in key order."""

    def update(self, table: Table, rows: Sequence[Row]) -> None:
        """Write all columns of these rows, found by their keys. Give them in key order."""


class Database(Protocol):
    """One connection of one service, used by one thread. It connects when it is first used, and again after a loss."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit at the end, roll back on an exception. On SQLite the only writer (`begin immediate`)."""

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """Read only, without locks: everything as it was at one moment."""

    def close(self) -> None:
        """Close the connection."""


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


def connect(url: str, *, service: str, schema: str) -> Database:
    """Return the database at `url`: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://…`.

    The service's tables (`schema`) and the runtime's are made on first use if the database is empty; on PostgreSQL in a
    schema named after the service. Using it raises NotOurs when the database is another service's or nobody's.
    """
    ddl = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8") + schema
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return SQLite(url.removeprefix("sqlite:///"), service, ddl)
    if url.startswith(("postgresql://", "postgres://")):
        return PostgreSQL(url, service, ddl)
    raise NotOurs(f"the database {url!r} is neither sqlite:///FILE nor postgresql://USER@HOST/NAME")


class _SQLiteTransaction:
    locking = ""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, *parameters: Scalar) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            self._connection.executemany(sql, rows)

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        wanted = json.dumps(sorted(set(keys)))
        sql = (
            f"select {', '.join(table.columns)} from {table.name} where {table.key} in (select value from json_each(?))"
        )
        return self._connection.execute(f"{sql} order by {table.key}", (wanted,)).fetchall()

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            marks = ", ".join("?" * len(table.columns))
            self._connection.executemany(
                f"insert into {table.name} ({', '.join(table.columns)}) values ({marks})", rows
            )

    def update(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            sets = ", ".join(f"{column} = ?" for column in table.columns[1:])
            self._connection.executemany(
                f"update {table.name} set {sets} where {table.key} = ?", [(*row[1:], row[0]) for row in rows]
            )


class SQLite:
    """A file on this host: WAL, synchronous=FULL, one writer at a time."""

    def __init__(self, path: str, service: str, ddl: str) -> None:
        self._path, self._service, self._ddl = path, service, ddl
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See Database."""
        with self._between("begin immediate") as tx:
            yield tx

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """See Database."""
        with self._between("begin deferred") as tx:
            yield tx

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _between(self, begin: str) -> Iterator[Transaction]:
        with _translated_sqlite(self._path):
            connection = self._connected()
            connection.execute(begin)
            try:
                yield _SQLiteTransaction(connection)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=LOCK_WAIT_MS / 1000, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        names = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
        tables = {name for (name,) in connection.execute(names)}
        if tables and "service" not in tables:
            raise NotOurs(f"{self._path} is a SQLite file of something else (tables {', '.join(sorted(tables)[:3])})")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("begin immediate")
        if not connection.execute(names).fetchall():
            for statement in _statements(self._ddl):
                connection.execute(statement)
            connection.execute("insert into service (name) values (?)", (self._service,))
        (owner,) = connection.execute("select name from service").fetchone()
        connection.execute("commit")
        _check_owner(owner, self._service, self._path)


@contextmanager
def _translated_sqlite(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        if "UNIQUE" in str(error):
            raise LostRace(str(error)) from error
        raise
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise NotOurs(f"{path} is not a SQLite file") from error
        if isinstance(error, sqlite3.OperationalError) and not isinstance(error, sqlite3.ProgrammingError):
            raise Unavailable(f"{path}: {error}") from error
        raise


class _PostgreSQLTransaction:
    locking = " for update"

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        return self._connection.execute(_percent(sql), parameters).fetchall()

    def execute(self, sql: str, *parameters: Scalar) -> int:
        return self._connection.execute(_percent(sql), parameters).rowcount

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(_percent(sql), rows)

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        columns = ", ".join(table.columns)
        sql = f"select {columns} from {table.name} where {table.key} = any(%s) order by {table.key}{self.locking}"
        return self._connection.execute(sql.encode(), (sorted(set(keys)),)).fetchall()

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            names = ", ".join(table.columns)
            sql = f"insert into {table.name} ({names}) select {names} from json_populate_recordset(null::{table.name}, %s)"
            self._connection.execute(sql.encode(), (_as_json(table, rows),))

    def update(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            sets = ", ".join(f"{column} = new.{column}" for column in table.columns[1:])
            sql = (
                f"update {table.name} set {sets} from json_populate_recordset(null::{table.name}, %s) new"
                f" where {table.name}.{table.key} = new.{table.key}"
            )
            self._connection.execute(sql.encode(), (_as_json(table, rows),))


class _PostgreSQLSnapshot(_PostgreSQLTransaction):
    locking = ""


class PostgreSQL:
    """A server: rows are locked as they are loaded, in key order; the service's tables are in a schema of its name."""

    def __init__(self, url: str, service: str, ddl: str) -> None:
        self._url, self._service, self._ddl = url, service, ddl
        self._schema = service.replace("-", "_")
        self._connection: psycopg.Connection[Row] | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See Database."""
        with self._between("begin", _PostgreSQLTransaction) as tx:
            yield tx

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """See Database."""
        with self._between("begin isolation level repeatable read read only", _PostgreSQLSnapshot) as tx:
            yield tx

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _between(self, begin: str, kind: type[_PostgreSQLTransaction]) -> Iterator[Transaction]:
        with self._translated():
            connection = self._connected()
            connection.execute(begin.encode())
            try:
                yield kind(connection)
                connection.execute("commit")
            except BaseException:
                if not connection.closed and not connection.broken:
                    connection.execute("rollback")
                raise

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None:
            options = (
                f"-c search_path={self._schema} -c lock_timeout={LOCK_WAIT_MS} -c client_min_messages=warning"
                f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
            )
            connection = psycopg.connect(self._url, autocommit=True, options=options, connect_timeout=5)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: psycopg.Connection[Row]) -> None:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
            exists = "select 1 from information_schema.tables where table_schema = %s and table_name = 'service'"
            if connection.execute(exists, (self._schema,)).fetchone() is None:
                connection.execute(f'create schema if not exists "{self._schema}"'.encode())
                for statement in _statements(self._ddl):
                    connection.execute(statement.encode())
                connection.execute("insert into service (name) values (%s)", (self._service,))
            owner = connection.execute("select name from service").fetchone()
        assert owner is not None
        _check_owner(owner[0], self._service, f"the schema {self._schema}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (
            psycopg.errors.UniqueViolation,
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
        ) as error:
            raise LostRace(str(error)) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            if self._connection is not None and (self._connection.closed or self._connection.broken):
                self._connection = None
            raise Unavailable(f"PostgreSQL: {str(error).strip()}") from error


def _check_owner(owner: str, service: str, where: str) -> None:
    if owner != service:
        raise NotOurs(f"{where} is the database of {owner}, not of {service}: give each service its own")


def _statements(ddl: str) -> list[str]:
    lines = [line.partition("--")[0] for line in ddl.splitlines()]
    return [statement for part in "\n".join(lines).split(";") if (statement := part.strip())]


@lru_cache(maxsize=256)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


def _as_json(table: Table, rows: Sequence[Row]) -> str:
    return json.dumps([dict(zip(table.columns, row, strict=True)) for row in rows])
