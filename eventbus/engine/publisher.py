"""Publishes decided outputs and commits offsets, in one Kafka transaction."""

from __future__ import annotations

import itertools

from eventbus.engine.assignment import Owned
from eventbus.engine.context import EngineContext
from eventbus.engine.decision import Decided, compare
from eventbus.engine.errors import TRANSIENT
from eventbus.engine.undelivered import Undelivered
from eventbus.log import CommitOutcomeUnknown, CommittedOffset, LogUnavailable, TooLarge
from eventbus.store.quarantine import Quarantined


class Publisher:
    """Publishes what is pending when it is due: at once without a backlog, else once it is enough, or old enough."""

    def __init__(self, context: EngineContext, undelivered: Undelivered) -> None:
        _, self._deps, self._config, self._assignment, self._topics = context
        self._undelivered = undelivered
        self._pending_since = self._deps.clock()
        self._numbers = itertools.count(1)

    def add(self, decided: Decided) -> None:
        """The database has committed this: it will be published, by this worker or by the next owner."""
        if not any(owned.pending for owned in self._assignment):
            self._pending_since = self._deps.clock()
        for partition, checkpoint in decided.checkpoints.items():
            owned = self._assignment[partition]
            owned.checkpoint, owned.failures = checkpoint, 0
            owned.deleted = decided.deleted.get(partition, owned.deleted)
            if partition in decided.entries:
                owned.pending.append(decided.entries[partition]._replace(sequence=next(self._numbers)))

    def pending(self) -> int:
        """Return how many outputs are pending."""
        return sum(len(entry.outputs) for owned in self._assignment for entry in owned.pending)

    def publish_if_due(self, *, caught_up: bool) -> None:
        """Publish if there is no backlog, or if enough is pending."""
        if caught_up or self._enough_pending():
            self.publish()

    def _enough_pending(self) -> bool:
        pending = [entry for owned in self._assignment for entry in owned.pending]
        if not pending:
            return False
        many = sum(len(entry.outputs) for entry in pending) >= self._config.pending_outputs
        large = sum(entry.size for entry in pending) >= self._config.max_buffered_bytes
        return many or large or self._deps.clock() - self._pending_since >= self._config.pending_seconds

    def publish(self) -> None:
        """Write the pending entries and the offsets of all recovered partitions in one Kafka transaction."""
        mine = [o for o in self._assignment.recovered() if o.pending or o.committed != o.checkpoint.next_offset]
        if not mine:
            return
        entries = sorted((entry for owned in mine for entry in owned.pending), key=lambda entry: entry.sequence)
        outputs = [output for entry in entries for output in entry.outputs]
        offsets = {
            o.partition: CommittedOffset(*o.checkpoint[:2], database=o.database, topic_id=o.identity.topic)
            for o in mine
        }
        started = self._deps.clock()
        try:
            self._topics.check_all(self._assignment, self._config.idle_check_after)
            self._deps.log.publish(outputs, offsets, lambda: self._still_ours(mine))
        except (CommitOutcomeUnknown, LogUnavailable) as error:
            self._deps.observer.transaction("unknown", len(outputs), self._deps.clock() - started)
            if isinstance(error, TooLarge):
                self._undelivered.note(error)
                self._topics.limits_changed()
            self._assignment.recover_later(mine, str(error))
            return
        self._deps.failpoint("published")
        for owned in mine:
            owned.pending.clear()
            owned.committed, owned.published = owned.checkpoint.next_offset, owned.checkpoint.outbox_seq
        self._deps.observer.transaction("committed", len(outputs), self._deps.clock() - started)

    def _still_ours(self, mine: list[Owned]) -> bool:
        """Return whether no other worker has recovered these partitions; False if the database cannot be read."""
        try:
            with self._deps.database.snapshot() as tx:
                compare(tx, {owned.partition: owned for owned in mine})
        except (*TRANSIENT, Quarantined):
            return False
        return True
