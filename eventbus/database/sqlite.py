"""The database port on SQLite: a file on this host, one writer at a time."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from msgspec.json import Encoder

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
from eventbus.database.schema_version import Tables
from eventbus.database.sqlite_file import OpenFile
from eventbus.log import UnsafeToContinue

SET_ROWS = 20
"""A statement for so many rows takes half the time of a statement for each (measured). Fewer rows are written singly:
each other number would be another statement to prepare."""
NUL = rb"\u0000"
PAGE_BYTES = 8_192
"""For new files: the outbox writes half as many pages, and a commit takes a quarter less time (measured)."""
PRIMARY_CODE = 0xFF
"""The mask of the primary code in SQLite's extended result codes (sqlite.org/rescode.html)."""
UNKNOWN_NAME = re.compile(r"no such (table|column)|has no column named")
OUTAGES = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    )
)
"""Errors that may be transient; SQLite's others are mistakes in a statement."""
NOT_A_DATABASE = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite file",
    sqlite3.SQLITE_CORRUPT: "is damaged: it was overwritten while it was open, or the disk failed. Stop every process"
    " that uses it, and restore a backup without its -wal and -shm",
}
_to_json = Encoder().encode
FULL_OR_READ_ONLY = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY))
WRITE_FAILED = frozenset(
    (
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    )
)
"""A quota, a file size limit, a failing disk: SQLite returns SQLITE_FULL only for ENOSPC."""


class _SQLiteTransaction:
    locking = ""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> set[str]:
        return {name for (name,) in self._connection.execute("select name from sqlite_master where type = 'table'")}

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, *parameters: Scalar) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def executemany(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            self._connection.executemany(sql, rows)

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        # The order of a cross join is that of the keys, and sorting them here takes less time than `order by` does.
        wanted = sorted(set(keys))
        listed = _to_json(wanted)
        if NUL in listed:  # which json_each takes for the end of a text
            return [row for key in wanted for row in self._connection.execute(_select_one(table), (key,))]
        return self._connection.execute(_select(table), (listed.decode(),)).fetchall()

    def insert(self, table: Table, rows: Iterable[Row]) -> None:
        self._in_sets(_insert, table, rows)

    def update(self, table: Table, rows: Iterable[Row]) -> None:
        self._in_sets(_update, table, rows)

    def _in_sets(self, statement: Callable[[Table, int], str], table: Table, rows: Iterable[Row]) -> None:
        """Write the rows as they come: large ones need not be in memory all at once."""
        left = iter(rows)
        while len(some := list(islice(left, SET_ROWS))) == SET_ROWS:
            self._connection.execute(statement(table, SET_ROWS), list(chain.from_iterable(some)))
        self._connection.executemany(statement(table, 1), some)

    def signal(self) -> None:
        """Do nothing: every commit changes `data_version`."""


class SQLite:
    """A file on this host: WAL, synchronous=FULL, one writer at a time."""

    def __init__(self, path: str, tables: Tables) -> None:
        self._path, self._tables = path, tables
        self._connection: sqlite3.Connection | None = None
        self._file: OpenFile | None = None
        self._data_version = 0
        self.losses = 0

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between("begin immediate")

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between("begin deferred")

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _between(self, begin: str) -> Iterator[Transaction]:
        try:
            connection = self.connected()
            connection.execute(begin)
            try:
                yield _SQLiteTransaction(connection)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
        except sqlite3.Error as error:
            if (translated := _translated(error, self._path)) is None:
                raise
            raise translated from error

    def connected(self) -> sqlite3.Connection:
        """Return the connection; it is opened on first use."""
        if self._connection is not None and self._file is not None:
            self._check_file(self._connection, self._file)
        if self._connection is None:
            if self.losses and not Path(self._path).exists():
                raise Unavailable(f"{self._path} was deleted: restore it, or stop the worker")
            connection = sqlite3.connect(
                self._path, timeout=LOCK_WAIT_MS / 1000, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._file = connection, OpenFile(self._path)
            self._tables = replace(self._tables, create=False)
        return self._connection

    def _check_file(self, connection: sqlite3.Connection, file: OpenFile) -> None:
        """Raise Unavailable if another file is at the path, UnsafeToContinue if the log or index of this one is gone.

        Commits of processes with different logs or indexes of one file are lost (sqlite.org/howtocorrupt.html): so
        every process with the old ones must exit.
        """
        moved = not file.is_at_its_path()
        missing = file.missing()
        if not moved and missing is None:
            return
        self._connection, self._file = None, None
        self.losses += 1
        with closing(connection):
            (file.let_go if moved else file.complete)(connection)
        if moved:
            raise Unavailable(
                f"{self._path} was replaced or deleted while it was open: the worker recovers from the file that is at"
                " this path now, as after a restart"
            )
        raise UnsafeToContinue(
            f"{missing} was deleted while {self._path} was open: commits of other processes may be lost. Stop every"
            " process that has the file open, then restart; only SQLite itself may delete that file"
        )

    def changed(self) -> bool | None:
        """See Database. Every commit of another connection is one (sqlite.org/pragma.html#pragma_data_version)."""
        if self._connection is None:
            return None
        try:
            [(version,)] = self._connection.execute("pragma data_version").fetchall()
        except sqlite3.Error:
            return None  # the next transaction says what is wrong
        before, self._data_version = self._data_version, version
        return bool(version != before)

    def unguarded(self) -> Transaction:
        """Return statements that are a transaction each: for a caller that is the only writer."""
        return _SQLiteTransaction(self.connected())

    def _prepare(self, connection: sqlite3.Connection) -> None:
        owner = self._owner(connection)
        connection.execute(f"pragma page_size = {PAGE_BYTES}")
        _use_wal(connection)
        connection.execute("pragma synchronous = full")
        # Debian's SQLite overwrites what is deleted: a third of a commit (measured). SQLite's own default does not.
        connection.execute("pragma secure_delete = fast")
        connection.execute("pragma foreign_keys = on")
        if owner is None:
            owner = self._create(connection)
        check_owner(owner, self._tables.service, self._path)
        self._tables.check(_SQLiteTransaction(connection), self._path)

    def _owner(self, connection: sqlite3.Connection) -> str | None:
        names = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
        tables = sorted(name for (name,) in connection.execute(names))
        columns = connection.execute("select name from pragma_table_info('service')").fetchall()
        owners = connection.execute("select name from service").fetchall() if columns == [("name",)] else []
        if tables and len(owners) != 1:
            raise WrongDatabase(
                f"{self._path} is a SQLite file of another application (tables {', '.join(tables[:3])})"
            )
        return str(owners[0][0]) if owners else None

    def _create(self, connection: sqlite3.Connection) -> str:
        """Create the tables, unless another process has just created them; return their owner."""
        connection.execute("begin immediate")
        owner = self._owner(connection)
        if owner is None:
            self._tables.make(_SQLiteTransaction(connection))
        connection.execute("commit")
        return owner or self._tables.service


@lru_cache
def _select(table: Table) -> str:
    columns = ", ".join(f"{table.name}.{column}" for column in table.columns)
    wanted = f"json_each(?) as wanted cross join {table.name} on {table.name}.{table.key} = wanted.value"
    return f"select {columns} from {wanted}"


@lru_cache
def _select_one(table: Table) -> str:
    return f"select {', '.join(table.columns)} from {table.name} where {table.key} = ?"


@lru_cache
def _insert(table: Table, rows: int) -> str:
    return f"insert into {table.name} ({', '.join(table.columns)}) {_values(table, rows)}"


@lru_cache
def _update(table: Table, rows: int) -> str:
    new = f"new ({', '.join(table.columns)}) as ({_values(table, rows)})"
    sets = ", ".join(f"{column} = new.{column}" for column in table.columns[table.keys :])
    which = " and ".join(f"{table.name}.{column} = new.{column}" for column in table.columns[: table.keys])
    return f"with {new} update {table.name} set {sets} from new where {which}"


def _values(table: Table, rows: int) -> str:
    row = f"({', '.join('?' * len(table.columns))})"
    return f"values {', '.join([row] * rows)}"


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for the lock that this takes on a new file (sqlite.org/wal.html): retry."""
    deadline = time.monotonic() + LOCK_WAIT_MS / 1000
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _translated(error: sqlite3.Error, path: str) -> Exception | None:
    """Return the port's exception for an error of SQLite; None for a mistake in a statement."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return ConcurrentUpdate(str(error))
    if code & PRIMARY_CODE in NOT_A_DATABASE:
        return WrongDatabase(f"{path} {NOT_A_DATABASE[code & PRIMARY_CODE]}")
    if code & PRIMARY_CODE in FULL_OR_READ_ONLY or code in WRITE_FAILED:
        return ReadOnlyOrFull(
            f"cannot write to {path}: {error}. Free space, or make it writable, and restart: nothing is lost"
        )
    if UNKNOWN_NAME.search(str(error)):
        return WrongVersion(f"{path}: {error}: its tables do not match this release")
    if code & PRIMARY_CODE in OUTAGES:
        hint = (
            ": check that its folder exists and that this user may write in it"
            if code == sqlite3.SQLITE_CANTOPEN
            else ""
        )
        return Unavailable(f"{path}: {error}{hint}")
    return None
