"""The engine: exactly-once processing, one step at a time, in one thread, with all dependencies passed in.

The database transaction decides. The group's committed offset, committed in the same Kafka transaction as the outputs,
carries in its metadata how far the outbox has been published. See docs/guarantees.md.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from eventbus.database import ConcurrentUpdate, ReadOnlyOrFull, Unavailable
from eventbus.engine.backoff import Backoff
from eventbus.engine.batch import NOBODY, Owned, PartitionBatch, take
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.decision import Decided, Decision, compare
from eventbus.engine.handlers import HandlerFailed
from eventbus.engine.incarnations import Incarnations, deleted
from eventbus.engine.intake import Intake
from eventbus.engine.observer import handled
from eventbus.engine.parking import Address, Retries, TooManyParked
from eventbus.engine.recovery import RecoveredState, RecoveryConflict, judge, judge_copies, recover
from eventbus.engine.remote import Asking, ShuttingDown, begin, call_remotes
from eventbus.engine.retrying import Retrying
from eventbus.engine.schema_waits import SchemaWaits, leader_epoch_at
from eventbus.engine.unanswered import Unanswered
from eventbus.engine.undelivered import Undelivered
from eventbus.log import (
    CommitOutcomeUnknown,
    CommittedOffset,
    FetchedRecords,
    LogUnavailable,
    Partition,
    TooLarge,
    TopicMissing,
    UnsafeToContinue,
)
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import Service
from eventbus.store import progress, quarantine
from eventbus.store.age import DatabaseTooOld
from eventbus.store.progress import NOTHING_SEEN, Checkpoint
from eventbus.store.quarantine import Quarantined

LOOK_FURTHER = 8
"""With some calls unanswered and too few others to compare with, a batch grows up to this multiple of concurrency."""
TRANSIENT = (Unavailable, LogUnavailable, RegistryUnavailable, ConcurrentUpdate, RecoveryConflict, TooManyParked)


class Engine:
    """Consumes events and publishes the outputs. Call `run_once` in a loop; a signal handler may call `stop`."""

    def __init__(self, service: Service[Any], deps: Dependencies, config: EngineConfig | None = None) -> None:
        self._service, self._deps = service, deps
        self._config = config or EngineConfig()
        self._owned: dict[Partition, Owned] = {}
        self._root_partition = Partition(service.topics()[0], 0) if service.initiates else None
        self._remote = any(reaction.remote for reaction in service.reactions.values())
        self._limit = deps.calls.concurrency if self._remote else self._config.batch
        self._retries = Retries(deps.now_ms, Backoff(self._config.retry, self._config.retry_most, deps.random))
        self._backoff = Backoff(self._config.backoff, self._config.backoff_most, deps.random)
        self._decision = Decision(service, deps.codec, self._config.dead_letters, self._retries)
        self._intake = Intake(service, deps, self._config)
        self._schemas = SchemaWaits(deps, self._config)
        self._retrying = Retrying(service, deps, self._config)
        outputs = [*(event.topic for event in service.publishes()), service.dead_letters()]
        self._topics = Incarnations(deps.log, deps.database, outputs, deps.clock)
        self._unanswered = Unanswered()
        self._undelivered = Undelivered(deps.database, self._retries)
        self._asking: Asking | None = None
        """The remote calls in progress for parked records; the loop does not wait for them."""
        self._pending_since = self._worked_at = self._looked_at = self._judged_at = deps.clock()
        self._stopping = False
        self._turns = 0
        self._numbers = itertools.count(1)
        self._consecutive_failures: Counter[Partition] = Counter()
        self._seen = NOTHING_SEEN
        self._recovery_conflicts = 0
        self._losses = deps.database.losses

    def judge(self) -> None:
        """Refuse a database that is not the newest before any partition moves from another worker; see `run_once`."""
        with self._quarantine():
            judge(self._deps.log, self._deps.database, self._service.subscriptions())

    def subscribe(self) -> None:
        """Join the group."""
        self._deps.log.subscribe(self._service.subscriptions(), self)

    def stop(self) -> None:
        """Stop waiting for remote calls; safe to call from a signal handler."""
        self._stopping = True

    def run_once(self) -> None:
        """Poll, recover, handle, publish.

        Raises UnsafeToContinue, TopicMissing, HandlerFailed, ReadOnlyOrFull: all final, nothing is lost. Transient
        failures are retried in a later call. After UnsafeToContinue nothing more is published, not even by `close`.
        """
        try:
            self._run_once()
        except UnsafeToContinue:
            self._publish_nothing_more()
            raise
        except TopicMissing as missing:
            if not any(o.partition.topic == missing.topic and o.identity != NOBODY for o in self._owned.values()):
                raise
            self._publish_nothing_more()
            raise deleted(missing.topic) from missing

    def _publish_nothing_more(self) -> None:
        for owned in self._owned.values():
            owned.forget(self._deps.clock())

    def _run_once(self) -> None:
        runs = self._deps.log.poll(self._wanted(), self._poll_timeout())
        self._deps.failpoint("polled")
        self._accept(runs)
        self._recover_due()
        if self._stopping:
            return
        parts = take(self._ready(), self._service.reactions, self._limit)
        if parts:
            self._deps.failpoint("taken")
            self._handle(parts, self._owned_root_partition())
        self._retry_answered()
        drained = not runs and not parts
        self._publish_if_due(drained=drained)
        if drained or self._deps.clock() - self._looked_at > self._config.idle_check_after:
            self._idle_check()
        self._seek_published()
        self._schemas.resume_due(self._owned.values())
        self._report()

    def close(self) -> None:
        """Publish what is pending, prune the outbox, leave the group. A failure here loses nothing: it is recovered."""
        self._deps.failpoint("closing")
        if self._asking is not None:
            self._asking.pending.abandon()
        try:
            self._publish()
            self._deps.failpoint("closing and published")
            self._prune_outbox(note_end=False)
        except (*TRANSIENT, ReadOnlyOrFull, TopicMissing, UnsafeToContinue) as error:
            self._deps.observer.recovery_scheduled(Partition("*", -1), f"while closing: {error}", retry_in=0)
        self._deps.failpoint("leaving")
        self._deps.log.close()
        self._deps.failpoint("left")

    # Rebalance callbacks, called from inside poll and keep_alive.

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Record the partitions: the loop recovers them."""
        partitions = list(partitions)
        self._deps.failpoint("assigned")
        for partition in partitions:
            self._owned[partition] = Owned(partition, due=self._deps.clock())
        self._deps.observer.assigned(partitions)

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """Publish what is pending, then forget them: the next owner gets them only after this returns."""
        partitions = list(partitions)
        self._deps.failpoint("revoked")
        try:
            self._publish()
            self._deps.failpoint("revoked and published")
        finally:
            self._forget(partitions, lost=False)

    def lost(self, partitions: Iterable[Partition]) -> None:
        """Forget them, publish nothing: another worker may own them already."""
        self._forget(list(partitions), lost=True)

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        """Report it: the records before it are handled, and an operator decides about the rest."""
        skip = f"saga deadletters skip {partition.topic} {partition.number} {offset} --group {self._service.name}"
        message = f"{partition} cannot be read at offset {offset}: {why}. To skip it, with an audit record: {skip}"
        self._deps.observer.paused(partition, "unreadable", message)

    def _forget(self, partitions: list[Partition], *, lost: bool) -> None:
        """Partitions of a first assignment that was not accepted (see KafkaLog) were never owned: not reported."""
        ours = [partition for partition in partitions if self._owned.pop(partition, None)]
        self._unanswered.forget(ours)
        if ours:
            self._deps.observer.released(ours, lost=lost)

    # Polling.

    def _wanted(self) -> int:
        """Return how many records to poll: at least one, because a consumer that does not poll is evicted."""
        buffered = [item.record for owned in self._owned.values() for item in owned.buffer]
        if sum(record.size for record in buffered) >= self._config.max_buffered_bytes:
            return 1
        return max(1, self._limit - len(buffered))

    def _ready(self) -> list[Owned]:
        """Return the partitions to take from, each time another one first, so that none starves."""
        ready = [owned for owned in self._owned.values() if owned.consuming]
        self._turns += 1
        first = self._turns % len(ready) if ready else 0
        return ready[first:] + ready[:first]

    def _poll_timeout(self) -> float:
        if any(owned.pending or owned.buffer for owned in self._owned.values()):
            return 0
        tick = self._config.poll_timeout_root_events if self._root_partition in self._owned else self._config.patience
        tick = min(tick, 0.01) if self._asking else tick
        now = self._deps.clock()
        dues = [0.01 if owned.recovered else owned.due - now for owned in self._owned.values() if not owned.consuming]
        dues += [until - now for until in map(self._schemas.until, self._owned.values()) if until is not None]
        return max(0.0, min([tick, *dues]))

    def _accept(self, runs: list[FetchedRecords]) -> None:
        """Buffer what follows the last accepted record without a gap; after a gap the partition is recovered."""
        self._intake.polled()
        if any(run.records for run in runs):
            self._topics.ask({run.partition.topic for run in runs if run.records})
        for run in runs:
            owned = self._owned.get(run.partition)
            if owned is None or not owned.consuming:
                continue
            if run.start != owned.reached or (run.records and run.records[0].offset < run.start):
                self._recover_later([owned], f"offset gap: expected {owned.reached}, got {run.start}")
                continue
            items, reached, error = self._intake.decoded(run)
            if isinstance(error, LogUnavailable) and (reached == owned.reached or not self._seek_back(run, reached)):
                self._recover_later([owned], str(error))
                continue
            self._schemas.decoded(owned, run, reached, error)
            owned.buffer += items
            owned.reached = reached
            self._deps.failpoint("accepted")

    def _seek_back(self, run: FetchedRecords, offset: int) -> bool:
        return self._deps.log.seek(run.partition, offset, leader_epoch_at(run, offset))

    def _recover_due(self) -> None:
        now = self._deps.clock()
        due = [owned for owned in self._owned.values() if not owned.recovered and owned.due <= now]
        if not due:
            return
        self._deps.failpoint("recovering")
        try:
            self._topics.recall()
            states = self._states(due)
        except TRANSIENT as error:
            self._recover_later(due, str(error))
            self._recovery_conflicts = self._recovery_conflicts + 1 if isinstance(error, RecoveryConflict) else 0
            if self._recovery_conflicts > self._config.attempts * 5:
                raise UnsafeToContinue(
                    f"{error}, after {self._recovery_conflicts} attempts: rows are missing from the table outbox, or"
                    " two workers keep recovering the same partitions"
                ) from error
            return
        self._recovery_conflicts = 0
        self._deps.failpoint("recovered")
        for owned in due:
            state = states[owned.partition]
            _, owned.checkpoint, owned.pending, owned.identity, owned.committed, owned.database, _ = state
            owned.leader_epoch = state.leader_epoch
            owned.published = owned.checkpoint.outbox_seq - len(owned.pending)
            owned.deleted = 0
            owned.recovered = True
            self._deps.observer.recovered(
                owned.partition, entries=len(owned.pending), next_offset=owned.checkpoint.next_offset
            )
        self._set_aside(due)
        if any(owned.pending for owned in due):
            self._publish()
        self._seek_published()

    def _set_aside(self, recovered: list[Owned]) -> None:
        """Park outputs that are too large for their topics, and their keys, before the others are published."""
        try:
            parking = self._undelivered.set_aside(recovered)
        except TRANSIENT as error:
            self._recover_later(recovered, str(error))
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

    def _seek_published(self) -> None:
        """Start consuming the recovered partitions whose pending outputs are all published."""
        for owned in self._owned.values():
            if owned.recovered and not owned.consuming and not owned.pending:
                self._deps.failpoint("before seek")
                owned.reached = owned.checkpoint.next_offset
                owned.consuming = self._deps.log.seek(owned.partition, owned.reached, owned.checkpoint.leader_epoch)

    # Handling.

    def _handle(self, parts: list[PartitionBatch], root_partition: Owned | None) -> None:
        """Make the remote calls, decide and commit. A partition that fails is forgotten and read again."""
        started, deps = self._deps.clock(), self._deps
        everyone = [part.owned for part in parts] + ([root_partition] if root_partition else [])
        try:
            reached = call_remotes(self._service, parts, deps, self._unanswered, self._waiting)
        except ShuttingDown:
            self._recover_later(everyone, "the worker is shutting down")
        except TRANSIENT as error:
            self._recover_later(everyone, str(error))
        else:
            self._adapt_limit(reached.calls, deps.clock() - started)
            if self._decide(parts, root_partition, reached.outcomes, started):
                self._recover_failed(reached.failures)

    def _decide(
        self,
        parts: Sequence[PartitionBatch],
        root_partition: Owned | None,
        outcomes: Mapping[Address, Any],
        started: float,
    ) -> bool:
        """Decide and commit; return whether that succeeded."""
        deps = self._deps
        everyone = [part.owned for part in parts] + ([root_partition] if root_partition else [])
        try:
            deps.failpoint("remote done")
            mine = [part for part in parts if part.items and self._is_mine(part.owned)]
            root_partition = root_partition if root_partition is not None and self._is_mine(root_partition) else None
            self._topics.check([part.owned for part in mine])
            if mine or root_partition:
                decided = self._decision.commit(deps.database, mine, root_partition, outcomes, deps.failpoint)
                self._applied(decided, mine, started)
        except HandlerFailed as failed:
            self._recover_later(everyone, str(failed))
            self._count_failure(failed)
        except TRANSIENT as error:
            self._recover_later(everyone, str(error))
        else:
            return True
        return False

    def _retry(self, parts: list[PartitionBatch]) -> None:
        """Retry parked records. Their remote calls, if any, run in the background."""
        self._deps.failpoint("retrying")
        half = max(1, self._deps.calls.concurrency // 2)
        self._asking = begin(self._service, parts, self._deps, half)
        if self._asking is None:
            self._decide(parts, None, {}, self._deps.clock())

    def _retry_answered(self) -> None:
        """Decide on parked records whose remote calls have ended; overdue calls are not waited for."""
        if self._asking is None or not self._asking.ended(0):
            return
        asking, self._asking = self._asking, None
        reached = asking.reached(self._unanswered)
        for part in asking.parts:
            part.stay()  # the checkpoint has moved in the meantime
        self._decide(asking.parts, None, reached.outcomes, self._deps.clock())
        if self._retrying.more:
            self._looked_at = 0.0

    def _waiting(self) -> bool:
        self._deps.observer.alive()
        return not self._stopping

    def _is_mine(self, owned: Owned) -> bool:
        return self._owned.get(owned.partition) is owned and owned.consuming

    def _applied(self, decided: Decided, parts: list[PartitionBatch], started: float) -> None:
        """The database has committed: the outputs will be published, by this worker or by the next owner."""
        now = self._deps.clock()
        if not any(owned.pending for owned in self._owned.values()):
            self._pending_since = now
        for partition, checkpoint in decided.checkpoints.items():
            owned = self._owned[partition]
            owned.checkpoint, owned.failures = checkpoint, 0
            del self._consecutive_failures[partition]
            owned.deleted = decided.deleted.get(partition, owned.deleted)
            if partition in decided.entries:
                owned.pending.append(decided.entries[partition]._replace(sequence=next(self._numbers)))
        self._worked_at = now
        self._deps.observer.batch_handled(handled(parts, decided, now - started))
        for partition, why in decided.paused.items():
            self._pause(self._owned[partition], why)

    def _pause(self, owned: Owned, why: str) -> None:
        """Pause a partition with too many bad records; it is retried when it is next recovered."""
        owned.buffer.clear()
        owned.reached, owned.schema_wait = owned.checkpoint.next_offset, None
        self._deps.log.pause([owned.partition])
        self._deps.observer.paused(owned.partition, "dead_letter_limit", why)

    def _adapt_limit(self, calls: int, seconds: float) -> None:
        """Make batches smaller if the provider is slow, larger if too few calls were answered to compare with."""
        if calls and self._unanswered.is_unclear():
            most = min(self._config.batch, LOOK_FURTHER * self._deps.calls.concurrency)
            self._limit = max(self._limit, min(2 * self._limit, most))
        elif calls:
            can_do = int(self._config.remote_seconds * calls / max(seconds, 1e-6))
            self._limit = min(max(can_do, self._deps.calls.concurrency), self._config.batch)

    def _recover_failed(self, failures: list[tuple[PartitionBatch, Exception]]) -> None:
        """Retry these partitions later; publish what was decided before the failures first."""
        if failures:
            self._publish()
        for part, error in failures:
            self._recover_later([part.owned], f"{type(error).__name__}: {error}")

    def _count_failure(self, failed: HandlerFailed) -> None:
        """Count by partition: the record cannot be handled, and parking it did not help."""
        partition = failed.record.partition
        self._consecutive_failures[partition] += 1
        if self._consecutive_failures[partition] >= self._config.attempts:
            raise failed

    def _recover_later(self, recovery_scheduled: Iterable[Owned], why: str) -> None:
        """Forget the in-memory state of these partitions and recover them, with exponential backoff.

        After a lost database connection, of all partitions: the next connection may lead to an older copy.
        """
        if self._losses != self._deps.database.losses:
            self._losses, recovery_scheduled = self._deps.database.losses, list(self._owned.values())
        for owned in recovery_scheduled:
            if self._owned.get(owned.partition) is not owned:
                continue
            owned.failures += 1
            wait = self._backoff.seconds(owned.failures)
            owned.forget(self._deps.clock() + wait)
            self._deps.log.pause([owned.partition])
            self._deps.observer.recovery_scheduled(owned.partition, why, retry_in=wait)

    # Publishing.

    def _publish_if_due(self, *, drained: bool) -> None:
        if drained or self._enough_pending():
            self._publish()

    def _enough_pending(self) -> bool:
        pending = [entry for owned in self._owned.values() for entry in owned.pending]
        if not pending:
            return False
        many = sum(len(entry.outputs) for entry in pending) >= self._config.pending_outputs
        large = sum(entry.size for entry in pending) >= self._config.max_buffered_bytes
        return many or large or self._deps.clock() - self._pending_since >= self._config.pending_seconds

    def _pending(self) -> int:
        return sum(len(entry.outputs) for owned in self._owned.values() for entry in owned.pending)

    def _publish(self) -> None:
        """Write the pending entries and the offsets of all recovered partitions in one Kafka transaction."""
        mine = [
            o for o in self._owned.values() if o.recovered and (o.pending or o.committed != o.checkpoint.next_offset)
        ]
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
            self._topics.check_all(self._owned.values(), self._config.idle_check_after)
            self._deps.log.publish(outputs, offsets, lambda: self._still_ours(mine))
        except (CommitOutcomeUnknown, LogUnavailable) as error:
            self._deps.observer.transaction("unknown", len(outputs), self._deps.clock() - started)
            if isinstance(error, TooLarge):
                self._undelivered.note(error)
                self._topics.limits_changed()
            self._recover_later(mine, str(error))
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

    # Idle.

    def _idle_check(self) -> None:
        """Check whether root events wait, a zombie has moved a checkpoint, or a topic was recreated."""
        known = [owned for owned in self._owned.values() if owned.recovered]
        if not known and self._deps.clock() - self._looked_at <= self._config.idle_check_after:
            return
        self._looked_at = self._deps.clock()
        try:
            self._topics.check_all(known, self._config.idle_check_after)
            if not known:
                self._topics.check_stored(self._service.subscriptions())
            with self._deps.database.snapshot() as tx:
                seen = progress.poll_database(tx)
            with suppress(LogUnavailable):  # nothing depends on it, and it is retried later
                self._topics.note_limits()
            self._judge_copies()
            if seen.went_back(self._seen):
                self._recover_later(known, "a checkpoint moved backwards: the database was replaced by another copy")
            self._seen = seen
            moved = [owned for owned in known if seen.checkpoints.get(owned.partition) != owned.checkpoint]
            self._recover_later(moved, "another worker has moved the checkpoint")
            due = [] if self._asking else self._retrying.due(seen.retries_ms, self._owned)
            root_partition = self._owned_root_partition()
            if due:
                self._retry(due)
            if self._retrying.more and self._asking is None:
                self._looked_at = 0.0
            if seen.waiting and root_partition is not None:
                self._handle([], root_partition)
            elif self._deps.clock() - self._worked_at >= self._config.prune_after:
                self._prune_outbox(note_end=True)
        except TRANSIENT as error:
            self._recover_later(known, str(error))

    def _judge_copies(self) -> None:
        """Check every `judge_after` seconds whether another worker publishes from another copy of the database."""
        if self._deps.clock() - self._judged_at < self._config.judge_after:
            return
        self._judged_at = self._deps.clock()
        with self._quarantine(), suppress(LogUnavailable):  # retried later
            judge_copies(self._deps.log, self._deps.database, self._service.subscriptions())

    def _owned_root_partition(self) -> Owned | None:
        owned = self._owned.get(self._root_partition) if self._root_partition else None
        return owned if owned is not None and owned.consuming else None

    def _prune_outbox(self, *, note_end: bool) -> None:
        """Delete published entries; move checkpoints past transaction markers at the end of the log."""
        ends, stale = dict[Partition, Checkpoint](), dict[Partition, int]()
        for owned in self._owned.values():
            if not owned.recovered or owned.pending:
                continue
            if note_end and owned.consuming and not owned.buffer and owned.reached > owned.checkpoint.next_offset:
                ends[owned.partition] = owned.checkpoint._replace(next_offset=owned.reached)
            if owned.published > owned.deleted:
                stale[owned.partition] = owned.published
        self._topics.check([self._owned[partition] for partition in ends])
        ends = self._in_leader_epochs(ends)
        if not ends and not stale:
            return
        with self._deps.database.transaction() as tx:
            compare(tx, {p: self._owned[p] for p in {*ends, *stale}})
            progress.advance(tx, ends)
            progress.delete(tx, stale)
            self._deps.failpoint("tidying")
        self._deps.failpoint("tidied")
        for partition, checkpoint in ends.items():
            self._owned[partition].checkpoint = checkpoint
        for partition, outbox_seq in stale.items():
            self._owned[partition].deleted = outbox_seq

    def _in_leader_epochs(self, ends: dict[Partition, Checkpoint]) -> dict[Partition, Checkpoint]:
        """Add the leader epoch in which the log reaches these ends: the markers after the last record do not carry it.

        If the leader has changed since they were read, recover: the new one may not have what was read. The seek
        detects that, and what is read again existed in its epoch.
        """
        ranges = self._deps.log.offset_range(list(ends)) if ends else {}
        now = {partition: ranges[partition].leader_epoch for partition in ends}
        same = {p for p, c in ends.items() if now[p] in (c.leader_epoch, self._owned[p].leader_epoch)}
        moved = [self._owned[p] for p in ends.keys() - same]
        self._recover_later(moved, "the partition's leader has changed since it was read")
        return {p: c._replace(leader_epoch=now[p]) for p, c in ends.items() if p in same}

    def _report(self) -> None:
        owned = self._owned.values()
        self._deps.observer.turned(ready=sum(o.consuming for o in owned), owned=len(owned), pending=self._pending())
