"""How a database becomes read-only under a worker that is at work, and writable again.

Permissions would show nothing: root does not mind them, and who has a file open is not asked again.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

WRITE_VERSION_AT, WAL, NOBODYS = 18, 2, 3
"""What may be written by whom, in a SQLite file: a version above 2 says by nobody (sqlite.org/fileformat)."""
FILE_SYSTEM_BYTES = 64 << 20


class CannotMount(Exception):
    """Nothing can be mounted here, and the message says why."""


@contextmanager
def marked(file: Path) -> Iterator[Callable[[], None]]:
    """Return what marks a SQLite file as read-only: anybody can who may write it.

    A worker may write over the mark in the moment that it is made: so make it until it is heard of.
    """

    def mark() -> None:
        with closing(sqlite3.connect(file, timeout=10)) as database:
            database.execute("pragma wal_checkpoint(truncate)")  # what is in the log counts more than the file
        _write_version(file, NOBODYS)

    yield mark
    _write_version(file, WAL)


def _write_version(file: Path, version: int) -> None:
    with file.open("r+b") as database:
        database.seek(WRITE_VERSION_AT)
        database.write(bytes([version]))


class SmallDisk:
    """An ext4 of its own, mounted at `folder`, that goes read-only at the first error, as most do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._image = folder, folder.with_suffix(".ext4")
        self._device = ""
        folder.mkdir()
        self._image.touch()
        with self._image.open("r+b") as image:
            image.truncate(FILE_SYSTEM_BYTES)

    def make(self) -> None:
        """Make it and mount it. Raises CannotMount without CAP_SYS_ADMIN, loop devices or e2fsprogs."""
        try:
            _run("mkfs.ext4", "-q", str(self._image))
            self._mount()
        except (OSError, subprocess.CalledProcessError) as error:
            raise CannotMount(str(getattr(error, "stderr", None) or error).strip()) from error

    def fail(self) -> None:
        """Let the kernel find an error in it: from now on it is read-only, also for who has files open."""
        Path(f"/sys/fs/ext4/{Path(self._device).name}/trigger_fs_error").write_text("1", encoding="ascii")

    def repair(self) -> None:
        """Check it and mount it again."""
        _run("umount", str(self.folder))
        mended = 1
        _run("e2fsck", "-p", str(self._image), good=(0, mended))
        self._mount()

    def remove(self) -> None:
        """Unmount it."""
        if self._device:
            _run("umount", str(self.folder))

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))
        self._device = _run("findmnt", "-no", "SOURCE", str(self.folder)).strip()


def _run(*command: str, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def server(url: str) -> Iterator[None]:
    """Make a whole PostgreSQL read-only for all sessions that there are, as hosts do when its disk is full."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("alter system set default_transaction_read_only = on")
        admin.execute("select pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("alter system reset default_transaction_read_only")
            admin.execute("select pg_reload_conf()")
