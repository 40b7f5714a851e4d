"""One database transaction: compare the checkpoints, let the handlers decide, save, advance, fill the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from eventbus import fence, progress
from eventbus.batch import Item, Owned, Part, events
from eventbus.codec import Codec, PoisonRecord
from eventbus.database import NO_RECORDS_FAULT, Database, LostRace, Transaction, Unavailable
from eventbus.dead_letter_limit import WINDOW, DeadLetterLimit
from eventbus.dead_letters import dead_letter
from eventbus.event import Event
from eventbus.log import CROWD_BYTES, Output, Partition, Record
from eventbus.outbox import caused
from eventbus.parking import Address, Held, Parking, Retries, TooManyParked, address, check_unmoved, hold, settle
from eventbus.progress import Checkpoint, Entry
from eventbus.resolutions import origin
from eventbus.service import Service

UNCAUSED_AT_ONCE = 5_000
MAX_TRACE_BYTES = 128
"""A W3C traceparent has 55 bytes; a later version may be longer (w3.org/TR/trace-context)."""

MISSING = object()


class HandlerFailed(Exception):
    """A handler raised on a record: its key is in trouble. Out of `commit` it means that parking did not help."""

    def __init__(self, record: Record, handler: str, cause: BaseException) -> None:
        super().__init__(f"{handler} raised on {record.address} (key {record.key!r}): {type(cause).__name__}: {cause}")
        self.record = record


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


Dead = dict[Partition, list[tuple[int, Record, PoisonRecord]]]
"""What is dead-lettered, by partition: its index in the batch, and why."""


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


@dataclass(slots=True)
class _Answers:
    """What the handlers of a batch said."""

    outputs: dict[Partition, list[Output]] = field(default_factory=dict)
    dead: Dead = field(default_factory=dict)
    held: dict[Partition, str] = field(default_factory=dict)
    troubles: dict[Address, str] = field(default_factory=dict)
    """The records on which a handler raised, and what it said."""


class Decision:
    """Decides on batches; remembers only how many bad records came lately."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, retries: Retries) -> None:
        self._service, self._codec, self._retries = service, codec, retries
        self._limit = DeadLetterLimit(dead_letter_limit)
        self._source = service.name.encode()

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
        recovered then), Unavailable, Unwritable, TooManyParked, HandlerFailed (parking did not help); nothing is
        committed then, or, with Unavailable, that is not known.
        """
        batch = _Batch(parts, lead, outcomes)
        try:
            decided = self._try(database, batch, {}, at)
        except RepositoryFailed as failed:
            if not parts:
                raise
            decided = self._without_one(database, batch, failed, at)
        for part in parts:
            if part.fence is None:
                bad = [index for index, _, _ in decided.dead.get(part.owned.partition, [])]
                self._limit.note(part.owned.partition, len(part.items), bad)
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
        except (*NO_RECORDS_FAULT, TooManyParked, _EnoughTried):
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
    ) -> tuple[_Answers, Parking]:
        """Let the handlers decide, and again without those records on which they raised."""
        parts, _, outcomes = batch
        fences = fence.standing(tx, (event.key for event in events(parts)))
        check_unmoved(parts, fences)
        too_bad: dict[Partition, str] = {}
        while True:
            held = hold(parts, fences, troubles) if fences or troubles else Held()
            work = self._service.repository.load(tx, _events(parts, held))
            answers = self._handled(parts, held, outcomes, work)
            too_bad |= answers.held
            if not answers.troubles:
                break
            troubles = troubles | answers.troubles
        answers.held = too_bad
        at("before save")
        self._service.repository.save(tx, work)
        at("after save")
        if held.records:
            at("parking")
        if any(part.fence and part.items for part in parts):
            at("unparking")
        return answers, settle(tx, parts, fences, held, self._retries)

    def _handled(self, parts: Sequence[Part], held: Held, outcomes: Mapping[Address, Any], work: Any) -> _Answers:
        answers = _Answers()
        stopped: set[bytes | None] = set()
        for part in parts:
            outputs = answers.outputs.setdefault(part.owned.partition, [])
            for index, item in enumerate(part.items):
                if (held.records and address(item) in held.records) or (stopped and item.record.key in stopped):
                    continue
                try:
                    answer = self._answer(item, outcomes, work)
                except PoisonRecord as poison:
                    answer = self._dead_letter(part, index, poison, answers)
                    if answer is None:
                        break
                except HandlerFailed as failed:
                    answers.troubles[address(item)] = str(failed)
                    stopped.add(item.record.key)
                    continue
                if answer is not None:
                    outputs.append(answer)
        return answers

    def _dead_letter(self, part: Part, index: int, poison: PoisonRecord, answers: _Answers) -> Output | None:
        """Return the dead letter; or cut the part there, because too much of its partition is bad."""
        partition, record = part.owned.partition, part.items[index].record
        bad = answers.dead.setdefault(partition, [])
        if part.fence is None and not self._limit.allows(partition, index, len(bad)):
            answers.held[partition] = self._too_many(record, poison)
            part.cut(index)
            return None
        # Its traceback leads back to the record: a cycle, and those are looked for rarely (worker.GARBAGE).
        bad.append((index, record, poison.with_traceback(None)))
        service = self._service
        return dead_letter(service.dead_letters(), service.name, record, poison, self._retries.now_ms())

    def _answer(self, item: Item, outcomes: Mapping[Address, Any], work: Any) -> Output | None:
        record, event = item
        if not isinstance(event, Event):
            raise event
        reaction = self._service.reactions[type(event)]
        try:
            if reaction.remote is None:
                answer = reaction.handler(self._service, event, work)
            else:
                outcome = outcomes.get(address(item), MISSING)
                if outcome is MISSING:
                    raise LostRace(f"the fence before {event.key} was lifted meanwhile")  # noqa: TRY301
                if isinstance(outcome, PoisonRecord):
                    raise outcome  # noqa: TRY301 - judged like a handler's own
                if isinstance(outcome, Exception):
                    raise HandlerFailed(record, f"the remote call of {reaction.name}", outcome)  # noqa: TRY301
                answer = reaction.handler(self._service, event, outcome, work)
            if answer is None:
                return None
            if type(answer) not in reaction.publishes:
                raise TypeError(f"{reaction.name} does not declare {type(answer).__name__}")  # noqa: TRY301
            return caused(self._codec, self._source, answer, origin(record).address, _trace(record))
        except (PoisonRecord, LostRace, Unavailable, HandlerFailed):
            raise
        except Exception as error:
            raise HandlerFailed(record, reaction.name, error) from error

    def _too_many(self, record: Record, poison: PoisonRecord) -> str:
        return (
            f"{self._limit.limit} of its last {WINDOW:,} records are dead letters, and {record.address} would be one"
            f" more: {poison.reason}: {poison}. The partition waits: roll the deployment back or, if the records are"
            " really bad, start this worker again with a higher --dead-letter-limit"
        )


def _events(parts: Sequence[Part], held: Held) -> list[Event]:
    """Return what is handled, without the poison."""
    if not held.records:
        return list(events(parts))
    items = (item for part in parts for item in part.items if address(item) not in held.records)
    return [item.event for item in items if isinstance(item.event, Event)]


def _nowhere(_step: str) -> None:
    """No step of a transaction that is only tried is one."""


def _trace(record: Record) -> bytes | None:
    """Return what the output is to carry on; never more than an output has room for, whoever wrote the input."""
    for name, value in record.headers:
        if name == "traceparent":
            return value if value and len(value) <= MAX_TRACE_BYTES else None
    return None


def compare(tx: Transaction, owned: Mapping[Partition, Owned]) -> None:
    """Lock the checkpoints of these partitions; LostRace unless every one is as it was last read."""
    stored = progress.checkpoints(tx, owned)
    moved = [str(p) for p, each in owned.items() if stored.get(p) != each.checkpoint]
    if moved:
        raise LostRace(f"somebody else has moved the checkpoint of {', '.join(moved)}")


def _advance(tx: Transaction, batch: _Batch, owned: dict[Partition, Owned], answers: _Answers) -> Decided:
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
    ends = {part.owned.partition: part.end for part in parts}
    checkpoints, entries = {}, {}
    for partition, each in owned.items():
        position = each.checkpoint.position
        if outputs.get(partition):
            position += 1
            entries[partition] = Entry(position, outputs[partition])
        next_offset = ends.get(partition, each.checkpoint.next_offset)
        checkpoints[partition] = Checkpoint(next_offset, position, each.checkpoint.epoch)
    deleted = {p: each.published for p, each in owned.items() if each.published > each.deleted}
    return Decided(checkpoints, entries, deleted)
