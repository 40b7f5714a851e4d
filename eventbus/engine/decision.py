"""One database transaction: compare the checkpoints, let the handlers decide, save, advance, fill the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from eventbus.database import NO_RECORDS_FAULT, Database, LostRace, Transaction
from eventbus.engine.batch import Owned, Part, Unpublished, events
from eventbus.engine.handlers import Answers, Dead, HandlerFailed, Handlers
from eventbus.engine.parking import Address, Held, Parking, Retries, TooManyParked, address, check_unmoved, hold, settle
from eventbus.event import Event
from eventbus.log import CROWD_BYTES, Output, Partition, Refused
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Service
from eventbus.store import fence, progress
from eventbus.store.progress import Checkpoint, Entry

UNCAUSED_AT_ONCE = 5_000


class RepositoryFailed(Exception):
    """Loading or saving raised (a CHECK, say). One record of the batch is to blame, and it is not said which."""


class _EnoughTried(Exception):
    """A transaction that was only to be tried is rolled back."""


class _Batch(NamedTuple):
    """What is decided on in one transaction."""

    parts: Sequence[Part]
    lead: Owned | None
    outcomes: Mapping[Address, Any]

    def owned(self) -> dict[Partition, Owned]:
        """Return the partitions whose checkpoints move."""
        owned = {part.owned.partition: part.owned for part in self.parts}
        if self.lead is not None:
            owned.setdefault(self.lead.partition, self.lead)
        return owned

    def first(self, count: int) -> _Batch:
        """Return a copy with only so many items, the first."""
        copies = []
        for part in self.parts:
            if count:
                copies.append(replace(part, items=part.items[:count]))
                count -= len(copies[-1].items)
        return self._replace(parts=copies, lead=None)

    def give_back(self, count: int) -> None:
        """Keep only so many items, the first."""
        for part in self.parts:
            kept = min(count, len(part.items))
            part.give_back(kept)
            count -= kept


@dataclass(slots=True)
class Decided:
    """What one transaction committed."""

    checkpoints: dict[Partition, Checkpoint]
    entries: dict[Partition, Entry]
    deleted: dict[Partition, int]
    dead: Dead = field(default_factory=dict)
    held: dict[Partition, str] = field(default_factory=dict)
    """Partitions of which too much is bad, and why; what came before that is decided."""
    parking: Parking = field(default_factory=Parking)


class Decision:
    """Decides on batches, and commits what was decided."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, retries: Retries) -> None:
        self._repository, self._retries = service.repository, retries
        self._handlers = Handlers(service, codec, dead_letter_limit, retries.now_ms)

    def commit(
        self,
        database: Database,
        parts: Sequence[Part],
        lead: Owned | None,
        outcomes: Mapping[Address, Any],
        at: Callable[[str], None],
    ) -> Decided:
        """Decide and commit; `lead` also takes what waits uncaused. A record on which a handler raises is parked.

        When loading or saving fails, only the records up to the one to blame are decided on; the others are given back.
        A part is cut where too many of its records are bad. Raises LostRace (every partition of the batch is to be
        recovered then), Unavailable, Unwritable, TooManyParked, HandlerFailed (parking did not help), Quarantined;
        nothing is committed then, or, with Unavailable, that is not known.
        """
        batch = _Batch(parts, lead, outcomes)
        try:
            decided = self._try(database, batch, {}, at)
        except RepositoryFailed as failed:
            if not parts:
                raise
            decided = self._without_one(database, batch, failed, at)
        self._handlers.note(parts, decided.dead)
        at("after database commit")
        if decided.parking.parked:
            at("parked")
        if decided.parking.unparked:
            at("unparked")
        return decided

    def _try(
        self, database: Database, batch: _Batch, troubles: dict[Address, str], at: Callable[[str], None] | None
    ) -> Decided:
        """Decide, and commit; without `at` it is only to be seen whether that is possible: raises _EnoughTried."""
        only_tried, at = at is None, at or _nowhere
        owned = batch.owned()
        try:
            with database.transaction() as tx:
                compare(tx, owned)
                at("compared")
                answers, parking = self._answers(tx, batch, troubles, at)
                decided = _advance(tx, batch, owned, answers)
                decided.parking = parking
                if only_tried:
                    raise _EnoughTried  # noqa: TRY301 - this is how a transaction is rolled back
                at("before database commit")
                at("during database commit")
        except (*NO_RECORDS_FAULT, TooManyParked, Refused, _EnoughTried):
            raise
        except Exception as error:
            raise RepositoryFailed(f"the repository raised {type(error).__name__}: {error}") from error
        return decided

    def _without_one(
        self, database: Database, batch: _Batch, failed: RepositoryFailed, at: Callable[[str], None]
    ) -> Decided:
        """Bisect for the first record with which the repository fails, give back what follows, and park that one."""
        good, bad = 0, sum(len(part.items) for part in batch.parts)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._try(database, batch.first(middle), {}, None)
            except RepositoryFailed as sooner:
                bad, failed = middle, sooner
            except _EnoughTried:
                good = middle
        blamed = batch.first(bad).parts[-1].items[-1]
        batch.give_back(bad)
        try:
            return self._try(database, batch, {address(blamed): str(failed)}, at)
        except RepositoryFailed as still:
            raise HandlerFailed(blamed.record, "the repository", still.__cause__ or still) from still

    def _answers(
        self,
        tx: Transaction,
        batch: _Batch,
        troubles: dict[Address, str],
        at: Callable[[str], None],
    ) -> tuple[Answers, Parking]:
        """Let the handlers decide, and again without those records on which they raised."""
        parts, _, outcomes = batch
        fences = fence.standing(tx, (event.key for event in events(parts)))
        check_unmoved(parts, fences)
        too_bad: dict[Partition, str] = {}
        while True:
            held = hold(parts, fences, troubles) if fences or troubles else Held()
            work = self._repository.load(tx, _events(parts, held))
            answers = self._handlers.decide(parts, held, outcomes, work)
            too_bad |= answers.held
            if not answers.troubles:
                break
            troubles = troubles | answers.troubles
        answers.held = too_bad
        at("before save")
        self._repository.save(tx, work)
        at("after save")
        if held.records:
            at("parking")
        if any(part.fence and part.items for part in parts):
            at("unparking")
        return answers, settle(tx, parts, fences, held, self._retries)


def _events(parts: Sequence[Part], held: Held) -> list[Event]:
    """Return what is handled, without the poison."""
    if not held.records:
        return [event for event in events(parts) if not isinstance(event, Unpublished)]
    items = (item for part in parts for item in part.items if address(item) not in held.records)
    return [item.event for item in items if not isinstance(item.event, PoisonRecord | Unpublished)]


def _nowhere(_step: str) -> None:
    """No step of a transaction that is only tried is one."""


def compare(tx: Transaction, owned: Mapping[Partition, Owned]) -> None:
    """Lock the checkpoints of these partitions; LostRace unless every one is as it was last read.

    Raises Quarantined.
    """
    stored = progress.checkpoints(tx, owned)
    moved = [str(p) for p, each in owned.items() if stored.get(p) != each.checkpoint]
    if moved:
        raise LostRace(f"somebody else has moved the checkpoint of {', '.join(moved)}")


def _advance(tx: Transaction, batch: _Batch, owned: dict[Partition, Owned], answers: Answers) -> Decided:
    parts, lead, _ = batch
    outputs = answers.outputs
    if lead is not None and (waiting := progress.take_uncaused(tx, UNCAUSED_AT_ONCE, CROWD_BYTES)):
        outputs.setdefault(lead.partition, []).extend(waiting)
    decided = _decided(parts, owned, outputs)
    decided.dead, decided.held = answers.dead, answers.held
    progress.advance(tx, decided.checkpoints)
    decided.entries = progress.add(tx, decided.entries)
    progress.delete(tx, decided.deleted)
    return decided


def _decided(
    parts: Sequence[Part], owned: Mapping[Partition, Owned], outputs: Mapping[Partition, list[Output]]
) -> Decided:
    ends = {part.owned.partition: (part.end, part.leader_epoch) for part in parts}
    checkpoints, entries = {}, {}
    for partition, each in owned.items():
        position = each.checkpoint.position
        if outputs.get(partition):
            position += 1
            entries[partition] = Entry(position, outputs[partition])
        next_offset, leader_epoch = ends.get(partition, (each.checkpoint.next_offset, each.checkpoint.leader_epoch))
        checkpoints[partition] = Checkpoint(next_offset, position, each.checkpoint.epoch, leader_epoch)
    deleted = {p: each.published for p, each in owned.items() if each.published > each.deleted}
    return Decided(checkpoints, entries, deleted)
