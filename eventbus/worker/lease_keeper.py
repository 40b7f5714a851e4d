"""A thread that renews a worker's lease, on a database connection of its own.

A worker whose remote calls take long keeps its name; a worker whose loop hangs is ended by the watchdog.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from eventbus.database import Database
from eventbus.log import InstanceTaken
from eventbus.worker.lease import BEAT_SECONDS, Lease, note_wait, release, renew
from eventbus.worker.watchdog import Watchdog
from eventbus.worker.watched import WatchedDatabase

RELEASE_SECONDS = 3.0
"""How long a stopping worker tries to release its name; otherwise the next worker waits until the lease expires."""


class LeaseKeeper:
    """Renews until `close`. While the database is unavailable it retries: no other worker can take the name then."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        watchdog: Watchdog,
        *,
        now_ms: Callable[[], int],
        warn: Callable[[str], None],
    ) -> None:
        self._database, self._lease, self._watchdog = database, lease, watchdog
        self._now_ms, self._warn = now_ms, warn
        self.why_waiting: Callable[[], str] = lambda: ""
        """Called, by the thread, for the reason why the worker retries in place; empty if it does not."""
        self._noted: str | None = None
        """What it noted last as the reason for waiting; None: not known what a holder before it has noted."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called, by the thread, when another process holds the name."""
        self._stop = threading.Event()
        self._taken: InstanceTaken | None = None
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise InstanceTaken when another process holds the name."""
        if self._taken is not None:
            raise self._taken

    def close(self) -> None:
        """Release the name."""
        self._stop.set()
        self._thread.join(RELEASE_SECONDS)

    def _run(self) -> None:
        steps = self._watchdog.watch("lease")
        database = WatchedDatabase(self._database, steps)
        while not self._stop.wait(BEAT_SECONDS) and self._taken is None:
            steps.reach("renewing the lease")
            self._renew(database)
            steps.rest()
        with suppress(Exception):
            with database.transaction() as tx:
                release(tx, self._lease)
            database.close()
        steps.rest()

    def _renew(self, database: Database) -> None:
        try:
            with database.transaction() as tx:
                renewed = renew(tx, self._lease, self._now_ms())
                if (why := self.why_waiting()) != self._noted:
                    note_wait(tx, renewed, why)
            self._lease, self._noted = renewed, why
        except InstanceTaken as taken:
            self._taken = taken
            self.on_lost()
        except Exception as error:  # noqa: BLE001 - the loop meets the same error, and handles it
            # Whether the renewal was committed is unknown: a counter that is one higher is ours, too.
            self._lease, self._noted = self._lease._replace(beat=self._lease.beat + 1), None
            self._warn(f"the lease of the instance name {self._lease.name!r} cannot be renewed: {error}")
