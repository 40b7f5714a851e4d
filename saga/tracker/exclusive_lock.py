"""One tracker at a time on one file: a second one fails before it writes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saga.tracker.store import AnotherTracker, NotATracker


class LogIsFollowed(AnotherTracker):
    """Another process on this machine follows the log into the same file: its content can be read meanwhile."""


@contextmanager
def exclusive_lock(tracker: Path) -> Iterator[None]:
    """Hold a lock file beside the database; it is released when the process ends, in any way. Raises LogIsFollowed.

    Not on the database itself: closing any handle of it would drop the locks that SQLite holds (POSIX, fcntl).
    """
    try:
        lock = tracker.with_name(f"{tracker.name}.lock").open("ab")
    except OSError as error:
        raise NotATracker(f"{tracker} cannot be used as the tracker's database: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogIsFollowed(
                f"another `saga track`, `saga ui` or `saga dev` writes to {tracker}: end it, give each its own"
                " --tracker, or only read it with `saga ui --no-track`"
            ) from None
        yield
