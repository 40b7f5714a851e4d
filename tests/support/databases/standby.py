"""A primary that can die, and its streaming standby, by this machine's own PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg

from tests.support.databases.postgres import PASSWORD, USER, LocalServer, NoPostgres, _binaries, create_database, url
from tests.support.saga.processes import PATIENCE


class Primary(LocalServer):
    """A server that others can follow."""

    def __init__(self) -> None:
        """Raises NoPostgres."""
        if (binaries := _binaries()) is None:
            raise NoPostgres("no PostgreSQL server on PATH or in /usr/lib/postgresql")
        super().__init__(binaries)

    def set(self, **settings: str) -> None:
        """Change settings of the running server, which are in its own folder only."""
        with psycopg.connect(url(self.port), autocommit=True) as admin:
            for name, value in settings.items():
                admin.execute(f"alter system set {name} = '{value}'".encode())
            admin.execute("select pg_reload_conf()")

    def wait_until(self, sql: str, otherwise: str) -> None:
        """Return when a statement finds that it is so."""
        deadline = time.monotonic() + PATIENCE
        with psycopg.connect(url(self.port), autocommit=True) as admin:
            while admin.execute(sql.encode()).fetchone() != (True,):
                assert time.monotonic() < deadline, otherwise
                time.sleep(0.05)

    def kill(self) -> None:
        """End it without a shutdown: what it has not sent to its standby is in its own folder only."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()


class Standby(Primary):
    """A copy of a primary that follows it, read-only until it is promoted."""

    def __init__(self, primary: Primary) -> None:
        """Copy the primary, which runs. Not started yet."""
        self._primary = primary
        super().__init__()

    def _initialize(self) -> None:
        if self._as:
            shutil.chown(self._folder, self._as["user"], self._as["group"])
        beside = (self._binaries / "postgres").resolve().parent  # what is on PATH may be a link to one of them only
        run = [
            *(beside / "pg_basebackup", "-D", self._folder / "data", "-R", "-X", "stream", "-c", "fast"),
            *("--no-sync", "-h", "127.0.0.1", "-p", str(self._primary.port), "-U", USER, "--no-password"),
        ]
        env = os.environ | {"PGPASSWORD": PASSWORD}
        subprocess.run(run, check=True, capture_output=True, env=env, cwd=self._folder, **self._as)

    def catch_up(self) -> None:
        """Return when all that the primary has written by now can be seen here."""
        with psycopg.connect(url(self._primary.port), autocommit=True) as admin:
            [(written,)] = admin.execute("select pg_current_wal_insert_lsn()::text").fetchall()
        self.wait_until(f"select pg_last_wal_replay_lsn() >= '{written}'", "it does not follow")

    def cut_off(self) -> None:
        """Let nothing more come from the primary; what came is kept."""
        self.set(primary_conninfo="")
        self.wait_until("select count(*) = 0 from pg_stat_wal_receiver", "it still follows")

    def promote(self) -> None:
        """Make it a primary: return when it can be written."""
        with psycopg.connect(url(self.port), autocommit=True) as admin:
            assert admin.execute("select pg_promote()").fetchone() == (True,)


class Pair(NamedTuple):
    """A primary, its standby, and a database on both."""

    primary: Primary
    standby: Standby
    database: str

    @property
    def url(self) -> str:
        """The URL of whichever of the two servers is the primary."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://{USER}:{PASSWORD}@{hosts}/{self.database}?target_session_attrs=read-write"

    @property
    def standby_url(self) -> str:
        """How the standby is reached, whatever it is."""
        return url(self.standby.port, self.database)

    def wait_for_each_commit(self) -> None:
        """Let the primary confirm no commit that the standby has not written, too (synchronous replication)."""
        self.primary.set(synchronous_standby_names="*")
        wanted = "select count(*) = 1 from pg_stat_replication where sync_state = 'sync'"
        self.primary.wait_until(wanted, "it is not synchronous")


@contextmanager
def replicated() -> Iterator[Pair]:
    """A primary and a standby, both running; raises NoPostgres."""
    primary = Primary()
    try:
        primary.start()
        database = create_database(primary.port)
        standby = Standby(primary)
        try:
            standby.start()
            yield Pair(primary, standby, database)
        finally:
            standby.remove()
    finally:
        primary.remove()
