"""Which file a SQLite connection has open, and releasing it after another one has taken its path.

A connection continues to write into the file that it opened, although another one is at the path now; and a program
that opens the new one applies the old one's write-ahead log to it, because SQLite finds that log by its name
(sqlite.org/howtocorrupt.html). Closing is not enough: SQLite does not empty or remove the log of a file that moved
(measured, 3.40).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Identity = tuple[int, int] | None
"""Device and inode; None if the file does not exist. An inode is not reused while a process has it open."""
LOG, INDEX = "-wal", "-shm"


def identity(path: str) -> Identity:
    """Return which file is at this path."""
    try:
        found = os.stat(path)  # noqa: PTH116 - 2 us; it is asked before every transaction
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class OpenFile:
    """The open files of a connection: the database, its write-ahead log and that log's index; none for `:memory:`."""

    def __init__(self, path: str) -> None:
        self._path, self._log = path, path + LOG
        self._here = {name: identity(name) for name in (path, path + LOG, path + INDEX)}

    def is_at_its_path(self) -> bool:
        """Return whether opening the path now gives the same database."""
        return identity(self._path) == self._here[self._path]

    def missing(self) -> str | None:
        """Return the write-ahead log or its index if opening the path now gives another one; else None."""
        return next((name for name in (self._log, self._path + INDEX) if identity(name) != self._here[name]), None)

    @staticmethod
    def complete(connection: sqlite3.Connection) -> None:
        """Checkpoint the log, which no other process can find any more, into the database."""
        with suppress(sqlite3.Error):
            connection.execute("pragma wal_checkpoint(truncate)")

    def let_go(self, connection: sqlite3.Connection) -> None:
        """Checkpoint the log into the old file, and remove the log beside the file that is at the path now."""
        self.complete(connection)
        with _locked(Path(self._path).parent):
            for name in (self._log, self._path + INDEX):
                if identity(name) == self._here[name] is not None:
                    Path(name).unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that no other process creates a new log between the comparison and the removal."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
