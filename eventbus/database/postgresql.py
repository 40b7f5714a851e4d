"""The database port on PostgreSQL: rows are locked as they are loaded, in key order.

Nothing is set for the session: each transaction sets what it needs. So a pooler may give each transaction another
connection to the server (PgBouncer's pool_mode = transaction), and each transaction checks that the same server and the
same database answer. Conditions are recognised by SQLSTATE, never by text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from eventbus.database import (
    LOCK_WAIT_MS,
    ConcurrentUpdate,
    ReadOnlyOrFull,
    Row,
    Scalar,
    Table,
    Transaction,
    Unavailable,
    WrongDatabase,
    WrongVersion,
    check_owner,
)
from eventbus.database import postgresql_sets as sets
from eventbus.database.schema_version import Tables
from eventbus.database.sqlstate import refuses_login
from eventbus.text.redaction import ENCODE, EVERY_HOST, FORM, redact

IDLE_IN_TRANSACTION_MS = 10_000
"""The server ends the transaction of a worker that is suspended inside it, so that other workers can continue."""

IDENTITY = "select pg_postmaster_start_time()::text, pg_relation_filepath(to_regclass('service')), pg_is_in_recovery()"
"""It differs between servers, and after a database or a table was restored: the path contains the oids of both. The
last column identifies a standby. It reads no table."""
LZ4 = "set local default_toast_compression = lz4"
"""The outbox is large and soon deleted: this takes a third of the time of the server's default (measured)."""
HAS_LZ4 = b"select 1 from pg_settings where name = 'default_toast_compression' and 'lz4' = any(enumvals)"
"""From version 14 on, if it was built with it."""
CONNECT_SECONDS = 5
_Types = dict[Table, sets.Types]
"""The types of the columns that this connection has written."""
REFUSALS = 3
"""How many connections in a row a pooler may close at their first `begin` before that counts as permanent."""


class _PostgreSQLTransaction:
    """Writes are kept until the next read or the end, and sent together: one round trip for all of them.

    Nothing is sent early without a Sync: the server would not end the transaction of a worker that is suspended then.
    """

    locking = " for update"

    def __init__(self, connection: psycopg.Connection[Row], types: _Types) -> None:
        self._connection, self._types = connection, types
        self._writes: list[Callable[[], object]] = []

    def tables(self) -> set[str]:
        sql = b"select relname from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'r'"
        return {name for (name,) in self._executed(sql, ()).fetchall()}

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        return self._executed(_percent(sql), parameters).fetchall()

    def execute(self, sql: str, *parameters: Scalar) -> int:
        return self._executed(_percent(sql), parameters).rowcount

    def executemany(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            self._writes.append(partial(self._connection.cursor().executemany, _percent(sql), rows))

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        return self._executed(sets.select(table, self.locking), (sets.array(sorted(set(keys))),)).fetchall()

    def insert(self, table: Table, rows: Iterable[Row]) -> None:
        self._write(sets.insert, table, list(rows))

    def update(self, table: Table, rows: Iterable[Row]) -> None:
        self._write(sets.update, table, list(rows))

    def send(self) -> None:
        """Send the writes; return when all are answered."""
        writes, self._writes = self._writes, []
        if writes:
            with _pipeline(self._connection):
                for write in writes:
                    write()

    def commit(self) -> None:
        """Send the writes, and commit unless one of them fails, in one round trip.

        If an earlier statement has failed, and the caller went on as if nothing were wrong, `commit` rolls back.
        """
        ended = self._connection.cursor()
        self._writes.append(partial(ended.execute, b"commit"))
        self.send()
        if ended.statusmessage != "COMMIT":
            raise RuntimeError("nothing was committed: a statement of the transaction had failed, and that was ignored")

    def _executed(self, sql: bytes, parameters: Sequence[Any]) -> psycopg.Cursor[Row]:
        self.send()
        return self._connection.execute(sql, parameters)

    def _write(self, statement: Callable[[Table, sets.Types], bytes], table: Table, rows: Sequence[Row]) -> None:
        if rows:
            types = self._types_of(table)
            parameters = sets.parameters(types, rows)
            self._writes.append(partial(self._connection.execute, statement(table, types), parameters))

    def _types_of(self, table: Table) -> sets.Types:
        types = self._types.get(table)
        if types is None:
            types = sets.types(table, self._executed(sets.TYPES, (table.name,)).fetchall())
            self._types[table] = types
        return types

    def signal(self) -> None:
        self._writes.append(partial(self._connection.execute, b"select pg_notify(current_schema(), '')"))


class _PostgreSQLSnapshot(_PostgreSQLTransaction):
    locking = ""


def checked(url: str) -> str:
    """Return the URL.

    Raises WrongDatabase if it cannot be parsed, without libpq's message, which may quote the password.
    """
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        found = {"port": "unreadable"}
    hosts, ports = str(found.get("host") or ""), str(found.get("port") or "")
    if "@" in hosts + str(found.get("dbname") or "") or not re.fullmatch(r"[0-9,]*", ports):
        raise WrongDatabase(f"the database {redact(url)!r} {ENCODE}, as in {FORM}; use only libpq's parameters")
    return url


def _settings_in(schema: str) -> str:
    """Return the statements that set what a transaction needs."""
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
        self._settings = self._basic_settings = _settings_in(self._schema)
        self._connection: psycopg.Connection[Row] | None = None
        self._identity: Row | None = None
        """The identity of the server in the first transaction of this connection."""
        self._types: _Types = {}
        self._is_standby = False
        self._refused_begins = 0
        self._listening: bool | None = None
        """Whether this connection receives notifications; None: not requested. A pooler does not pass them on."""
        self._notified = False
        self.losses = 0

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between("begin", _PostgreSQLTransaction)

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between("begin isolation level repeatable read read only", _PostgreSQLSnapshot)

    def changed(self) -> bool | None:
        """See Database. By LISTEN, from the first call on."""
        if self._connection is None or self._listening is False:
            return None
        try:
            return self._received(self._connection)
        except psycopg.Error:
            self._listening = False  # a standby; or the connection is lost, as the next transaction finds
            return None

    def _received(self, connection: psycopg.Connection[Row]) -> bool:
        if self._listening is None:
            connection.add_notify_handler(self._note)  # for those that arrive during a statement
            connection.execute(f"listen {self._schema}".encode())
            self._listening = self._notified = True
        connection.pgconn.consume_input()
        notified = self._notified or connection.pgconn.notifies() is not None
        while connection.pgconn.notifies() is not None:
            pass
        self._notified = False
        return notified

    def _note(self, _notification: psycopg.Notify) -> None:
        self._notified = True

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _between(self, begin: str, kind: type[_PostgreSQLTransaction]) -> Iterator[Transaction]:
        with self._translated():
            connection = self._usable()
            with self._begun(kind(connection, self._types), connection, begin, IDENTITY) as tx:
                yield tx

    @contextmanager
    def _begun(
        self, tx: _PostgreSQLTransaction, connection: psycopg.Connection[Row], begin: str, ask: str
    ) -> Iterator[Transaction]:
        """Begin a transaction and apply its settings in one round trip; commit, or roll back.

        An error of the database in a write is raised instead of an exception that followed it.
        """
        try:
            *server, self._is_standby = self._begin(connection, begin, ask)
            if connection is self._connection:
                self._check_same(tuple(server))
            try:
                yield tx
            except psycopg.Error:
                raise
            except Exception:
                tx.send()
                raise
            tx.commit()
        except BaseException:
            if not connection.closed and not connection.broken:
                connection.rollback()  # it also forgets statements that a failed pipeline has not prepared
            raise

    def _begin(self, connection: psycopg.Connection[Row], begin: str, ask: str) -> Row:
        """Begin, and return the row of the statement `ask`."""
        try:
            cursor = connection.execute(f"{begin}; {self._settings}; {ask}".encode())
        except psycopg.errors.InvalidParameterValue as error:
            raise self._led_elsewhere() from error
        while cursor.nextset():
            pass
        [found] = cursor.fetchall()
        return found

    def _check_same(self, identity: Row) -> None:
        """Drop the connection if a pooler routes it to another server, or to another copy of the database."""
        if self._identity is None:
            self._identity = identity
        if self._identity != identity:
            raise self._led_elsewhere()

    def _led_elsewhere(self) -> Unavailable:
        self.close()
        self._lose()
        return Unavailable("PostgreSQL: the connection leads to another server, or to another copy of the database")

    def _usable(self) -> psycopg.Connection[Row]:
        try:
            return self._connected()
        except psycopg.ProgrammingError as error:
            raise WrongDatabase(
                f"postgresql://USER@HOST/NAME of {self._tables.service} cannot be used: {str(error).strip()}"
            ) from error

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is not None and self._connection.closed:
            self._lose()
            raise Unavailable("PostgreSQL: the connection was lost")
        if self._connection is None:
            connection, self._settings = self._open(), self._basic_settings
            try:
                self._check_pooler(connection)
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity, self._types = connection, None, {}
            self._tables = replace(self._tables, create=False)
        return self._connection

    def _lose(self) -> None:
        """Drop the connection: the next one may lead to another server, or to an older copy of this database."""
        self._connection = None
        self.losses += 1

    def _open(self) -> psycopg.Connection[Row]:
        until = time.monotonic() + CONNECT_SECONDS
        try:
            connection = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
        except psycopg.OperationalError as error:
            if refuses_login(self._url, error, until):
                raise WrongDatabase(
                    f"PostgreSQL refused the connection: {str(error).strip()}: check user, password and database name"
                ) from error
            raise
        connection.adapters.register_dumper(sets.Blobs, sets.BlobsDumper)
        return connection

    def _check_pooler(self, connection: psycopg.Connection[Row]) -> None:
        """Disable prepared statements behind a pooler, which reports another process id than the server's.

        Raises WrongDatabase for a pooler that does not allow transactions (pool_mode = statement).
        """
        [(pid,)] = connection.execute("select pg_backend_pid()").fetchall()
        self._listening = None if pid == connection.info.backend_pid else False
        if self._listening is None:
            return
        connection.prepare_threshold = None
        try:
            connection.execute("begin")
            connection.execute("rollback")
        except psycopg.errors.ProtocolViolation as error:
            self._refused_begins += 1
            if self._refused_begins >= REFUSALS:
                raise WrongDatabase(
                    f"the pooler in front of PostgreSQL rejects transactions: {str(error).strip()}. Set its pool_mode"
                    " to transaction or session"
                ) from error
            raise
        self._refused_begins = 0

    def _prepare(self, connection: psycopg.Connection[Row]) -> None:
        # Nothing is looked up by name before the lock: that it does not exist yet would be cached (measured).
        lock = f"select pg_advisory_xact_lock(hashtext('{self._schema}')), pg_is_in_recovery()"
        with self._begun(_PostgreSQLTransaction(connection, self._types), connection, "begin", lock) as tx:
            if not self._exists(connection, "to_regclass", f"{self._schema}.service"):
                self._create(connection, tx)
            owners = connection.execute("select name from service").fetchall()
            if len(owners) != 1:
                raise WrongDatabase(f"the schema {self._schema} belongs to another application: name another database")
            check_owner(owners[0][0], self._tables.service, f"the schema {self._schema}")
            self._tables.check(tx, f"the schema {self._schema}")
            if connection.execute(HAS_LZ4).fetchall():
                self._settings += f"; {LZ4}"

    def _create(self, connection: psycopg.Connection[Row], tx: Transaction) -> None:
        # Not `if not exists`: that requires the CREATE privilege even if there is nothing to create.
        if self._tables.create and not self._exists(connection, "to_regnamespace", self._schema):
            connection.execute(f"create schema {self._schema}".encode())
        self._tables.make(tx)

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
            raise ConcurrentUpdate(str(error)) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise WrongVersion(f"PostgreSQL: {str(error).strip()}: the tables do not match this release") from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise self._read_only(error) from error
        except psycopg.errors.DiskFull as error:
            raise ReadOnlyOrFull(
                f"cannot write to PostgreSQL: {str(error).strip()}. Free space, and restart: nothing is lost"
            ) from error
        except psycopg.errors.InFailedSqlTransaction:
            raise  # an earlier statement failed, and the caller went on: a retry fails, too
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            if self._connection is not None and (self._connection.closed or self._connection.broken):
                self._lose()
            raise Unavailable(f"PostgreSQL: {str(error).strip()}") from error

    def _read_only(self, error: psycopg.Error) -> ReadOnlyOrFull:
        remedy = "make it writable"
        if self._is_standby:
            remedy = f"it is a standby. Name the primary, or all hosts with the wanted role: {EVERY_HOST}"
        said = str(error).strip()
        return ReadOnlyOrFull(f"cannot write to PostgreSQL: {said}: {remedy}, and restart: nothing is lost")


@lru_cache(maxsize=256)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


@contextmanager
def _pipeline(connection: psycopg.Connection[Row]) -> Iterator[None]:
    """Send statements without waiting for each answer. The first error is raised, not what follows from it.

    In no variable of this frame, or error and frame would keep each other, and the batch, until garbage is collected.
    """
    first: list[Exception] = []
    try:
        with connection.pipeline():
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, when the other answers are read
                first.append(error)
    except psycopg.Error:
        if not first:
            raise
    if first:
        raise first.pop()
