"""One database transaction: compare the checkpoints, let the handlers decide, save, advance, fill the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventbus import progress
from eventbus.batch import Item, Owned, Part, events
from eventbus.codec import Codec, PoisonRecord
from eventbus.database import Database, LostRace, NotOurs, Transaction, Unavailable, Unwritable
from eventbus.dead_letters import dead_letter
from eventbus.event import Event
from eventbus.log import Output, Partition, Record
from eventbus.outbox import caused
from eventbus.progress import Checkpoint, Entry
from eventbus.service import Service

UNCAUSED_AT_ONCE = 5_000
MAX_TRACE_BYTES = 128
"""A W3C traceparent has 55 bytes; a later version may be longer (w3.org/TR/trace-context)."""

Address = tuple[Partition, int]
"""Partition and offset of a record."""

Answers = tuple[dict[Partition, list[Output]], list[tuple[Record, PoisonRecord]], int]
"""Outputs by partition, what is dead-lettered, and how many bad records came last, one after another."""


class HandlerFailed(Exception):
    """A handler raised on a record. Nothing is lost: the record is handled again."""

    def __init__(self, record: Record, handler: str, cause: Exception) -> None:
        super().__init__(f"{handler} raised on {record.address} (key {record.key!r}): {type(cause).__name__}: {cause}")
        self.record = record


class TooManyDeadLetters(Exception):
    """So many bad records in a row that the code is more likely wrong than they are."""


@dataclass(slots=True)
class Decided:
    """What one transaction committed."""

    checkpoints: dict[Partition, Checkpoint]
    entries: dict[Partition, Entry]
    deleted: dict[Partition, int]
    dead: list[tuple[Record, PoisonRecord]] = field(default_factory=list)
    poison_in_a_row: int = 0


class Decision:
    """Decides on batches; remembers only how many bad records came last, one after another."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int) -> None:
        self._service, self._codec, self._limit = service, codec, dead_letter_limit
        self._source = service.name.encode()
        self._poison_in_a_row = 0

    def commit(
        self,
        database: Database,
        parts: Sequence[Part],
        lead: Owned | None,
        outcomes: Mapping[Address, Any],
        at: Callable[[str], None],
    ) -> Decided:
        """Decide and commit; `lead` also takes what waits uncaused.

        Raises LostRace (every partition of the batch is to be recovered then), Unavailable, HandlerFailed,
        TooManyDeadLetters; nothing is committed then, or, with Unavailable, that is not known.
        """
        owned = {part.owned.partition: part.owned for part in parts}
        if lead is not None:
            owned.setdefault(lead.partition, lead)
        try:
            with database.transaction() as tx:
                compare(tx, owned)
                at("compared")
                answers = self._answers(tx, parts, outcomes, at)
                decided = _advance(tx, parts, owned, lead, answers)
                at("before database commit")
                at("during database commit")
        except (LostRace, Unavailable, Unwritable, NotOurs, HandlerFailed, TooManyDeadLetters):
            raise
        except Exception as error:
            if not parts:
                raise
            # Loading or saving failed (a CHECK, say): nobody's fault in particular, so the first record stands for all.
            raise HandlerFailed(parts[0].items[0].record, "the repository", error) from error
        self._poison_in_a_row = decided.poison_in_a_row
        at("after database commit")
        return decided

    def _answers(
        self, tx: Transaction, parts: Sequence[Part], outcomes: Mapping[Address, Any], at: Callable[[str], None]
    ) -> Answers:
        outputs: dict[Partition, list[Output]] = {}
        dead: list[tuple[Record, PoisonRecord]] = []
        in_a_row = self._poison_in_a_row
        work = self._service.repository.load(tx, list(events(parts)))
        for part in parts:
            answers = []
            for item in part.items:
                try:
                    answer = self._answer(item, outcomes, work)
                    in_a_row = 0
                except PoisonRecord as poison:
                    dead.append((item.record, poison))
                    in_a_row += 1
                    if in_a_row > self._limit:
                        raise TooManyDeadLetters(self._too_many(item.record, poison)) from poison
                    answer = dead_letter(self._service.dead_letters(), self._service.name, item.record, poison)
                if answer is not None:
                    answers.append(answer)
            if answers:
                outputs[part.owned.partition] = answers
        at("before save")
        self._service.repository.save(tx, work)
        at("after save")
        return outputs, dead, in_a_row

    def _answer(self, item: Item, outcomes: Mapping[Address, Any], work: Any) -> Output | None:
        record, event = item
        if not isinstance(event, Event):
            raise event
        reaction = self._service.reactions[type(event)]
        try:
            if reaction.remote is None:
                answer = reaction.handler(self._service, event, work)
            else:
                outcome = outcomes[record.partition, record.offset]
                if isinstance(outcome, PoisonRecord):
                    raise outcome  # noqa: TRY301 - judged like a handler's own
                answer = reaction.handler(self._service, event, outcome, work)
            if answer is None:
                return None
            if type(answer) not in reaction.publishes:
                raise TypeError(f"{reaction.name} does not declare {type(answer).__name__}")  # noqa: TRY301
            return caused(self._codec, self._source, answer, record.address, _trace(record))
        except (PoisonRecord, LostRace, Unavailable):
            raise
        except Exception as error:
            raise HandlerFailed(record, reaction.name, error) from error

    def _too_many(self, record: Record, poison: PoisonRecord) -> str:
        return (
            f"more than {self._limit} bad records in a row, the last {record.address}: {poison.reason}: {poison}."
            f" Nothing of the last batch was dead-lettered. If the records are really bad, raise --dead-letter-limit"
        )


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


def _advance(
    tx: Transaction, parts: Sequence[Part], owned: dict[Partition, Owned], lead: Owned | None, answers: Answers
) -> Decided:
    outputs, dead, in_a_row = answers
    if lead is not None and (waiting := progress.take_uncaused(tx, UNCAUSED_AT_ONCE)):
        outputs.setdefault(lead.partition, []).extend(waiting)
    decided = _decided(parts, owned, outputs)
    decided.dead, decided.poison_in_a_row = dead, in_a_row
    progress.advance(tx, decided.checkpoints)
    progress.add(tx, decided.entries)
    progress.delete(tx, decided.deleted)
    return decided


def _decided(
    parts: Sequence[Part], owned: Mapping[Partition, Owned], outputs: Mapping[Partition, list[Output]]
) -> Decided:
    ends = {part.owned.partition: part.end for part in parts}
    checkpoints, entries = {}, {}
    for partition, each in owned.items():
        position = each.checkpoint.position
        if partition in outputs:
            position += 1
            entries[partition] = Entry(position, outputs[partition])
        next_offset = ends.get(partition, each.checkpoint.next_offset)
        checkpoints[partition] = Checkpoint(next_offset, position, each.checkpoint.epoch)
    deleted = {p: each.published for p, each in owned.items() if each.published > each.deleted}
    return Decided(checkpoints, entries, deleted)
