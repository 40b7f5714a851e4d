"""The engine: exactly once, one step at a time, in one thread, with everything it touches handed in.

The database transaction is the truth. The group's committed offset, moved in the same Kafka transaction as the outputs,
carries in its metadata how far the outbox has been published. See docs/guarantees.md.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from eventbus.database import LostRace, Unavailable, Unwritable
from eventbus.engine.batch import NOBODY, Owned, Part, take
from eventbus.engine.config import Tuning, World
from eventbus.engine.decision import Decided, Decision, compare
from eventbus.engine.handlers import HandlerFailed
from eventbus.engine.incarnations import Incarnations, deleted
from eventbus.engine.intake import Intake
from eventbus.engine.observer import handled
from eventbus.engine.outreach import Abandoned, Asking, begin, reach_out
from eventbus.engine.parking import Address, Retries, TooManyParked
from eventbus.engine.recovery import NotYet, State, judge, judge_copies, recover
from eventbus.engine.retrying import Retrying
from eventbus.engine.schema_waits import SchemaWaits, leader_epoch_at
from eventbus.engine.unanswered import Unanswered
from eventbus.engine.undelivered import Undelivered
from eventbus.log import Cursor, Doubt, LogUnavailable, Partition, Refused, Run, TooLarge, TopicMissing
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import Service
from eventbus.store import progress, quarantine
from eventbus.store.age import DatabaseTooOld
from eventbus.store.progress import NOTHING_SEEN, Checkpoint
from eventbus.store.quarantine import Quarantined

LOOK_FURTHER = 8
"""With some calls unanswered and too few others to compare with, a batch grows up to so many times the concurrency."""
TRANSIENT = (Unavailable, LogUnavailable, RegistryUnavailable, LostRace, NotYet, TooManyParked)


class Engine:
    """Handles what the log says and publishes what follows. Call `turn` for ever; `stop` may come from a signal."""

    def __init__(self, service: Service[Any], world: World, tuning: Tuning | None = None) -> None:
        self._service, self._world = service, world
        self._tuning = tuning or Tuning()
        self._owned: dict[Partition, Owned] = {}
        self._lead = Partition(service.topics()[0], 0) if service.initiates else None
        self._remote = any(reaction.remote for reaction in service.reactions.values())
        self._limit = world.calls.concurrency if self._remote else self._tuning.batch
        self._retries = Retries(world.now_ms, world.random, self._tuning.retry, self._tuning.retry_most)
        self._decision = Decision(service, world.codec, self._tuning.dead_letters, self._retries)
        self._intake = Intake(service, world, self._tuning)
        self._schemas = SchemaWaits(world, self._tuning)
        self._retrying = Retrying(service, world, self._tuning)
        outputs = [*(event.topic for event in service.publishes()), service.dead_letters()]
        self._topics = Incarnations(world.log, world.database, outputs, world.clock)
        self._unanswered = Unanswered()
        self._undelivered = Undelivered(world.database, self._retries)
        self._asking: Asking | None = None
        """What is being asked about parked records; nobody waits for it."""
        self._pending_since = self._worked_at = self._looked_at = self._judged_at = world.clock()
        self._stopping = False
        self._turns = 0
        self._numbers = itertools.count(1)
        self._strikes: Counter[Partition] = Counter()
        self._seen = NOTHING_SEEN
        self._misfits = 0
        self._losses = world.database.losses

    def judge(self) -> None:
        """Refuse a database that is not the newest before anything is taken from other workers; see `turn`."""
        with self._quarantine():
            judge(self._world.log, self._world.database, self._service.subscriptions())

    def subscribe(self) -> None:
        """Join the group."""
        self._world.log.subscribe(self._service.subscriptions(), self)

    def stop(self) -> None:
        """Abandon remote calls that are being waited for; safe to call from a signal handler."""
        self._stopping = True

    def turn(self) -> None:
        """Take in, recover, handle, publish.

        Raises Refused, TopicMissing, HandlerFailed, Unwritable: all final, nothing lost. What is
        transient is kept and tried again in a later turn. Who refuses publishes nothing more, on closing neither.
        """
        try:
            self._turn()
        except Refused:
            self._publish_nothing_more()
            raise
        except TopicMissing as missing:
            if not any(o.partition.topic == missing.topic and o.identity != NOBODY for o in self._owned.values()):
                raise
            self._publish_nothing_more()
            raise deleted(missing.topic) from missing

    def _publish_nothing_more(self) -> None:
        for owned in self._owned.values():
            owned.forget(self._world.clock())

    def _turn(self) -> None:
        runs = self._world.log.poll(self._wanted(), self._patience())
        self._world.at("polled")
        self._accept(runs)
        self._recover_due()
        if self._stopping:
            return
        parts = take(self._ready(), self._service.reactions, self._limit)
        if parts:
            self._world.at("taken")
            self._handle(parts, self._lead_owned())
        self._retry_answered()
        drained = not runs and not parts
        self._publish_if_due(drained=drained)
        if drained or self._world.clock() - self._looked_at > self._tuning.look_after:
            self._look_around()
        self._seek_published()
        self._schemas.read_on(self._owned.values())
        self._tell()

    def close(self) -> None:
        """Publish what is pending, delete what was published, leave. A failure here loses nothing: it is recovered."""
        self._world.at("closing")
        if self._asking is not None:
            self._asking.pending.abandon()
        try:
            self._publish()
            self._world.at("closing and published")
            self._tidy(note_end=False)
        except (*TRANSIENT, Unwritable, TopicMissing, Refused) as error:
            self._world.observer.doubted(Partition("*", -1), f"on closing: {error}", retry_in=0)
        self._world.at("leaving")
        self._world.log.close()
        self._world.at("left")

    # What the log tells, from inside poll and keep_alive.

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Note them: the loop recovers."""
        partitions = list(partitions)
        self._world.at("assigned")
        for partition in partitions:
            self._owned[partition] = Owned(partition, due=self._world.clock())
        self._world.observer.assigned(partitions)

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """Publish what is pending, then forget: the next owner gets them only after this returns."""
        partitions = list(partitions)
        self._world.at("revoked")
        try:
            self._publish()
            self._world.at("revoked and published")
        finally:
            self._forget(partitions, lost=False)

    def lost(self, partitions: Iterable[Partition]) -> None:
        """Forget, publish nothing: somebody else may own them already."""
        self._forget(list(partitions), lost=True)

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        """Say so: what was read before it is handled, and a person decides about the rest."""
        skip = f"saga deadletters skip {partition.topic} {partition.number} {offset} --group {self._service.name}"
        said = f"{partition} cannot be read at offset {offset}: {why}. To go past it on record: {skip}"
        self._world.observer.paused(partition, "unreadable", said)

    def _forget(self, partitions: list[Partition], *, lost: bool) -> None:
        """Those of a first assignment that nothing was taken of (see KafkaLog) were never ours, and nobody is told."""
        ours = [partition for partition in partitions if self._owned.pop(partition, None)]
        self._unanswered.forget(ours)
        if ours:
            self._world.observer.released(ours, lost=lost)

    # Taking in.

    def _wanted(self) -> int:
        """Return how many records may be read now: at least one, because who reads nothing is put out of the group."""
        buffered = [item.record for owned in self._owned.values() for item in owned.buffer]
        if sum(record.size for record in buffered) >= self._tuning.many_bytes:
            return 1
        return max(1, self._limit - len(buffered))

    def _ready(self) -> list[Owned]:
        """Return the partitions to take from, each time another one first, so that none starves the others."""
        ready = [owned for owned in self._owned.values() if owned.ready]
        self._turns += 1
        first = self._turns % len(ready) if ready else 0
        return ready[first:] + ready[:first]

    def _patience(self) -> float:
        if any(owned.pending or owned.buffer for owned in self._owned.values()):
            return 0
        tick = self._tuning.patience_uncaused if self._lead in self._owned else self._tuning.patience
        tick = min(tick, 0.01) if self._asking else tick
        now = self._world.clock()
        dues = [0.01 if owned.known else owned.due - now for owned in self._owned.values() if not owned.ready]
        dues += [until - now for until in map(self._schemas.until, self._owned.values()) if until is not None]
        return max(0.0, min([tick, *dues]))

    def _accept(self, runs: list[Run]) -> None:
        """Take in what connects to what is there; records that were dropped on the way are a doubt."""
        self._intake.polled()
        if any(run.records for run in runs):
            self._topics.ask({run.partition.topic for run in runs if run.records})
        for run in runs:
            owned = self._owned.get(run.partition)
            if owned is None or not owned.ready:
                continue
            if run.start != owned.reached or (run.records and run.records[0].offset < run.start):
                self._doubt([owned], f"the log went on at {run.start}, not at {owned.reached}")
                continue
            items, reached, error = self._intake.decoded(run)
            if isinstance(error, LogUnavailable) and (reached == owned.reached or not self._seek_back(run, reached)):
                self._doubt([owned], str(error))
                continue
            self._schemas.decoded(owned, run, reached, error)
            owned.buffer += items
            owned.reached = reached
            self._world.at("accepted")

    def _seek_back(self, run: Run, offset: int) -> bool:
        return self._world.log.seek(run.partition, offset, leader_epoch_at(run, offset))

    def _recover_due(self) -> None:
        now = self._world.clock()
        due = [owned for owned in self._owned.values() if not owned.known and owned.due <= now]
        if not due:
            return
        self._world.at("recovering")
        try:
            self._topics.recall()
            states = self._states(due)
        except TRANSIENT as error:
            self._doubt(due, str(error))
            self._misfits = self._misfits + 1 if isinstance(error, NotYet) else 0
            if self._misfits > self._tuning.attempts * 5:
                raise Refused(
                    f"{error}, and it stays so: rows of the table outbox are missing, or two workers"
                    " take turns at the same partitions"
                ) from error
            return
        self._misfits = 0
        self._world.at("recovered")
        for owned in due:
            state = states[owned.partition]
            _, owned.checkpoint, owned.pending, owned.identity, owned.committed, owned.database, _ = state
            owned.leader_epoch = state.leader_epoch
            owned.published = owned.checkpoint.position - len(owned.pending)
            owned.deleted = 0
            owned.known = True
            self._world.observer.recovered(
                owned.partition, entries=len(owned.pending), next_offset=owned.checkpoint.next_offset
            )
        self._set_aside(due)
        if any(owned.pending for owned in due):
            self._publish()
        self._seek_published()

    def _set_aside(self, recovered: list[Owned]) -> None:
        """Park what no topic takes with its order, before what else was found is published."""
        try:
            parking = self._undelivered.set_aside(recovered)
        except TRANSIENT as error:
            self._doubt(recovered, str(error))
            return
        if parking.parked:
            self._world.observer.set_aside(parking)

    def _states(self, due: list[Owned]) -> dict[Partition, State]:
        world, wanted = self._world, [owned.partition for owned in due]
        with self._quarantine():
            topics = self._service.subscriptions()
            return recover(world.log, world.database, wanted, world.at, topics=topics, now_ms=world.now_ms())

    @contextmanager
    def _quarantine(self) -> Iterator[None]:
        """Put a database that is found too old in quarantine, so that every worker stops."""
        world = self._world
        try:
            yield
        except DatabaseTooOld as old:
            with world.database.transaction() as tx:
                quarantine.impose(tx, world.now_ms(), world.instance, str(old))
            world.at("quarantined")
            raise

    def _seek_published(self) -> None:
        """Read on where everything that was decided before is published."""
        for owned in self._owned.values():
            if owned.known and not owned.ready and not owned.pending:
                self._world.at("before seek")
                owned.reached = owned.checkpoint.next_offset
                owned.ready = self._world.log.seek(owned.partition, owned.reached, owned.checkpoint.leader_epoch)

    # Handling.

    def _handle(self, parts: list[Part], lead: Owned | None) -> None:
        """Make the remote calls, decide and commit. What fails is forgotten and read again, by partition."""
        started, world = self._world.clock(), self._world
        everyone = [part.owned for part in parts] + ([lead] if lead else [])
        around = (world.log, world.database, world.calls, self._unanswered)
        try:
            reached = reach_out(self._service, parts, around, self._waiting, world.at)
        except Abandoned:
            self._doubt(everyone, "stopping")
        except TRANSIENT as error:
            self._doubt(everyone, str(error))
        else:
            self._adapt(reached.calls, world.clock() - started)
            if self._decide(parts, lead, reached.outcomes, started):
                self._hold_back(reached.failures)

    def _decide(
        self, parts: Sequence[Part], lead: Owned | None, outcomes: Mapping[Address, Any], started: float
    ) -> bool:
        """Decide and commit; say whether that was possible."""
        world = self._world
        everyone = [part.owned for part in parts] + ([lead] if lead else [])
        try:
            world.at("remote done")
            mine = [part for part in parts if part.items and self._is_mine(part.owned)]
            lead = lead if lead is not None and self._is_mine(lead) else None
            self._topics.check([part.owned for part in mine])
            if mine or lead:
                self._applied(self._decision.commit(world.database, mine, lead, outcomes, world.at), mine, started)
        except HandlerFailed as failed:
            self._doubt(everyone, str(failed))
            self._strike(failed)
        except TRANSIENT as error:
            self._doubt(everyone, str(error))
        else:
            return True
        return False

    def _retry(self, parts: list[Part]) -> None:
        """Try parked records again. Where somebody must be asked, that goes on beside everything else."""
        self._world.at("retrying")
        half = max(1, self._world.calls.concurrency // 2)
        around = (self._world.database, self._world.calls)
        self._asking = begin(self._service, parts, around, self._world.at, half)
        if self._asking is None:
            self._decide(parts, None, {}, self._world.clock())

    def _retry_answered(self) -> None:
        """Decide on parked records about which somebody was asked, when all has come back that will soon."""
        if self._asking is None or not self._asking.ended(0):
            return
        asking, self._asking = self._asking, None
        reached = asking.reached(self._unanswered)
        for part in asking.parts:
            part.stay()  # the checkpoint has moved on meanwhile
        self._decide(asking.parts, None, reached.outcomes, self._world.clock())
        if self._retrying.more:
            self._looked_at = 0.0

    def _waiting(self) -> bool:
        self._world.observer.alive()
        return not self._stopping

    def _is_mine(self, owned: Owned) -> bool:
        return self._owned.get(owned.partition) is owned and owned.ready

    def _applied(self, decided: Decided, parts: list[Part], started: float) -> None:
        """The database has it: from here on it will be published, by us or by the next owner."""
        now = self._world.clock()
        if not any(owned.pending for owned in self._owned.values()):
            self._pending_since = now
        for partition, checkpoint in decided.checkpoints.items():
            owned = self._owned[partition]
            owned.checkpoint, owned.failures = checkpoint, 0
            del self._strikes[partition]
            owned.deleted = decided.deleted.get(partition, owned.deleted)
            if partition in decided.entries:
                owned.pending.append(decided.entries[partition]._replace(turn=next(self._numbers)))
        self._worked_at = now
        self._world.observer.batch_handled(handled(parts, decided, now - started))
        for partition, why in decided.held.items():
            self._hold(self._owned[partition], why)

    def _hold(self, owned: Owned, why: str) -> None:
        """Read nothing more of a partition of which too much is bad; it is tried again when it is recovered."""
        owned.buffer.clear()
        owned.reached, owned.schema_wait = owned.checkpoint.next_offset, None
        self._world.log.pause([owned.partition])
        self._world.observer.paused(owned.partition, "dead_letter_limit", why)

    def _adapt(self, calls: int, seconds: float) -> None:
        """Let one slow provider not make every order wait for a thousand others; look for some that are answered."""
        if calls and self._unanswered.is_unclear():
            most = min(self._tuning.batch, LOOK_FURTHER * self._world.calls.concurrency)
            self._limit = max(self._limit, min(2 * self._limit, most))
        elif calls:
            can_do = int(self._tuning.remote_seconds * calls / max(seconds, 1e-6))
            self._limit = min(max(can_do, self._world.calls.concurrency), self._tuning.batch)

    def _hold_back(self, failures: list[tuple[Part, Exception]]) -> None:
        """Ask again later, for these partitions only; what was decided before the failures goes out first."""
        if failures:
            self._publish()
        for part, error in failures:
            self._doubt([part.owned], f"{type(error).__name__}: {error}")

    def _strike(self, failed: HandlerFailed) -> None:
        """Count by partition: it cannot get past the record, not even by parking it."""
        partition = failed.record.partition
        self._strikes[partition] += 1
        if self._strikes[partition] >= self._tuning.attempts:
            raise failed

    def _doubt(self, doubted: Iterable[Owned], why: str) -> None:
        """Forget what memory holds of these partitions and recover them, later each time.

        Of all partitions, where the database's connection was lost: the next may lead to an older copy of it.
        """
        if self._losses != self._world.database.losses:
            self._losses, doubted = self._world.database.losses, list(self._owned.values())
        for owned in doubted:
            if self._owned.get(owned.partition) is not owned:
                continue
            owned.failures += 1
            wait = min(self._tuning.backoff * 2 ** min(owned.failures - 1, 10), self._tuning.backoff_most)
            wait *= 0.5 + self._world.random() / 2
            owned.forget(self._world.clock() + wait)
            self._world.log.pause([owned.partition])
            self._world.observer.doubted(owned.partition, why, retry_in=wait)

    # Publishing.

    def _publish_if_due(self, *, drained: bool) -> None:
        if drained or self._enough_waits():
            self._publish()

    def _enough_waits(self) -> bool:
        pending = [entry for owned in self._owned.values() for entry in owned.pending]
        if not pending:
            return False
        many = sum(len(entry.outputs) for entry in pending) >= self._tuning.pending_outputs
        large = sum(entry.size for entry in pending) >= self._tuning.many_bytes
        return many or large or self._world.clock() - self._pending_since >= self._tuning.pending_seconds

    def _pending(self) -> int:
        return sum(len(entry.outputs) for owned in self._owned.values() for entry in owned.pending)

    def _publish(self) -> None:
        """Write every pending entry of the partitions owned now, and their cursors, in one Kafka transaction."""
        mine = [o for o in self._owned.values() if o.known and (o.pending or o.committed != o.checkpoint.next_offset)]
        if not mine:
            return
        entries = sorted((entry for owned in mine for entry in owned.pending), key=lambda entry: entry.turn)
        outputs = [output for entry in entries for output in entry.outputs]
        cursors = {
            o.partition: Cursor(o.checkpoint.next_offset, o.checkpoint.position, o.database, o.identity.topic)
            for o in mine
        }
        started = self._world.clock()
        try:
            self._topics.check_all(self._owned.values(), self._tuning.look_after)
            self._world.log.publish(outputs, cursors, lambda: self._still_ours(mine))
        except (Doubt, LogUnavailable) as error:
            self._world.observer.transaction("doubt", len(outputs), self._world.clock() - started)
            if isinstance(error, TooLarge):
                self._undelivered.note(error)
                self._topics.limits_changed()
            self._doubt(mine, str(error))
            return
        self._world.at("published")
        for owned in mine:
            owned.pending.clear()
            owned.committed, owned.published = owned.checkpoint.next_offset, owned.checkpoint.position
        self._world.observer.transaction("committed", len(outputs), self._world.clock() - started)

    def _still_ours(self, mine: list[Owned]) -> bool:
        """Return whether nobody has recovered these since we did; no when that cannot be asked."""
        try:
            with self._world.database.snapshot() as tx:
                compare(tx, {owned.partition: owned for owned in mine})
        except (*TRANSIENT, Quarantined):
            return False
        return True

    # Idle.

    def _look_around(self) -> None:
        """See whether uncaused events wait, a zombie has moved a checkpoint, or a topic was created again."""
        known = [owned for owned in self._owned.values() if owned.known]
        if not known and self._world.clock() - self._looked_at <= self._tuning.look_after:
            return
        self._looked_at = self._world.clock()
        try:
            self._topics.check_all(known, self._tuning.look_after)
            if not known:
                self._topics.check_stored(self._service.subscriptions())
            with self._world.database.snapshot() as tx:
                seen = progress.look(tx)
            with suppress(LogUnavailable):  # nothing depends on it: it is asked again later
                self._topics.note_limits()
            self._judge_copies()
            if seen.went_back(self._seen):
                self._doubt(known, "checkpoints went back: another copy of the database took its place")
            self._seen = seen
            moved = [owned for owned in known if seen.checkpoints.get(owned.partition) != owned.checkpoint]
            self._doubt(moved, "somebody else has moved the checkpoint")
            due = [] if self._asking else self._retrying.due(seen.retries_ms, self._owned)
            lead = self._lead_owned()
            if due:
                self._retry(due)
            if self._retrying.more and self._asking is None:
                self._looked_at = 0.0
            if seen.waiting and lead is not None:
                self._handle([], lead)
            elif self._world.clock() - self._worked_at >= self._tuning.tidy_after:
                self._tidy(note_end=True)
        except TRANSIENT as error:
            self._doubt(known, str(error))

    def _judge_copies(self) -> None:
        """Find out every now and then whether another worker publishes from another copy of the database."""
        if self._world.clock() - self._judged_at < self._tuning.judge_after:
            return
        self._judged_at = self._world.clock()
        with self._quarantine(), suppress(LogUnavailable):  # whom nobody answers asks again later
            judge_copies(self._world.log, self._world.database, self._service.subscriptions())

    def _lead_owned(self) -> Owned | None:
        owned = self._owned.get(self._lead) if self._lead else None
        return owned if owned is not None and owned.ready else None

    def _tidy(self, *, note_end: bool) -> None:
        """Delete published entries; move checkpoints past what ends the log without being an event (markers)."""
        ends, stale = dict[Partition, Checkpoint](), dict[Partition, int]()
        for owned in self._owned.values():
            if not owned.known or owned.pending:
                continue
            if note_end and owned.ready and not owned.buffer and owned.reached > owned.checkpoint.next_offset:
                ends[owned.partition] = owned.checkpoint._replace(next_offset=owned.reached)
            if owned.published > owned.deleted:
                stale[owned.partition] = owned.published
        self._topics.check([self._owned[partition] for partition in ends])
        ends = self._in_leader_epochs(ends)
        if not ends and not stale:
            return
        with self._world.database.transaction() as tx:
            compare(tx, {p: self._owned[p] for p in {*ends, *stale}})
            progress.advance(tx, ends)
            progress.delete(tx, stale)
            self._world.at("tidying")
        self._world.at("tidied")
        for partition, checkpoint in ends.items():
            self._owned[partition].checkpoint = checkpoint
        for partition, position in stale.items():
            self._owned[partition].deleted = position

    def _in_leader_epochs(self, ends: dict[Partition, Checkpoint]) -> dict[Partition, Checkpoint]:
        """Add in which leader epoch the log reaches so far: no record says it of the markers behind the last one.

        If the leader is another one than when they were read, recover: it may not have what was read. The seek finds
        that out, and what is read again was there in its epoch.
        """
        bounds = self._world.log.bounds(list(ends)) if ends else {}
        now = {partition: bounds[partition].leader_epoch for partition in ends}
        same = {p for p, c in ends.items() if now[p] in (c.leader_epoch, self._owned[p].leader_epoch)}
        self._doubt([self._owned[p] for p in ends.keys() - same], "its leader has changed since it was read")
        return {p: c._replace(leader_epoch=now[p]) for p, c in ends.items() if p in same}

    def _tell(self) -> None:
        owned = self._owned.values()
        self._world.observer.turned(ready=sum(o.ready for o in owned), owned=len(owned), pending=self._pending())
