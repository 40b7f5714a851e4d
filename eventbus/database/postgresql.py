"""The database port on PostgreSQL: rows are locked as they are loaded, in key order.

Nothing is a property of the session: what a transaction needs it sets for itself. So a pooler may give each transaction
another connection to the server (PgBouncer's pool_mode = transaction), and each one makes sure that it is the same
server and the same database that answers. A condition is recognised by its SQLSTATE, never by a text.
"""

from __future__ import annotations

import json
import re
import time
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
from eventbus.database.schema_version import Tables
from eventbus.database.sqlstate import lets_nobody_in
from eventbus.text.redaction import ENCODE, EVERY_HOST, FORM, redact

IDLE_IN_TRANSACTION_MS = 10_000
"""The server ends a transaction whose worker was stopped in the middle of it, so that others can go on."""

IDENTITY = "select pg_postmaster_start_time()::text, pg_relation_filepath(to_regclass('service')), pg_is_in_recovery()"
"""Another server has another one, and so has a database, or a table, that was restored: the path has the oids of both.
The last tells a standby. No table is read for it."""
CONNECT_SECONDS = 5
REFUSALS = 3
"""So often in a row a pooler may end a connection at its first `begin` before it is clear that it always will."""


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


def _settings_in(schema: str) -> str:
    """Return what sets, in a transaction, all that it needs."""
    settings = {
        "search_path": schema,
        "lock_timeout": LOCK_WAIT_MS,
        "client_min_messages": "warning",
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    }
    return "; ".join(f"set local {name} = {value}" for name, value in settings.items())


class PostgreSQL:
    """A server: rows are locked as they are loaded, in key order; the service's tables are in a schema of its name."""

    def __init__(self, url: str, tables: Tables) -> None:
        self._url, self._tables = checked(url), tables
        self._schema = tables.service.replace("-", "_")
        self._settings = _settings_in(self._schema)
        self._connection: psycopg.Connection[Row] | None = None
        self._identity: Row | None = None
        """Who answered in the first transaction of this connection."""
        self._is_standby = False
        self._refused_begins = 0
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
            with self._begun(connection, begin, IDENTITY) as identity:
                self._check_same(identity)
                yield kind(connection)

    @contextmanager
    def _begun(self, connection: psycopg.Connection[Row], begin: str, ask: str) -> Iterator[Row]:
        """Begin with all that a transaction sets for itself, in one round trip; commit, or roll back."""
        try:
            yield self._begin(connection, begin, ask)
            connection.execute("commit")
        except BaseException:
            if not connection.closed and not connection.broken:
                connection.execute("rollback")
            raise

    def _begin(self, connection: psycopg.Connection[Row], begin: str, ask: str) -> Row:
        """Return what the first statement, `ask`, finds."""
        cursor = connection.execute(f"{begin}; {self._settings}; {ask}".encode())
        while cursor.nextset():
            pass
        [found] = cursor.fetchall()
        return found

    def _check_same(self, identity: Row) -> None:
        """Lose the connection where a pooler leads it to another server, or to another copy of the database."""
        *who, self._is_standby = identity
        if self._identity is None:
            self._identity = tuple(who)
        if self._identity != tuple(who):
            self.close()
            self._lose()
            raise Unavailable("PostgreSQL: another server answers now, or another copy of the database")

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
            connection = self._let_in()
            try:
                self._check_pooler(connection)
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, None
            self._tables = replace(self._tables, create=False)
        return self._connection

    def _lose(self) -> None:
        """Forget the connection: the next one may lead to another server, or to an older copy of this one."""
        self._connection = None
        self.losses += 1

    def _let_in(self) -> psycopg.Connection[Row]:
        until = time.monotonic() + CONNECT_SECONDS
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
        except psycopg.OperationalError as error:
            if lets_nobody_in(self._url, error, until):
                raise NotOurs(
                    f"PostgreSQL lets nobody in: {str(error).strip()}: check user, password and name of the database"
                ) from error
            raise

    def _check_pooler(self, connection: psycopg.Connection[Row]) -> None:
        """Prepare no statements behind a pooler, which tells another process id than the server's.

        Raises NotOurs for one that gives not even a transaction a connection of its own (pool_mode = statement).
        """
        [(pid,)] = connection.execute("select pg_backend_pid()").fetchall()
        if pid == connection.info.backend_pid:
            return
        connection.prepare_threshold = None
        try:
            connection.execute("begin")
            connection.execute("rollback")
        except psycopg.errors.ProtocolViolation as error:
            self._refused_begins += 1
            if self._refused_begins >= REFUSALS:
                raise NotOurs(
                    f"the pooler before PostgreSQL takes no transaction: {str(error).strip()}. Its pool_mode must be"
                    " transaction or session"
                ) from error
            raise
        self._refused_begins = 0

    def _prepare(self, connection: psycopg.Connection[Row]) -> None:
        # Before the lock nothing is looked up by its name: what is not there yet would be remembered so (measured).
        lock = f"select pg_advisory_xact_lock(hashtext('{self._schema}')), pg_is_in_recovery()"
        with self._begun(connection, "begin", lock) as (_, self._is_standby):
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
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise self._read_only(error) from error
        except psycopg.errors.DiskFull as error:
            raise Unwritable(
                f"PostgreSQL cannot be written: {str(error).strip()}. Make room, and start again: nothing is lost"
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            if self._connection is not None and (self._connection.closed or self._connection.broken):
                self._lose()
            raise Unavailable(f"PostgreSQL: {str(error).strip()}") from error

    def _read_only(self, error: psycopg.Error) -> Unwritable:
        mend = "let it be written"
        if self._is_standby:
            mend = f"it is a standby. Name the primary, or every host and who is wanted: {EVERY_HOST}"
        said = str(error).strip()
        return Unwritable(f"PostgreSQL cannot be written: {said}: {mend}, and start again: nothing is lost")


@lru_cache(maxsize=256)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


def _as_json(table: Table, rows: Sequence[Row]) -> str:
    return json.dumps([dict(zip(table.columns, row, strict=True)) for row in rows])
