"""Recovers partitions when they are due, and starts consuming them when what was pending is published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eventbus.engine.assignment import Owned
from eventbus.engine.context import EngineContext
from eventbus.engine.errors import TRANSIENT
from eventbus.engine.publisher import Publisher
from eventbus.engine.recovery import RecoveredState, RecoveryConflict, judge, judge_copies, recover
from eventbus.engine.undelivered import Undelivered
from eventbus.log import Partition, UnsafeToContinue
from eventbus.store import quarantine
from eventbus.store.age import DatabaseTooOld


class Recoverer:
    """Runs `recovery.recover` for the partitions that are due."""

    def __init__(self, context: EngineContext, undelivered: Undelivered, publisher: Publisher) -> None:
        self._service, self._deps, self._config, self._assignment, self._topics = context
        self._undelivered, self._publisher = undelivered, publisher
        self._conflicts = 0

    def judge(self) -> None:
        """Refuse a database that is not the newest before any partition moves from another worker."""
        with self._quarantine():
            judge(self._deps.log, self._deps.database, self._service.subscriptions())

    def judge_copies(self) -> None:
        """Refuse to continue if another worker publishes from another copy of the database."""
        with self._quarantine():
            judge_copies(self._deps.log, self._deps.database, self._service.subscriptions())

    def recover_due(self) -> None:
        """Recover the partitions that are due, and publish what is pending in them."""
        now = self._deps.clock()
        due = [owned for owned in self._assignment if not owned.recovered and owned.due <= now]
        if not due:
            return
        self._deps.failpoint("recovering")
        try:
            self._topics.recall()
            states = self._states(due)
        except TRANSIENT as error:
            self._assignment.recover_later(due, str(error))
            self._count_conflicts(error)
            return
        self._conflicts = 0
        self._deps.failpoint("recovered")
        for owned in due:
            _restore(owned, states[owned.partition])
            self._deps.observer.recovered(
                owned.partition, entries=len(owned.pending), next_offset=owned.checkpoint.next_offset
            )
        self._set_aside(due)
        if any(owned.pending for owned in due):
            self._publisher.publish()
        self.seek_published()

    def seek_published(self) -> None:
        """Start consuming the recovered partitions whose pending outputs are all published."""
        for owned in self._assignment:
            if owned.recovered and not owned.consuming and not owned.pending:
                self._deps.failpoint("before seek")
                owned.reached = owned.checkpoint.next_offset
                owned.consuming = self._deps.log.seek(owned.partition, owned.reached, owned.checkpoint.leader_epoch)

    def _count_conflicts(self, error: Exception) -> None:
        self._conflicts = self._conflicts + 1 if isinstance(error, RecoveryConflict) else 0
        if self._conflicts > self._config.attempts * 5:
            raise UnsafeToContinue(
                f"{error}, after {self._conflicts} attempts: rows are missing from the table outbox, or"
                " two workers keep recovering the same partitions"
            ) from error

    def _set_aside(self, recovered: list[Owned]) -> None:
        """Park outputs that are too large for their topics, and their keys, before the others are published."""
        try:
            parking = self._undelivered.set_aside(recovered)
        except TRANSIENT as error:
            self._assignment.recover_later(recovered, str(error))
            return
        if parking.parked:
            self._deps.observer.set_aside(parking)

    def _states(self, due: list[Owned]) -> dict[Partition, RecoveredState]:
        deps, wanted = self._deps, [owned.partition for owned in due]
        with self._quarantine():
            topics = self._service.subscriptions()
            return recover(deps.log, deps.database, wanted, deps.failpoint, topics=topics, now_ms=deps.now_ms())

    @contextmanager
    def _quarantine(self) -> Iterator[None]:
        """Put a database that is found too old in quarantine, so that every worker stops."""
        deps = self._deps
        try:
            yield
        except DatabaseTooOld as old:
            with deps.database.transaction() as tx:
                quarantine.impose(tx, deps.now_ms(), deps.instance, str(old))
            deps.failpoint("quarantined")
            raise


def _restore(owned: Owned, state: RecoveredState) -> None:
    _, owned.checkpoint, owned.pending, owned.identity, owned.committed, owned.database, owned.leader_epoch = state
    owned.published = owned.checkpoint.outbox_seq - len(owned.pending)
    owned.deleted = 0
    owned.recovered = True
