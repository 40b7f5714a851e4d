"""A PostgreSQL server for the tests: its image where the engine has it, else this machine's own binaries."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.support.brokers.docker_engine import NoImage, is_here, pull_unless_here
from tests.support.ports import free_port

IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:17")
USER, PASSWORD = "saga", "saga-of-the-tests"
START_SECONDS = 150


class NoPostgres(Exception):
    """This machine has no PostgreSQL for the tests, and the message says why."""


class Server(Protocol):
    """A server that can be stopped and started again with the same data on the same port."""

    port: int

    def start(self) -> None:
        """Start it and wait until it answers."""

    def stop(self) -> None:
        """Break all connections and shut it down."""

    def remove(self) -> None:
        """Stop it for good and forget its data."""


def server() -> Server:
    """Return the best server there is, not yet started. Raises NoPostgres."""
    try:
        if is_here(IMAGE):
            return ContainerServer()
    except NoImage:
        pass
    if (binaries := _binaries()) is not None:
        return LocalServer(binaries)
    try:
        pull_unless_here(IMAGE)
    except NoImage as error:
        raise NoPostgres(f"no PostgreSQL server on PATH or in /usr/lib/postgresql, and {error}") from error
    return ContainerServer()


def server_that_speaks(language: str) -> LocalServer:
    """Return a server, not yet started, with messages in this language. Raises NoPostgres."""
    binaries = _binaries()
    if binaries is None:
        raise NoPostgres("no PostgreSQL server on PATH or in /usr/lib/postgresql")
    return LocalServer(binaries, language)


def url(port: int, database: str = "postgres") -> str:
    """Return how the tests reach a database of a server."""
    return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}"


def create_database(port: int) -> str:
    """Make a new empty database, and return its name."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _do(port, f"create database {name}")
    return name


def drop_database(port: int, name: str) -> None:
    """Drop a database, whoever is still connected to it."""
    _do(port, f"drop database if exists {name} with (force)")


def _do(port: int, sql: str) -> None:
    with psycopg.connect(url(port), autocommit=True) as connection:
        connection.execute(sql.encode())


def wait_until_it_answers(url: str) -> None:
    """Return when a server, or a pooler before it, lets us in; raises psycopg.OperationalError."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url, autocommit=True, connect_timeout=10).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _binaries() -> Path | None:
    on_path = shutil.which("postgres")
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_major, reverse=True)
    found = [Path(on_path), *newest_first] if on_path else newest_first
    return next((path.parent for path in found if (path.parent / "initdb").exists()), None)


def _major(path: Path) -> int:
    name = path.parts[-3]
    return int(name) if name.isdigit() else 0


class LocalServer:
    """The machine's own binaries, data in a temporary folder; never as root, which PostgreSQL refuses."""

    def __init__(self, binaries: Path, language: str | None = None) -> None:
        """`language`: of its messages, as in `de_DE`. Raises NoPostgres where it is not to be had."""
        self.port = free_port()
        self._binaries, self._language = binaries, language
        self._as: dict[str, Any] = unprivileged() if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="saga-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        if language is not None:
            self._learn(language)
        self._initialize()

    def start(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres",
                    *("-D", self._folder / "data", "-k", self._folder, "-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1"),
                    *(("-c", f"lc_messages={self._language}.UTF-8") if self._language else ()),
                ],
                env={**os.environ, **({"LOCPATH": str(self._folder)} if self._language else {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        try:
            wait_until_it_answers(url(self.port))
        except psycopg.OperationalError as error:
            error.add_note((self._folder / "server.log").read_text(errors="replace")[-2000:])
            raise

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)

    def remove(self) -> None:
        atexit.unregister(self.remove)
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _learn(self, language: str) -> None:
        """Make the locale, which few machines have ready."""
        command = ["localedef", "-i", language, "-f", "UTF-8", str(self._folder / f"{language}.UTF-8")]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoPostgres(
                f"the locale {language} cannot be made (Debian: apt-get install locales): {error}"
            ) from error

    def _initialize(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        if self._as:
            for path in (self._folder, password):
                shutil.chown(path, self._as["user"], self._as["group"])
        run: list[str | Path] = [
            self._binaries / "initdb",
            *("-D", self._folder / "data", "-U", USER, "--pwfile", password, "-A", "scram-sha-256"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ]
        done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=self._folder, **self._as)
        if done.returncode != 0:
            raise NoPostgres(f"initdb failed: {done.stderr.strip()[-400:]}")


def unprivileged() -> dict[str, Any]:
    """Return how a process of root's is started that may not be root's."""
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres or nobody")


class ContainerServer:
    """The image, under testcontainers."""

    def __init__(self) -> None:
        from tests.support.brokers.kafka_container import DockerContainer  # noqa: PLC0415 - slow, and needed only here

        self.port = free_port()
        self._container = DockerContainer(IMAGE).with_bind_ports(5432, self.port)
        self._container.with_envs(POSTGRES_USER=USER, POSTGRES_PASSWORD=PASSWORD, POSTGRES_DB="postgres")
        self._created = False

    def start(self) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            atexit.register(self.remove)
            self._container.start()
            self._created = True
        wait_until_it_answers(url(self.port))

    def stop(self) -> None:
        self._container.get_wrapped_container().stop()

    def remove(self) -> None:
        atexit.unregister(self.remove)
        self._container.stop()
