"""Temporary storage for what does not fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager


class NoRoom(RuntimeError):
    """The temporary file cannot be written."""


@contextmanager
def scratch_database(schema: str) -> Iterator[sqlite3.Connection]:
    """Open a database in a temporary file, which SQLite removes. Raises NoRoom."""
    try:
        with closing(sqlite3.connect("")) as database:
            database.executescript(schema)
            yield database
    except sqlite3.OperationalError as error:
        raise NoRoom(f"the temporary file for records cannot be written (see SQLITE_TMPDIR): {error}") from error
