"""The engine: exactly once, one step at a time, in one thread, with everything it touches handed in.

The database transaction is the truth. The group's committed offset, moved in the same Kafka transaction as the outputs,
carries in its metadata how far the outbox has been published. See docs/guarantees.md.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from eventbus import fence, progress
from eventbus.batch import Item, Owned, Part, decode, retry, take
from eventbus.codec import Codec
from eventbus.database import Database, LostRace, Unavailable, Unwritable
from eventbus.decision import Decided, Decision, HandlerFailed, compare
from eventbus.fence import Fence, Parked
from eventbus.log import CROWD_BYTES, Cursor, Doubt, Log, LogUnavailable, Partition, Refused, Run, TopicMissing
from eventbus.observer import Observer, handled
from eventbus.outreach import Abandoned, reach_out
from eventbus.parking import Retries, TooManyParked
from eventbus.placement import Placement
from eventbus.progress import Checkpoint
from eventbus.recovery import NotYet, recover
from eventbus.registry import RegistryUnavailable
from eventbus.remote import Calls
from eventbus.service import Service

TRANSIENT = (Unavailable, LogUnavailable, RegistryUnavailable, LostRace, NotYet, TooManyParked)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes and times; the defaults were measured."""

    batch: int = 1_000
    """Records a batch, at most; with 2,000 an event costs about a tenth more processor time (measured)."""
    pending_outputs: int = 5_000
    """So many outputs are published at once, although more input is there."""
    pending_seconds: float = 0.1
    """So long outputs wait for company, at most, while more input is there."""
    many_bytes: int = CROWD_BYTES
    """Whatever their number, records are a crowd from here on: no more are read than one a turn, no further parked one
    is tried again at once, and outputs are published. Around it, because the last one always comes too."""
    remote_seconds: float = 0.25
    """What the remote calls of one batch should take together."""
    patience: float = 0.1
    """How long an idle turn waits for input, at most."""
    patience_uncaused: float = 0.02
    """The same for a service that publishes uncaused events: they are looked for after it."""
    look_after: float = 1.0
    """So often a busy worker, too, looks whether somebody else has moved a checkpoint."""
    tidy_after: float = 0.5
    """So long after the last work an idle worker deletes published entries and notes the end of the log."""
    backoff: float = 0.1
    """The first wait after a failure in seconds; it doubles up to `backoff_most`, with jitter."""
    backoff_most: float = 5.0
    attempts: int = 6
    """So often deciding may fail for no record's fault before the worker stops."""
    retry: float = 0.1
    """The first wait before a parked record is tried again in seconds; it doubles up to `retry_most`, with jitter."""
    retry_most: float = 60.0
    retries: int = 100
    """So many keys in trouble are tried again at once, at most, and so many parked records of each."""
    dead_letters: int = 100
    """So many of a partition's last 10,000 records may be bad; at one more the partition is paused."""
    keys_placed_over: int | None = None
    """The fewest partitions that all writers placed keys over: records elsewhere are bad. None: handled anywhere."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that the engine reads, writes, or waits for."""

    log: Log
    database: Database
    calls: Calls
    codec: Codec
    clock: Callable[[], float]
    """Seconds that only go forward."""
    now_ms: Callable[[], int]
    """The time of day, in milliseconds since 1970, for dead letters."""
    random: Callable[[], float]
    """0 to 1, for jitter."""
    observer: Observer
    at: Callable[[str], None] = lambda _step: None
    """Called at every named step: where tests crash, stall and interleave."""


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
        placed_over = self._tuning.keys_placed_over
        self._placement = Placement(world.log, placed_over) if placed_over else None
        self._pending_since = self._worked_at = self._looked_at = world.clock()
        self._stopping = False
        self._turns = 0
        self._numbers = itertools.count(1)
        self._strikes: Counter[Partition] = Counter()
        self._misfits = 0
        self._parked = (0, 0)
        self._retry_after = self._count_at = 0.0

    def subscribe(self) -> None:
        """Join the group."""
        self._world.log.subscribe(self._service.subscriptions(), self)

    def stop(self) -> None:
        """Abandon remote calls that are being waited for; safe to call from a signal handler."""
        self._stopping = True

    @property
    def assigned_partitions(self) -> int:
        """How many partitions are ours."""
        return len(self._owned)

    def turn(self) -> None:
        """Take in, recover, handle, publish.

        Raises Refused, TopicMissing, InstanceTaken, HandlerFailed, Unwritable: all final, nothing lost. What is
        transient is kept and tried again in a later turn.
        """
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
        drained = not runs and not parts
        self._publish_if_due(drained=drained)
        if drained or self._world.clock() - self._looked_at > self._tuning.look_after:
            self._look_around()
        self._seek_published()
        self._tell()

    def close(self) -> None:
        """Publish what is pending, delete what was published, leave. A failure here loses nothing: it is recovered."""
        self._world.at("closing")
        try:
            self._publish()
            self._world.at("closing and published")
            self._tidy(note_end=False)
        except (*TRANSIENT, Unwritable, TopicMissing) as error:
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
        for partition in partitions:
            self._owned.pop(partition, None)
        self._world.observer.released(partitions, lost=lost)

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
        now = self._world.clock()
        dues = [0.01 if owned.known else owned.due - now for owned in self._owned.values() if not owned.ready]
        return max(0.0, min([tick, *dues]))

    def _accept(self, runs: list[Run]) -> None:
        """Take in what connects to what is there; records that were dropped on the way are a doubt."""
        topics = self._service.topics()
        if self._placement:
            self._placement.polled()
        for run in runs:
            owned = self._owned.get(run.partition)
            if owned is None or not owned.ready:
                continue
            if run.start != owned.reached or (run.records and run.records[0].offset < run.start):
                self._doubt([owned], f"the log went on at {run.start}, not at {owned.reached}")
                continue
            items, reached, why = self._decoded(run, topics)
            if why and (reached == owned.reached or not self._world.log.seek(owned.partition, reached)):
                self._doubt([owned], why)
                continue
            owned.buffer += items
            owned.reached = reached
            self._world.at("accepted")

    def _decoded(self, run: Run, topics: Collection[str]) -> tuple[list[Item], int, str]:
        """Return what is known of a run, where that ends, and why it does; what comes before the unknown goes on."""
        items: list[Item] = []
        for record in run.records:
            try:
                item = decode(self._world.codec, record, topics)
                if item is not None:
                    items.append(self._placement.judge(item) if self._placement else item)
            except (RegistryUnavailable, LogUnavailable) as error:
                return items, record.offset, str(error)
        return items, run.end, ""

    def _recover_due(self) -> None:
        now = self._world.clock()
        due = [owned for owned in self._owned.values() if not owned.known and owned.due <= now]
        if not due:
            return
        self._world.at("recovering")
        try:
            states = recover(self._world.log, self._world.database, [owned.partition for owned in due], self._world.at)
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
            cursor, owned.checkpoint, owned.pending = states[owned.partition]
            ours = cursor is not None and cursor.position is not None
            owned.committed = cursor.offset if ours and cursor else -1
            owned.published = owned.checkpoint.position - len(owned.pending)
            owned.deleted = 0
            owned.known = True
            self._world.observer.recovered(
                owned.partition, entries=len(owned.pending), next_offset=owned.checkpoint.next_offset
            )
        if any(owned.pending for owned in due):
            self._publish()
        self._seek_published()

    def _seek_published(self) -> None:
        """Read on where everything that was decided before is published."""
        for owned in self._owned.values():
            if owned.known and not owned.ready and not owned.pending:
                self._world.at("before seek")
                owned.reached = owned.checkpoint.next_offset
                owned.ready = self._world.log.seek(owned.partition, owned.reached)

    # Handling.

    def _handle(self, parts: list[Part], lead: Owned | None) -> None:
        """Make the remote calls, decide and commit. What fails is forgotten and read again, by partition."""
        started, world = self._world.clock(), self._world
        everyone = [part.owned for part in parts] + ([lead] if lead else [])
        try:
            reached = reach_out(self._service, parts, (world.log, world.database, world.calls), self._waiting, world.at)
            self._adapt(reached.calls, world.clock() - started)
            world.at("remote done")
            mine = [part for part in parts if part.items and self._is_mine(part.owned)]
            lead = lead if lead is not None and self._is_mine(lead) else None
            if mine or lead:
                self._applied(
                    self._decision.commit(world.database, mine, lead, reached.outcomes, world.at), mine, started
                )
        except Abandoned:
            self._doubt(everyone, "stopping")
        except HandlerFailed as failed:
            self._doubt(everyone, str(failed))
            self._strike(failed)
        except TRANSIENT as error:
            self._doubt(everyone, str(error))
        else:
            self._hold_back(reached.failures)

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
        owned.reached = owned.checkpoint.next_offset
        self._world.log.pause([owned.partition])
        self._world.observer.paused(owned.partition, "dead_letter_limit", why)

    def _adapt(self, calls: int, seconds: float) -> None:
        """Let one slow provider not make every order wait for a thousand others."""
        if calls:
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
        """Forget what memory holds of these partitions and recover them, later each time."""
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
        cursors = {o.partition: Cursor(o.checkpoint.next_offset, o.checkpoint.position) for o in mine}
        started = self._world.clock()
        try:
            self._world.log.publish(outputs, cursors, lambda: self._still_ours(mine))
        except (Doubt, LogUnavailable) as error:
            self._world.observer.transaction("doubt", len(outputs), self._world.clock() - started)
            self._doubt(mine, str(error))
            return
        self._world.at("published")
        for owned in mine:
            owned.pending.clear()
            owned.committed, owned.published, _ = owned.checkpoint
        self._world.observer.transaction("committed", len(outputs), self._world.clock() - started)

    def _still_ours(self, mine: list[Owned]) -> bool:
        """Return whether nobody has recovered these since we did; no when that cannot be asked."""
        try:
            with self._world.database.snapshot() as tx:
                compare(tx, {owned.partition: owned for owned in mine})
        except TRANSIENT:
            return False
        return True

    # Idle.

    def _look_around(self) -> None:
        """See whether uncaused events wait, and whether a zombie has moved a checkpoint since we read it."""
        self._looked_at = self._world.clock()
        known = [owned for owned in self._owned.values() if owned.known]
        if not known:
            return
        try:
            with self._world.database.snapshot() as tx:
                seen = progress.look(tx)
            moved = [owned for owned in known if seen.checkpoints.get(owned.partition) != owned.checkpoint]
            self._doubt(moved, "somebody else has moved the checkpoint")
            due = self._due(seen.retry_at_ms)
            lead = self._lead_owned()
            if due:
                self._world.at("retrying")
                self._handle(due, None)
            if seen.waiting and lead is not None:
                self._handle([], lead)
            elif self._world.clock() - self._worked_at >= self._tuning.tidy_after:
                self._tidy(note_end=True)
        except TRANSIENT as error:
            self._doubt(known, str(error))

    def _due(self, retry_at_ms: int | None) -> list[Part]:
        """Return the parked records that are to be tried again now, by us: the fence's partition is ours."""
        if retry_at_ms is None:
            self._tell_parked((0, 0))
            return []
        ours = {partition: owned for partition, owned in self._owned.items() if owned.ready}
        self._count_parked(ours)
        now, most = self._world.now_ms(), self._tuning.retries
        if retry_at_ms > now or not ours or self._world.clock() < self._retry_after:
            return []
        parked: dict[Fence, list[Parked]] = {}
        room = self._tuning.many_bytes
        with self._world.database.snapshot() as tx:
            for each in fence.due(tx, ours, now, most):
                if room > 0:
                    parked[each] = fence.records(tx, each, most, room)
                    room -= sum(waiting.record.size for waiting in parked[each])
        if len(parked) == most or room <= 0:
            self._looked_at = 0.0  # there are more: look again at once
        try:
            return [self._retry(ours[each.owner], each, records) for each, records in parked.items()]
        except RegistryUnavailable as error:  # what is parked keeps nobody else waiting
            self._retry_after = self._world.clock() + self._tuning.backoff_most
            self._world.observer.doubted(Partition("*", -1), str(error), retry_in=self._tuning.backoff_most)
            return []

    def _retry(self, owned: Owned, before: Fence, parked: list[Parked]) -> Part:
        items = [decode(self._world.codec, each.record, self._service.topics()) for each in parked]
        return retry(owned, before, [item for item in items if item is not None], self._service.reactions)

    def _count_parked(self, ours: Collection[Partition]) -> None:
        """Tell how much waits for us, every second."""
        if self._world.clock() < self._count_at:
            return
        self._count_at = self._world.clock() + self._tuning.look_after
        with self._world.database.snapshot() as tx:
            self._tell_parked(fence.counted(tx, ours))

    def _tell_parked(self, counted: tuple[int, int]) -> None:
        if counted != self._parked:
            self._parked = counted
            self._world.observer.parked(*counted)

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

    def _tell(self) -> None:
        owned = self._owned.values()
        self._world.observer.turned(ready=sum(o.ready for o in owned), owned=len(owned), pending=self._pending())
