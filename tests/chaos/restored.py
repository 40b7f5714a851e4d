"""An operator puts a service's database back to a backup while its workers run; then puts the newest one back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from typing import TypeVar

from eventbus.database import ConcurrentUpdate, Transaction, Unavailable, connect
from eventbus.kafka.committed_offsets import GroupOffsets
from eventbus.kafka.config import Connection
from eventbus.log import LogUnavailable, Partition
from eventbus.store import progress, quarantine
from eventbus.store.age import Row, is_ahead
from saga.kafka.cluster import Cluster
from tests.chaos.databases import Databases
from tests.chaos.fleet import Fleet, Worker
from tests.chaos.halted import Halt

T = TypeVar("T")

PROGRESS_SECONDS = 120.0
"""Within it a service gets further than its backup, or nothing is left for it to do."""
LOOK_SECONDS = 0.2
TAKEN = 4
"""A worker finds the lease of an earlier one in the backup, before it finds that the backup is old; started again, it
refuses."""


class NothingHappened(Exception):
    """The service did nothing since the backup: the backup is as good as the newest one."""


class Restoring:
    """The database of one service. Whoever uses it holds the locks of its workers."""

    def __init__(self, databases: Databases, cluster: Cluster, fleet: Fleet, service: str) -> None:
        self._databases, self._fleet, self._service = databases, fleet, service
        self._cursors = GroupOffsets(
            Connection(cluster.bootstrap_servers, service, "saga-chaos", extra=cluster.kafka_config)
        )

    def back_up(self, seconds: float) -> None:
        """Make a backup that is older than what Kafka knows, by so many seconds at least. Raises NothingHappened."""
        self._databases.back_up(self._service)
        rows = self._patiently(progress.every_row)
        time.sleep(seconds)
        until = time.monotonic() + PROGRESS_SECONDS
        with closing(self._cursors):
            while not self._is_older(rows):
                if time.monotonic() > until:
                    raise NothingHappened(f"{self._service} had nothing to do since its backup")
                time.sleep(LOOK_SECONDS)

    def restore(self, workers: list[Worker], begun: Callable[[], float]) -> float:
        """Make the mistake, see that nobody goes on with it, and undo it; return when it was made."""
        with self._databases.opening[self._service], ExitStack() as mended:
            mended.callback(self._start, workers)
            began = begun()
            self._databases.restore(self._service)
            mended.callback(self._databases.put_newest_back, self._service)
            mended.callback(self._stop, workers)
            halt = Halt(self._fleet, workers, "restore", passing=(TAKEN,))
            halt.wait()
            self._check_mark()
            halt.again(workers[0])
        return began

    def _check_mark(self) -> None:
        marks = self._patiently(quarantine.history)
        if not any(mark.released_at_ms is None for mark in marks):
            raise AssertionError(f"the old database of {self._service} is not in quarantine")

    def _stop(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.kill()

    def _start(self, workers: list[Worker]) -> None:
        """Do what docs/operating.md says: release the newest copy where it is in quarantine, then start the workers."""

        def release(tx: Transaction) -> int:
            return quarantine.release(tx, time.time_ns() // 1_000_000, "make chaos", "the newest copy is back")

        self._patiently(release)
        for worker in workers:
            worker.start()

    def _is_older(self, rows: Mapping[Partition, Row]) -> bool:
        """Return whether Kafka knows of more than these rows."""
        with suppress(LogUnavailable):
            return any(is_ahead(cursor, rows[partition]) for partition, cursor in self._cursors.of(rows).items())
        return False

    def _patiently(self, act: Callable[[Transaction], T]) -> T:
        """Do it in a transaction, as soon as the database lets us."""
        with closing(connect(self._databases.url(self._service), service=self._service, schema=None)) as database:
            while True:
                with suppress(Unavailable, ConcurrentUpdate), database.transaction() as tx:
                    return act(tx)
                time.sleep(LOOK_SECONDS)
