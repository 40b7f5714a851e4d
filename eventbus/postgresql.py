"""The database port on PostgreSQL: rows are locked as they are loaded, in key order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache

import psycopg
from psycopg.conninfo import conninfo_to_dict

from eventbus.database import (
    LOCK_WAIT_MS,
    LostRace,
    NotOurs,
    Row,
    Scalar,
    Table,
    Transaction,
    Unavailable,
    Unwritable,
    WrongVersion,
    check_owner,
)
from eventbus.redaction import ENCODE, FORM, redact
from eventbus.schema_version import Tables

IDLE_IN_TRANSACTION_MS = 10_000
"""The server ends a transaction whose worker was stopped in the middle of it, so that others can go on."""

LETS_NOBODY_IN = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied for database"
    r'|(role|database) ".*" does not exist'
)
"""What a server that is there says to who cannot come in; while connecting there is no SQLSTATE to be had."""


class _PostgreSQLTransaction:
    locking = " for update"

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def tables(self) -> set[str]:
        sql = "select relname from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'r'"
        return {name for (name,) in self._connection.execute(sql).fetchall()}

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        return self._connection.execute(_percent(sql), parameters).fetchall()

    def execute(self, sql: str, *parameters: Scalar) -> int:
        return self._connection.execute(_percent(sql), parameters).rowcount

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(_percent(sql), rows)

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        select = f"select {', '.join(table.columns)} from {table.name} where {table.key} = any(%s)"
        sql = f'{select} order by {table.key} collate "C"{self.locking}'
        return self._connection.execute(sql.encode(), (sorted(set(keys)),)).fetchall()

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            names = ", ".join(table.columns)
            new = f"json_populate_recordset(null::{table.name}, %s)"
            sql = f"insert into {table.name} ({names}) select {names} from {new}"
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


def checked(url: str) -> str:
    """Return the URL. Raises NotOurs, without libpq's words, which quote the wrong parts, where it cannot be read."""
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        found = {"port": "unreadable"}
    hosts, ports = str(found.get("host") or ""), str(found.get("port") or "")
    if "@" in hosts + str(found.get("dbname") or "") or not re.fullmatch(r"[0-9,]*", ports):
        raise NotOurs(f"the database {redact(url)!r} {ENCODE}, as in {FORM}, and as parameters only libpq's")
    return url


class PostgreSQL:
    """A server: rows are locked as they are loaded, in key order; the service's tables are in a schema of its name."""

    def __init__(self, url: str, tables: Tables) -> None:
        self._url, self._tables = checked(url), tables
        self._schema = tables.service.replace("-", "_")
        self._connection: psycopg.Connection[Row] | None = None
        self.losses = 0

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between("begin", _PostgreSQLTransaction)

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between("begin isolation level repeatable read read only", _PostgreSQLSnapshot)

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _between(self, begin: str, kind: type[_PostgreSQLTransaction]) -> Iterator[Transaction]:
        with self._translated():
            connection = self._ours()
            connection.execute(begin.encode())
            try:
                yield kind(connection)
                connection.execute("commit")
            except BaseException:
                if not connection.closed and not connection.broken:
                    connection.execute("rollback")
                raise

    def _ours(self) -> psycopg.Connection[Row]:
        try:
            return self._connected()
        except psycopg.ProgrammingError as error:
            raise NotOurs(
                f"postgresql://USER@HOST/NAME of {self._tables.service} cannot be used: {str(error).strip()}"
            ) from error

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is not None and self._connection.closed:
            self._lose()
            raise Unavailable("PostgreSQL: the connection was lost")
        if self._connection is None:
            options = (
                f"-c search_path={self._schema} -c lock_timeout={LOCK_WAIT_MS} -c client_min_messages=warning"
                f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
            )
            connection = self._let_in(options)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._tables = replace(self._tables, create=False)
        return self._connection

    def _lose(self) -> None:
        """Forget the connection: the next one may lead to another server, or to an older copy of this one."""
        self._connection = None
        self.losses += 1

    def _let_in(self, options: str) -> psycopg.Connection[Row]:
        try:
            return psycopg.connect(self._url, autocommit=True, options=options, connect_timeout=5)
        except psycopg.OperationalError as error:
            if LETS_NOBODY_IN.search(str(error)):
                raise NotOurs(
                    f"PostgreSQL lets nobody in: {str(error).strip()}: check user, password and name of the database"
                ) from error
            raise

    def _prepare(self, connection: psycopg.Connection[Row]) -> None:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
            if not self._exists(connection, "to_regclass", f"{self._schema}.service"):
                self._create(connection)
            owners = connection.execute("select name from service").fetchall()
            if len(owners) != 1:
                raise NotOurs(f"the schema {self._schema} is of something else")
            check_owner(owners[0][0], self._tables.service, f"the schema {self._schema}")
            self._tables.check(_PostgreSQLTransaction(connection), f"the schema {self._schema}")

    def _create(self, connection: psycopg.Connection[Row]) -> None:
        # Not `if not exists`: that asks for the right to create schemas even where there is nothing to create.
        if self._tables.create and not self._exists(connection, "to_regnamespace", self._schema):
            connection.execute(f"create schema {self._schema}".encode())
        self._tables.make(_PostgreSQLTransaction(connection))

    def _exists(self, connection: psycopg.Connection[Row], find: str, name: str) -> bool:
        return connection.execute(f"select {find}(%s) is not null".encode(), (name,)).fetchall() == [(True,)]

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
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise WrongVersion(
                f"PostgreSQL: {str(error).strip()}: the tables are not those that this release works with"
            ) from error
        except (psycopg.errors.DiskFull, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise Unwritable(
                f"PostgreSQL cannot be written: {str(error).strip()}. Make room, or let it be written, and start again:"
                " nothing is lost"
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            if self._connection is not None and (self._connection.closed or self._connection.broken):
                self._lose()
            raise Unavailable(f"PostgreSQL: {str(error).strip()}") from error


@lru_cache(maxsize=256)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


def _as_json(table: Table, rows: Sequence[Row]) -> str:
    return json.dumps([dict(zip(table.columns, row, strict=True)) for row in rows])
