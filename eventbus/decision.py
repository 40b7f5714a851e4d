"""One database transaction: compare the checkpoints, let the handlers decide, save, advance, fill the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventbus import progress
from eventbus.batch import Item, Owned, Part, events
from eventbus.codec import Codec, PoisonRecord
from eventbus.database import Database, LostRace, NotOurs, Transaction, Unavailable, Unwritable
from eventbus.dead_letter_limit import WINDOW, DeadLetterLimit
from eventbus.dead_letters import dead_letter
from eventbus.event import Event
from eventbus.log import Output, Partition, Record
from eventbus.outbox import caused
from eventbus.progress import Checkpoint, Entry
from eventbus.resolutions import origin
from eventbus.service import Service

UNCAUSED_AT_ONCE = 5_000
MAX_TRACE_BYTES = 128
"""A W3C traceparent has 55 bytes; a later version may be longer (w3.org/TR/trace-context)."""

Address = tuple[Partition, int]
"""Partition and offset of a record."""

Dead = dict[Partition, list[tuple[int, Record, PoisonRecord]]]
"""What is dead-lettered, by partition: its index in the batch, and why."""
Answers = tuple[dict[Partition, list[Output]], Dead, dict[Partition, str]]
"""Outputs by partition, what is dead-lettered, and why the rest of a partition is not handled."""


class HandlerFailed(Exception):
    """A handler raised on a record. Nothing is lost: the record is handled again."""

    def __init__(self, record: Record, handler: str, cause: Exception) -> None:
        super().__init__(f"{handler} raised on {record.address} (key {record.key!r}): {type(cause).__name__}: {cause}")
        self.record = record


@dataclass(slots=True)
class Decided:
    """What one transaction committed."""

    checkpoints: dict[Partition, Checkpoint]
    entries: dict[Partition, Entry]
    deleted: dict[Partition, int]
    dead: Dead = field(default_factory=dict)
    held: dict[Partition, str] = field(default_factory=dict)
    """Partitions of which too much is bad, and why; what came before that is decided."""


class Decision:
    """Decides on batches; remembers only how many bad records came lately."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, now_ms: Callable[[], int]) -> None:
        self._service, self._codec, self._now_ms = service, codec, now_ms
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
        """Decide and commit; `lead` also takes what waits uncaused.

        A part is cut where too many of its records are bad. Raises LostRace (every partition of the batch is to be
        recovered then), Unavailable, HandlerFailed; nothing is committed then, or, with Unavailable, that is not known.
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
        except (LostRace, Unavailable, Unwritable, NotOurs, HandlerFailed):
            raise
        except Exception as error:
            records = [item.record for part in parts for item in part.items]
            if not records:
                raise
            # Loading or saving failed (a CHECK, say): nobody's fault in particular, so the first record stands for all.
            raise HandlerFailed(records[0], "the repository", error) from error
        for part in parts:
            bad = [index for index, _, _ in decided.dead.get(part.owned.partition, [])]
            self._limit.note(part.owned.partition, len(part.items), bad)
        at("after database commit")
        return decided

    def _answers(
        self, tx: Transaction, parts: Sequence[Part], outcomes: Mapping[Address, Any], at: Callable[[str], None]
    ) -> Answers:
        outputs: dict[Partition, list[Output]] = {}
        dead: Dead = {}
        held: dict[Partition, str] = {}
        work = self._service.repository.load(tx, list(events(parts)))
        for part in parts:
            partition = part.owned.partition
            answers, bad = [], dead.setdefault(partition, [])
            for index, item in enumerate(part.items):
                try:
                    answer = self._answer(item, outcomes, work)
                except PoisonRecord as poison:
                    if not self._limit.allows(partition, index, len(bad)):
                        held[partition] = self._too_many(item.record, poison)
                        part.cut(index)
                        break
                    # Its traceback leads back to the record: a cycle, and those are looked for rarely (worker.GARBAGE).
                    bad.append((index, item.record, poison.with_traceback(None)))
                    answer = self._dead_letter(item.record, poison)
                if answer is not None:
                    answers.append(answer)
            if answers:
                outputs[partition] = answers
        at("before save")
        self._service.repository.save(tx, work)
        at("after save")
        return outputs, dead, held

    def _dead_letter(self, record: Record, poison: PoisonRecord) -> Output:
        service = self._service
        return dead_letter(service.dead_letters(), service.name, record, poison, self._now_ms())

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
            return caused(self._codec, self._source, answer, origin(record).address, _trace(record))
        except (PoisonRecord, LostRace, Unavailable):
            raise
        except Exception as error:
            raise HandlerFailed(record, reaction.name, error) from error

    def _too_many(self, record: Record, poison: PoisonRecord) -> str:
        return (
            f"{self._limit.limit} of its last {WINDOW:,} records are dead letters, and {record.address} would be one"
            f" more: {poison.reason}: {poison}. The partition waits: roll the deployment back or, if the records are"
            " really bad, start this worker again with a higher --dead-letter-limit"
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
    outputs, dead, held = answers
    if lead is not None and (waiting := progress.take_uncaused(tx, UNCAUSED_AT_ONCE)):
        outputs.setdefault(lead.partition, []).extend(waiting)
    decided = _decided(parts, owned, outputs)
    decided.dead, decided.held = dead, held
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
