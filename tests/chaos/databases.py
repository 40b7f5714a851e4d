"""The services' databases: how they are taken away for some seconds, and put back to an earlier state."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

import psycopg

from eventbus.database import Unavailable, WrongDatabase
from eventbus.database.postgresql import checked
from eventbus.text.redaction import redact
from saga.demo.workers import MODULES

AGAIN_SECONDS = 0.2
LOCK_WAIT_SECONDS = 30.0
OTHERS = "datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
TERMINATE = f"select pg_terminate_backend(pid) from pg_stat_activity where {OTHERS}"
BACKUP, NEWEST = "_backup", "_newest"


class NotEmpty(RuntimeError):
    """The database has schemas of the services' names already: somebody's orders may be in them."""


def _locks() -> dict[str, Lock]:
    return {service: Lock() for service in MODULES}


class Databases(Protocol):
    """Where the services keep what they know."""

    @property
    def opening(self) -> Mapping[str, Lock]:
        """Who but a worker uses a service's database holds its lock: nobody may while another copy is in its place."""

    def url(self, service: str) -> str:
        """Return the database of a service, as its --database option takes it."""

    def take_away(self, service: str, seconds: float) -> None:
        """Let the service not write for so long."""

    def back_up(self, service: str) -> None:
        """Make a backup, as an administrator does it while everybody works."""

    def restore(self, service: str) -> None:
        """Put the backup in place, and keep what was there."""

    def put_newest_back(self, service: str) -> None:
        """Undo it: put back what was there. Nobody uses the database meanwhile."""


@dataclass(frozen=True, slots=True)
class Files:
    """A SQLite file for each service."""

    folder: Path
    opening: Mapping[str, Lock] = field(default_factory=_locks, compare=False)

    def url(self, service: str) -> str:
        """See Databases."""
        return f"sqlite:///{self._path(service)}"

    def take_away(self, service: str, seconds: float) -> None:
        """Hold the one lock that writers need (`begin immediate`)."""
        file = sqlite3.connect(self._path(service), timeout=LOCK_WAIT_SECONDS, isolation_level=None)
        with closing(file):
            file.execute("begin immediate")
            time.sleep(seconds)
            file.execute("rollback")

    def back_up(self, service: str) -> None:
        """Do what `sqlite3 FILE '.backup COPY'` does."""
        source = sqlite3.connect(self._path(service), timeout=LOCK_WAIT_SECONDS)
        with closing(source), closing(sqlite3.connect(self._beside(service, BACKUP))) as copy:
            source.backup(copy)

    def restore(self, service: str) -> None:
        """Move both files; the write-ahead log stays where it is, and workers find out."""
        self._path(service).rename(self._beside(service, NEWEST))
        self._beside(service, BACKUP).rename(self._path(service))

    def put_newest_back(self, service: str) -> None:
        """Remove the copy and its log, and move the newest file to its place."""
        path = self._path(service)
        for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            name.unlink(missing_ok=True)
        self._beside(service, NEWEST).rename(path)

    def _path(self, service: str) -> Path:
        return self.folder / f"{MODULES[service]}.db"

    def _beside(self, service: str, which: str) -> Path:
        return self.folder / f"{MODULES[service]}{which}.db"


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL database with a schema for each service, which the services make."""

    address: str
    opening: Mapping[str, Lock] = field(default_factory=_locks, compare=False)

    def check(self) -> None:
        """Raise NotEmpty unless the schemas are still to be made."""
        with _connected(self.address) as server:
            sql = "select nspname from pg_namespace where nspname = any(%s)"
            for (name,) in server.execute(sql, (list(MODULES.values()),)).fetchall():
                raise NotEmpty(f"the database has the schema {name} already: chaos wants one without orders")

    def url(self, service: str) -> str:
        """See Databases."""
        del service
        return self.address

    def take_away(self, service: str, seconds: float) -> None:
        """Terminate every connection to the database, again and again; all services share it."""
        del service
        until = time.monotonic() + seconds
        with psycopg.connect(self.address, autocommit=True) as server:
            while time.monotonic() < until:
                server.execute(TERMINATE)
                time.sleep(AGAIN_SECONDS)

    def back_up(self, service: str) -> None:
        """Copy every table of the service's schema, all as of one moment, into a schema beside it."""
        with psycopg.connect(self.address) as server:
            server.execute("set transaction isolation level repeatable read")
            self._copy(server, MODULES[service], MODULES[service] + BACKUP)

    def restore(self, service: str) -> None:
        """Fill the tables from the backup, with everybody's connections ended, as restoring a database takes."""
        schema = MODULES[service]
        with self._alone_in(schema) as server:
            self._copy(server, schema, schema + NEWEST)
            self._fill(server, schema, schema + BACKUP)

    def put_newest_back(self, service: str) -> None:
        """Fill them from what was kept."""
        schema = MODULES[service]
        with self._alone_in(schema) as server:
            self._fill(server, schema, schema + NEWEST)

    def _alone_in(self, schema: str) -> psycopg.Connection:
        """Return a transaction beside which nobody has a connection that has seen the tables before."""
        while True:
            server = psycopg.connect(self.address)
            try:
                server.execute(TERMINATE)
                every = ", ".join(f"{schema}.{table}" for table in self._tables(server, schema))
                server.execute(f"lock table {every} in access exclusive mode".encode())
                server.execute(TERMINATE)
            except psycopg.errors.DeadlockDetected:
                server.close()
            else:
                return server

    @staticmethod
    def _tables(server: psycopg.Connection, schema: str) -> Iterable[str]:
        sql = "select tablename from pg_tables where schemaname = %s order by tablename"
        return [name for (name,) in server.execute(sql, (schema,)).fetchall()]

    def _copy(self, server: psycopg.Connection, schema: str, to: str) -> None:
        server.execute(f"drop schema if exists {to} cascade".encode())
        server.execute(f"create schema {to}".encode())
        for table in self._tables(server, schema):
            server.execute(f"create table {to}.{table} as table {schema}.{table}".encode())

    def _fill(self, server: psycopg.Connection, schema: str, source: str) -> None:
        for table in self._tables(server, schema):
            server.execute(f"delete from {schema}.{table}".encode())
            server.execute(f"insert into {schema}.{table} table {source}.{table}".encode())


def databases(option: str, folder: Path) -> Files | Server:
    """Return what `--database` says: files in `folder`, or a server. Raises NotEmpty, WrongDatabase, Unavailable."""
    if option == "sqlite":
        return Files(folder)
    if not option.startswith(("postgresql://", "postgres://")):
        raise WrongDatabase(f"--database {redact(option)!r} is neither sqlite nor postgresql://USER@HOST/NAME")
    server = Server(checked(option))
    server.check()
    return server


def _connected(address: str) -> psycopg.Connection[tuple[str, ...]]:
    try:
        return psycopg.connect(address, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise Unavailable(f"PostgreSQL: {str(error).strip()}") from error
