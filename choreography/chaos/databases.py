"""The services' databases, and how they are taken away from the workers for some seconds."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg

from choreography.demo.workers import MODULES
from eventbus.database import NotOurs, Unavailable
from eventbus.postgresql import checked
from eventbus.redaction import redact

AGAIN_SECONDS = 0.2
LOCK_WAIT_SECONDS = 30.0


class NotEmpty(RuntimeError):
    """The database has schemas of the services' names already: somebody's orders may be in them."""


class Databases(Protocol):
    """Where the services keep what they know."""

    def url(self, service: str) -> str:
        """Return the database of a service, as its --database option takes it."""

    def take_away(self, service: str, seconds: float) -> None:
        """Let the service not write for so long."""


@dataclass(frozen=True, slots=True)
class Files:
    """A SQLite file for each service."""

    folder: Path

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

    def _path(self, service: str) -> Path:
        return self.folder / f"{MODULES[service]}.db"


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL database with a schema for each service, which the services make."""

    address: str

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
        others = "datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        with psycopg.connect(self.address, autocommit=True) as server:
            while time.monotonic() < until:
                server.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}".encode())
                time.sleep(AGAIN_SECONDS)


def databases(option: str, folder: Path) -> Files | Server:
    """Return what `--database` says: files in `folder`, or a server. Raises NotEmpty, NotOurs, Unavailable."""
    if option == "sqlite":
        return Files(folder)
    if not option.startswith(("postgresql://", "postgres://")):
        raise NotOurs(f"--database {redact(option)!r} is neither sqlite nor postgresql://USER@HOST/NAME")
    server = Server(checked(option))
    server.check()
    return server


def _connected(address: str) -> psycopg.Connection[tuple[str, ...]]:
    try:
        return psycopg.connect(address, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise Unavailable(f"PostgreSQL: {str(error).strip()}") from error
