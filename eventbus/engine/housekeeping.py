"""What a worker checks when it is idle, and every second: has something changed under it? And it prunes the outbox."""

from __future__ import annotations

from contextlib import suppress

from eventbus.engine.assignment import Owned
from eventbus.engine.context import EngineContext
from eventbus.engine.decision import compare
from eventbus.engine.recoverer import Recoverer
from eventbus.log import LogUnavailable, Partition
from eventbus.store import progress
from eventbus.store.progress import NOTHING_SEEN, Checkpoint, DatabaseView


class Housekeeping:
    """Checks the database and the topics, and deletes what is published."""

    def __init__(self, context: EngineContext, recoverer: Recoverer) -> None:
        self._service, self._deps, self._config, self._assignment, self._topics = context
        self._recoverer = recoverer
        self._judged_at = self._deps.clock()
        self._seen = NOTHING_SEEN
        self._deadlines = [each.column for each in self._service.deadlines.values()]

    def look(self, known: list[Owned]) -> DatabaseView:
        """Check the topics and the database of these recovered partitions; return what the database says.

        Raises UnsafeToContinue if a topic was created again, or the database is an older copy.
        """
        self._topics.check_all(known, self._config.idle_check_after)
        if not known:
            self._topics.check_stored(self._service.subscriptions())
        with self._deps.database.snapshot() as tx:
            seen = progress.poll_database(tx, self._deadlines)
        with suppress(LogUnavailable):  # nothing depends on it, and it is retried later
            self._topics.note_limits()
        self._judge_copies()
        if seen.went_back(self._seen):
            self._assignment.recover_later(
                known, "a checkpoint moved backwards: the database was replaced by another copy"
            )
        self._seen = seen
        moved = [owned for owned in known if seen.checkpoints.get(owned.partition) != owned.checkpoint]
        self._assignment.recover_later(moved, "another worker has moved the checkpoint")
        return seen

    def _judge_copies(self) -> None:
        """Check every `judge_after` seconds whether another worker publishes from another copy of the database."""
        if self._deps.clock() - self._judged_at < self._config.judge_after:
            return
        self._judged_at = self._deps.clock()
        with suppress(LogUnavailable):  # retried later
            self._recoverer.judge_copies()

    def prune_outbox(self, *, note_end: bool) -> None:
        """Delete published entries; move checkpoints past transaction markers at the end of the log."""
        ends, stale = dict[Partition, Checkpoint](), dict[Partition, int]()
        recovered = {owned.partition: owned for owned in self._assignment.recovered() if not owned.pending}
        for owned in recovered.values():
            if note_end and owned.consuming and not owned.buffer and owned.reached > owned.checkpoint.next_offset:
                ends[owned.partition] = owned.checkpoint._replace(next_offset=owned.reached)
            if owned.published > owned.deleted:
                stale[owned.partition] = owned.published
        self._topics.check([recovered[partition] for partition in ends])
        ends = self._in_leader_epochs(ends, recovered)
        if not ends and not stale:
            return
        with self._deps.database.transaction() as tx:
            compare(tx, {p: recovered[p] for p in {*ends, *stale}})
            progress.advance(tx, ends)
            progress.delete(tx, stale)
            self._deps.failpoint("tidying")
        self._deps.failpoint("tidied")
        for partition, checkpoint in ends.items():
            recovered[partition].checkpoint = checkpoint
        for partition, outbox_seq in stale.items():
            recovered[partition].deleted = outbox_seq

    def _in_leader_epochs(
        self, ends: dict[Partition, Checkpoint], recovered: dict[Partition, Owned]
    ) -> dict[Partition, Checkpoint]:
        """Add the leader epoch in which the log reaches these ends: the markers after the last record do not carry it.

        If the leader has changed since they were read, recover: the new one may not have what was read. The seek
        detects that, and what is read again existed in its epoch.
        """
        ranges = self._deps.log.offset_range(list(ends)) if ends else {}
        now = {partition: ranges[partition].leader_epoch for partition in ends}
        same = {p for p, c in ends.items() if now[p] in (c.leader_epoch, recovered[p].leader_epoch)}
        moved = [recovered[p] for p in ends.keys() - same]
        self._assignment.recover_later(moved, "the partition's leader has changed since it was read")
        return {p: c._replace(leader_epoch=now[p]) for p, c in ends.items() if p in same}
