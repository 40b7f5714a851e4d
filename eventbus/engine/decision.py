"""One database transaction: compare the checkpoints, let the handlers decide, save, advance, fill the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from eventbus.database import NO_RECORDS_FAULT, ConcurrentUpdate, Database, Transaction
from eventbus.engine.batch import Owned, PartitionBatch, Unpublished, events
from eventbus.engine.handlers import Answers, Dead, HandlerFailed, Handlers
from eventbus.engine.parking import (
    Address,
    Parking,
    Retries,
    Skipped,
    TooManyParked,
    address,
    check_unmoved,
    skip_blocked,
    update_blocks,
)
from eventbus.event import Event
from eventbus.log import MAX_BUFFERED_BYTES, Output, Partition, UnsafeToContinue
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Service
from eventbus.store import blocked_keys, progress
from eventbus.store.progress import Checkpoint, OutboxEntry

MAX_ROOT_EVENTS = 5_000


class RepositoryFailed(Exception):
    """Loading or saving raised (a CHECK, say). One record of the batch causes it; the exception does not say which."""


class _DryRunEnded(Exception):
    """Rolls the transaction of a dry run back."""


class _DecisionBatch(NamedTuple):
    """The input of one transaction."""

    parts: Sequence[PartitionBatch]
    root_partition: Owned | None
    outcomes: Mapping[Address, Any]

    def owned(self) -> dict[Partition, Owned]:
        """Return the partitions whose checkpoints move."""
        owned = {part.owned.partition: part.owned for part in self.parts}
        if self.root_partition is not None:
            owned.setdefault(self.root_partition.partition, self.root_partition)
        return owned

    def first(self, count: int) -> _DecisionBatch:
        """Return a copy with only the first `count` items."""
        copies = []
        for part in self.parts:
            if count:
                copies.append(replace(part, items=part.items[:count]))
                count -= len(copies[-1].items)
        return self._replace(parts=copies, root_partition=None)

    def give_back(self, count: int) -> None:
        """Keep only the first `count` items; return the others to their buffers."""
        for part in self.parts:
            kept = min(count, len(part.items))
            part.give_back(kept)
            count -= kept


@dataclass(slots=True)
class Decided:
    """What one transaction committed."""

    checkpoints: dict[Partition, Checkpoint]
    entries: dict[Partition, OutboxEntry]
    deleted: dict[Partition, int]
    dead: Dead = field(default_factory=dict)
    paused: dict[Partition, str] = field(default_factory=dict)
    """Partitions with too many bad records, and why; the records before the one too many are decided."""
    parking: Parking = field(default_factory=Parking)


class Decision:
    """Decides on batches, and commits what was decided."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, retries: Retries) -> None:
        self._repository, self._retries = service.repository, retries
        self._handlers = Handlers(service, codec, dead_letter_limit, retries.now_ms)

    def commit(
        self,
        database: Database,
        parts: Sequence[PartitionBatch],
        root_partition: Owned | None,
        outcomes: Mapping[Address, Any],
        failpoint: Callable[[str], None],
    ) -> Decided:
        """Decide and commit; `root_partition` also takes root events. A record on which a handler raises is parked.

        When loading or saving fails, only the records up to the one that causes it are decided; the others return to
        their buffers. A part is cut where too many of its records are bad. Raises ConcurrentUpdate (every partition of
        the batch must be recovered), Unavailable, ReadOnlyOrFull, TooManyParked, HandlerFailed (parking did not help),
        Quarantined; nothing was committed then, except that with Unavailable the outcome is unknown.
        """
        batch = _DecisionBatch(parts, root_partition, outcomes)
        try:
            decided = self._try(database, batch, {}, failpoint)
        except RepositoryFailed as failed:
            if not parts:
                raise
            decided = self._without_one(database, batch, failed, failpoint)
        self._handlers.note(parts, decided.dead)
        failpoint("after database commit")
        if decided.parking.parked:
            failpoint("parked")
        if decided.parking.unparked:
            failpoint("unparked")
        return decided

    def _try(
        self,
        database: Database,
        batch: _DecisionBatch,
        troubles: dict[Address, str],
        failpoint: Callable[[str], None] | None,
    ) -> Decided:
        """Decide, and commit.

        Without `failpoint` this is a dry run, which raises _DryRunEnded on success.
        """
        dry_run, failpoint = failpoint is None, failpoint or _no_failpoint
        owned = batch.owned()
        try:
            with database.transaction() as tx:
                compare(tx, owned)
                failpoint("compared")
                answers, parking = self._answers(tx, batch, troubles, failpoint)
                decided = _advance(tx, batch, owned, answers)
                decided.parking = parking
                if dry_run:
                    raise _DryRunEnded  # noqa: TRY301 - this is how a transaction is rolled back
                failpoint("before database commit")
                failpoint("during database commit")
        except (*NO_RECORDS_FAULT, TooManyParked, UnsafeToContinue, _DryRunEnded):
            raise
        except Exception as error:
            raise RepositoryFailed(f"the repository raised {type(error).__name__}: {error}") from error
        return decided

    def _without_one(
        self, database: Database, batch: _DecisionBatch, failed: RepositoryFailed, failpoint: Callable[[str], None]
    ) -> Decided:
        """Bisect for the first record on which the repository fails, and park it; later ones return to the buffer."""
        good, bad = 0, sum(len(part.items) for part in batch.parts)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._try(database, batch.first(middle), {}, None)
            except RepositoryFailed as sooner:
                bad, failed = middle, sooner
            except _DryRunEnded:
                good = middle
        blamed = batch.first(bad).parts[-1].items[-1]
        batch.give_back(bad)
        try:
            return self._try(database, batch, {address(blamed): str(failed)}, failpoint)
        except RepositoryFailed as still:
            raise HandlerFailed(blamed.record, "the repository", still.__cause__ or still) from still

    def _answers(
        self,
        tx: Transaction,
        batch: _DecisionBatch,
        troubles: dict[Address, str],
        failpoint: Callable[[str], None],
    ) -> tuple[Answers, Parking]:
        """Call the handlers, and call them again without the records on which they raised."""
        parts, _, outcomes = batch
        blocks = blocked_keys.blocking(tx, (event.key for event in events(parts)))
        check_unmoved(parts, blocks)
        too_bad: dict[Partition, str] = {}
        while True:
            skipped = skip_blocked(parts, blocks, troubles) if blocks or troubles else Skipped()
            work = self._repository.load(tx, _events(parts, skipped))
            answers = self._handlers.decide(parts, skipped, outcomes, work)
            too_bad |= answers.paused
            if not answers.troubles:
                break
            troubles = troubles | answers.troubles
        answers.paused = too_bad
        failpoint("before save")
        self._repository.save(tx, work)
        failpoint("after save")
        if skipped.records:
            failpoint("parking")
        if any(part.blocked and part.items for part in parts):
            failpoint("unparking")
        return answers, update_blocks(tx, parts, blocks, skipped, self._retries)


def _events(parts: Sequence[PartitionBatch], skipped: Skipped) -> list[Event]:
    """Return the events to be handled, without the poison."""
    if not skipped.records:
        return [event for event in events(parts) if not isinstance(event, Unpublished)]
    items = (item for part in parts for item in part.items if address(item) not in skipped.records)
    return [item.event for item in items if not isinstance(item.event, PoisonRecord | Unpublished)]


def _no_failpoint(_step: str) -> None:
    """A dry run has no failpoints."""


def compare(tx: Transaction, owned: Mapping[Partition, Owned]) -> None:
    """Lock the checkpoints of these partitions; raise ConcurrentUpdate unless all are unchanged since they were read.

    Raises Quarantined.
    """
    stored = progress.checkpoints(tx, owned)
    moved = [str(p) for p, each in owned.items() if stored.get(p) != each.checkpoint]
    if moved:
        raise ConcurrentUpdate(f"another worker has moved the checkpoint of {', '.join(moved)}")


def _advance(tx: Transaction, batch: _DecisionBatch, owned: dict[Partition, Owned], answers: Answers) -> Decided:
    parts, root_partition, _ = batch
    outputs = answers.outputs
    if root_partition is not None and (waiting := progress.take_root_events(tx, MAX_ROOT_EVENTS, MAX_BUFFERED_BYTES)):
        outputs.setdefault(root_partition.partition, []).extend(waiting)
    decided = _decided(parts, owned, outputs)
    decided.dead, decided.paused = answers.dead, answers.paused
    progress.advance(tx, decided.checkpoints)
    decided.entries = progress.add(tx, decided.entries)
    progress.delete(tx, decided.deleted)
    return decided


def _decided(
    parts: Sequence[PartitionBatch], owned: Mapping[Partition, Owned], outputs: Mapping[Partition, list[Output]]
) -> Decided:
    ends = {part.owned.partition: (part.end, part.leader_epoch) for part in parts}
    checkpoints, entries = {}, {}
    for partition, each in owned.items():
        outbox_seq = each.checkpoint.outbox_seq
        if outputs.get(partition):
            outbox_seq += 1
            entries[partition] = OutboxEntry(outbox_seq, outputs[partition])
        next_offset, leader_epoch = ends.get(partition, (each.checkpoint.next_offset, each.checkpoint.leader_epoch))
        checkpoints[partition] = Checkpoint(next_offset, outbox_seq, each.checkpoint.epoch, leader_epoch)
    deleted = {p: each.published for p, each in owned.items() if each.published > each.deleted}
    return Decided(checkpoints, entries, deleted)
