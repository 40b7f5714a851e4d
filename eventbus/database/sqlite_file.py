"""Which file a SQLite connection has open, and letting go of it when another one has taken its path.

A connection writes on into the file that it opened, although another one is at the path now; and a program that opens
the new one reads the old one's write-ahead log into it, because SQLite finds that log by its name
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
"""Device and inode; None where there is no such file. An inode is not used again while somebody has it open."""
LOG, INDEX = "-wal", "-shm"


def identity(path: str) -> Identity:
    """Return which file is at this path."""
    try:
        found = os.stat(path)  # noqa: PTH116 - 2 us; it is asked before every transaction
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class OpenFile:
    """What a connection has open: the database, its write-ahead log and that log's index; no file for `:memory:`."""

    def __init__(self, path: str) -> None:
        self._path, self._log = path, path + LOG
        self._here = {name: identity(name) for name in (path, path + LOG, path + INDEX)}

    def is_at_its_path(self) -> bool:
        """Return whether who opens the path now gets the same database."""
        return identity(self._path) == self._here[self._path]

    def missing(self) -> str | None:
        """Return the write-ahead log or its index where who opens the path now gets another one, or None."""
        return next((name for name in (self._log, self._path + INDEX) if identity(name) != self._here[name]), None)

    @staticmethod
    def complete(connection: sqlite3.Connection) -> None:
        """Write what was committed from the log, which nobody else can find any more, into the database."""
        with suppress(sqlite3.Error):
            connection.execute("pragma wal_checkpoint(truncate)")

    def let_go(self, connection: sqlite3.Connection) -> None:
        """Complete the old file from its log, and remove the log from beside what is at the path now."""
        self.complete(connection)
        with _alone_in(Path(self._path).parent):
            for name in (self._log, self._path + INDEX):
                if identity(name) == self._here[name] is not None:
                    Path(name).unlink()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time: between comparing and removing nobody else may put a new log there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
