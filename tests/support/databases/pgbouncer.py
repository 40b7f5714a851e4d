"""PgBouncer before a PostgreSQL of the tests, by the machine's own binary."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal, Self

from tests.support.databases.postgres import PASSWORD, USER, unprivileged, url, wait_until_it_answers
from tests.support.ports import free_port

Mode = Literal["session", "transaction", "statement"]


class NoPgBouncer(Exception):
    """This machine has none."""


class PgBouncer:
    """All databases of the server at a port, through one pooler; a context manager."""

    def __init__(self, server_port: int, mode: Mode) -> None:
        self._binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if self._binary is None:
            raise NoPgBouncer("there is no pgbouncer; on Debian and Ubuntu: apt-get install pgbouncer")
        self.port, self._mode = free_port(), mode
        self._as: dict[str, Any] = unprivileged() if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="saga-pgbouncer-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._lead("*", f"port={server_port}")

    def url(self, database: str) -> str:
        """Return how a database is reached through it."""
        return url(self.port, database)

    def lead(self, name: str, where: str) -> None:
        """Let a name lead somewhere else from the next transaction on: `port=… dbname=…`."""
        self._lead(name, where)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        assert self._binary is not None
        with (self._folder / "said.log").open("ab") as log:
            command = [self._binary, str(self._folder / "pgbouncer.ini")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **self._as)
        wait_until_it_answers(self.url("pgbouncer"))

    def kill(self) -> None:
        """End it at once: all connections break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _lead(self, name: str, where: str) -> None:
        users = self._folder / "users.txt"
        users.write_text(f'"{USER}" "{PASSWORD}"\n', encoding="utf-8")
        ini = self._folder / "pgbouncer.ini"
        ini.write_text(
            f"""[databases]
{name} = host=127.0.0.1 {where}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {USER}
pool_mode = {self._mode}
server_login_retry = 1
query_wait_timeout = 5
default_pool_size = 10
""",
            encoding="utf-8",
        )
        if self._as:
            for path in (self._folder, users, ini):
                shutil.chown(path, self._as["user"], self._as["group"])
