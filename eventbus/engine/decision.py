"""One database transaction: compare the checkpoints, let the handlers decide, save, advance, fill the outbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

from eventbus.database import NO_RECORDS_FAULT, ConcurrentUpdate, Database, Transaction
from eventbus.engine.assignment import Owned
from eventbus.engine.batch import PartitionBatch, keys
from eventbus.engine.delivery import Delivery
from eventbus.engine.firing import Firing, StillDue
from eventbus.engine.handlers import HandlerFailed, Handlers
from eventbus.engine.observer import Handled, Parking
from eventbus.engine.parking import Retries, TooManyParked, check_unmoved, skip_blocked, update_blocks
from eventbus.event import Event
from eventbus.log import MAX_BUFFERED_BYTES, Output, Partition, UnsafeToContinue
from eventbus.serde.codec import Codec
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

    def items(self) -> list[Delivery]:
        """Return all deliveries, in order."""
        return [item for part in self.parts for item in part.items]

    def owned(self) -> dict[Partition, Owned]:
        """Return the partitions whose checkpoints move."""
        owned = {part.owned.partition: part.owned for part in self.parts}
        if self.root_partition is not None:
            owned.setdefault(self.root_partition.partition, self.root_partition)
        return owned

    def first(self, count: int) -> _DecisionBatch:
        """Return a copy with only the first `count` items."""
        copies = list[PartitionBatch]()
        for part in self.parts:
            if count:
                copies.append(replace(part, items=part.items[:count]))
                count -= len(copies[-1].items)
        return _DecisionBatch(copies, None)

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
    paused: dict[Partition, str] = field(default_factory=dict)
    """Partitions with too many bad records, and why; the records before the one too many are decided."""
    parking: Parking = field(default_factory=Parking)


class Decision:
    """Decides on batches, and commits what was decided."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, retries: Retries) -> None:
        self._repository, self._retries = service.repository, retries
        self._handlers = Handlers(service, codec, dead_letter_limit, retries.now_ms)
        self._firing = Firing(service.deadlines)

    def commit(
        self,
        database: Database,
        parts: Sequence[PartitionBatch],
        root_partition: Owned | None,
        failpoint: Callable[[str], None],
    ) -> Decided:
        """Decide and commit; `root_partition` also takes root events. A record on which a handler raises is parked.

        When loading or saving fails, only the records up to the one that causes it are decided; the others return to
        their buffers. A part is cut where too many of its records are bad. Raises ConcurrentUpdate (every partition of
        the batch must be recovered), Unavailable, ReadOnlyOrFull, TooManyParked, HandlerFailed (parking did not help),
        Quarantined; nothing was committed then, except that with Unavailable the outcome is unknown.
        """
        batch = _DecisionBatch(parts, root_partition)
        whole = [replace(part, items=[*part.items]) for part in parts]
        try:
            decided = self._until_changed(database, batch, failpoint)
        except RepositoryFailed as failed:
            if not parts:
                raise
            for part, before in zip(parts, whole, strict=True):
                part.restore(before)
            decided = self._without_one(database, batch, str(failed), failpoint)
        self._handlers.note(parts)
        failpoint("after database commit")
        if decided.parking.parked:
            failpoint("parked")
        if decided.parking.unparked:
            failpoint("unparked")
        return decided

    def _until_changed(self, database: Database, batch: _DecisionBatch, failpoint: Callable[[str], None]) -> Decided:
        """Decide, and commit; again without the deadlines that their handlers leave as they were: those are parked."""
        while True:
            try:
                return self._try(database, batch, failpoint)
            except StillDue as left:
                _decide_again([item for item in batch.items() if not item.failure])
                left.blame()

    def _try(
        self, database: Database, batch: _DecisionBatch, failpoint: Callable[[str], None], *, dry_run: bool = False
    ) -> Decided:
        """Decide, and commit; a dry run raises _DryRunEnded on success."""
        owned = batch.owned()
        try:
            with database.transaction() as tx:
                compare(tx, owned)
                failpoint("compared")
                paused, parking = self._decide(tx, batch, failpoint)
                decided = _advance(tx, batch, owned)
                decided.paused, decided.parking = paused, parking
                if dry_run:
                    raise _DryRunEnded  # noqa: TRY301 - this is how a transaction is rolled back
                failpoint("before database commit")
                failpoint("during database commit")
        except (*NO_RECORDS_FAULT, TooManyParked, UnsafeToContinue, _DryRunEnded):
            raise
        except StillDue as left:
            if not dry_run:
                raise
            raise RepositoryFailed(str(left)) from left
        except Exception as error:
            raise RepositoryFailed(f"the repository raised {type(error).__name__}: {error}") from error
        return decided

    def _without_one(
        self, database: Database, batch: _DecisionBatch, why: str, failpoint: Callable[[str], None]
    ) -> Decided:
        """Bisect for the first record on which the repository fails, and park it; later ones return to the buffer.

        Only the text of a failure is kept: an exception that is kept keeps this frame, and the frame its records.
        """
        good, bad = 0, len(batch.items())
        _decide_again(batch.items())
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._try(database, batch.first(middle), _no_failpoint, dry_run=True)
            except RepositoryFailed as sooner:
                bad, why = middle, str(sooner)
            except _DryRunEnded:
                good = middle
            _decide_again(batch.items())
        blamed = batch.items()[bad - 1]
        batch.give_back(bad)
        blamed.failure = why
        try:
            return self._try(database, batch, failpoint)
        except RepositoryFailed as still:
            raise HandlerFailed(blamed.record, "the repository", still.__cause__ or still) from still

    def _decide(
        self, tx: Transaction, batch: _DecisionBatch, failpoint: Callable[[str], None]
    ) -> tuple[dict[Partition, str], Parking]:
        """Load, call the handlers, and save; call them again without the records on which they raised."""
        parts, _ = batch
        blocks = blocked_keys.blocking(tx, keys(parts))
        check_unmoved(parts, blocks)
        paused: dict[Partition, str] = {}
        errors: dict[str, str] = {}
        raised = any(item.failure for item in batch.items())
        while True:
            if blocks or raised:
                errors = skip_blocked(parts, blocks)
            work = self._repository.load(tx, _to_handle(batch.items()))
            self._firing.read_again(tx, _not_from_log(parts))
            raised, too_bad = self._handlers.decide(parts, work)
            paused |= too_bad
            if not raised:
                break
            for item in batch.items():
                if not item.failure:
                    item.decide_again()
        failpoint("before save")
        self._repository.save(tx, work)
        self._firing.check_changed(tx, _not_from_log(parts))
        failpoint("after save")
        if any(item.skipped for item in batch.items()):
            failpoint("parking")
        if any(part.blocked and part.items for part in parts):
            failpoint("unparking")
        return paused, update_blocks(tx, parts, blocks, errors, self._retries)


def _decide_again(items: Sequence[Delivery]) -> None:
    for item in items:
        item.decide_again()


def _not_from_log(parts: Iterable[PartitionBatch]) -> list[Delivery]:
    """Return the items that may be deadlines: found or parked ones."""
    return [item for part in parts if not part.from_log for item in part.items]


def _to_handle(items: Iterable[Delivery]) -> list[Event]:
    """Return the events that are not skipped; poison, and what is published as it is, has none."""
    return [item.event for item in items if item.event is not None and not item.skipped]


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


def _advance(tx: Transaction, batch: _DecisionBatch, owned: dict[Partition, Owned]) -> Decided:
    """Move the checkpoints, fill the outbox, and delete from it what is published."""
    parts, root_partition = batch
    outputs: dict[Partition, list[Output]] = {}
    for part in parts:
        made = [item.output for item in part.items if item.output is not None]
        outputs.setdefault(part.owned.partition, []).extend(made)
    if root_partition is not None and (waiting := progress.take_root_events(tx, MAX_ROOT_EVENTS, MAX_BUFFERED_BYTES)):
        outputs.setdefault(root_partition.partition, []).extend(waiting)
    decided = _decided(parts, owned, outputs)
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


def handled(parts: Sequence[PartitionBatch], decided: Decided, seconds: float) -> Handled:
    """Summarize a batch: per batch, not per event, because a log line per event costs more than the database."""
    consumed: Counter[str] = Counter()
    published: Counter[str] = Counter()
    fresh = [part for part in parts if part.items and part.from_log]
    for part in fresh:
        consumed[part.owned.partition.topic] += len(part.items)
    for entry in decided.entries.values():
        published.update(output.topic for output in entry.outputs)
    oldest = min((part.items[0].record.timestamp_ms for part in fresh), default=None)
    dead = [(item.record, item.poison) for part in parts for item in part.items if item.poison is not None]
    keys = (part.items[0].record.key for part in fresh)
    roots = (output.key for entry in decided.entries.values() for output in entry.outputs)
    example = (next(chain(keys, roots), None) or b"").decode(errors="replace")
    return Handled(dict(consumed), dict(published), dead, oldest, seconds, decided.parking, example)
