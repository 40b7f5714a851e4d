"""Lets the handlers of a service decide on a batch: what they answer, refuse, or raise on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventbus.database import ConcurrentUpdate, Unavailable
from eventbus.deadletters.letter import dead_letter
from eventbus.deadletters.limit import WINDOW, DeadLetterLimit
from eventbus.deadletters.resolutions import origin
from eventbus.engine.batch import Delivery, PartitionBatch, Unpublished
from eventbus.engine.parking import Address, Skipped, address
from eventbus.event import Event
from eventbus.log import Output, Partition, Record, TooLarge
from eventbus.publishing import caused
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Service

MAX_TRACE_BYTES = 128
"""A W3C traceparent has 55 bytes; a later version may be longer (w3.org/TR/trace-context)."""

MISSING = object()


class HandlerFailed(Exception):
    """A handler raised on a record: its key is in trouble. Out of `commit` it means that parking did not help."""

    def __init__(self, record: Record, handler: str, cause: BaseException) -> None:
        super().__init__(f"{handler} raised on {record.address} (key {record.key!r}): {type(cause).__name__}: {cause}")
        self.record = record


Dead = dict[Partition, list[tuple[int, Record, PoisonRecord]]]
"""What is dead-lettered, by partition: its index in the batch, and why."""


@dataclass(slots=True)
class Answers:
    """What the handlers of a batch said."""

    outputs: dict[Partition, list[Output]] = field(default_factory=dict)
    dead: Dead = field(default_factory=dict)
    paused: dict[Partition, str] = field(default_factory=dict)
    troubles: dict[Address, str] = field(default_factory=dict)
    """The records on which a handler raised, and what it said."""


class Handlers:
    """Calls them, event by event; remembers only how many bad records came lately."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, now_ms: Callable[[], int]) -> None:
        self._service, self._codec, self._now_ms = service, codec, now_ms
        self._reactions = service.reactions
        self._limit = DeadLetterLimit(dead_letter_limit)
        self._source = service.name.encode()

    def note(self, parts: Sequence[PartitionBatch], dead: Dead) -> None:
        """Remember what was committed, for the limit."""
        for part in parts:
            if part.blocked is None:
                bad = [index for index, _, _ in dead.get(part.owned.partition, [])]
                self._limit.note(part.owned.partition, len(part.items), bad)

    def decide(
        self, parts: Sequence[PartitionBatch], skipped: Skipped, outcomes: Mapping[Address, Any], work: Any
    ) -> Answers:
        """Return what follows from a batch, but for what is held back; a part is cut where too much of it is bad."""
        answers = Answers()
        stopped: set[bytes | None] = set()
        for part in parts:
            outputs = answers.outputs.setdefault(part.owned.partition, [])
            for index, item in enumerate(part.items):
                if (skipped.records and address(item) in skipped.records) or (stopped and item.record.key in stopped):
                    continue
                try:
                    answer = self._unpublished(item) or self._answer(item, outcomes, work)
                except PoisonRecord as poison:
                    answer = self._dead_letter(part, index, poison, answers)
                    if answer is None:
                        break
                except (HandlerFailed, TooLarge) as failed:
                    answers.troubles[address(item)] = str(failed)
                    stopped.add(item.record.key)
                    continue
                if answer is not None:
                    outputs.append(answer)
        return answers

    def _dead_letter(self, part: PartitionBatch, index: int, poison: PoisonRecord, answers: Answers) -> Output | None:
        """Return the dead letter; or cut the part there, because too much of its partition is bad."""
        partition, record = part.owned.partition, part.items[index].record
        bad = answers.dead.setdefault(partition, [])
        if part.blocked is None and not self._limit.allows(partition, index, len(bad)):
            answers.paused[partition] = self._too_many(record, poison)
            part.cut(index)
            return None
        # Its traceback leads back to the record: a cycle, and those are looked for rarely (worker.GARBAGE).
        bad.append((index, record, poison.with_traceback(None)))
        service = self._service
        return dead_letter(service.dead_letters(), service.name, record, poison, self._now_ms())

    @staticmethod
    def _unpublished(item: Delivery) -> Output | None:
        """Return an output that was set aside. Raises TooLarge where its topic does not take it yet."""
        return item.event.unless_too_large() if isinstance(item.event, Unpublished) else None

    def _answer(self, item: Delivery, outcomes: Mapping[Address, Any], work: Any) -> Output | None:
        record, event = item
        if not isinstance(event, Event):
            raise event
        reaction = self._reactions[type(event)]
        try:
            if reaction.remote is None:
                answer = reaction.handler(self._service, event, work)
            else:
                outcome = outcomes.get(address(item), MISSING)
                if outcome is MISSING:
                    raise ConcurrentUpdate(f"the key {event.key} was unblocked meanwhile")  # noqa: TRY301
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
        except (PoisonRecord, ConcurrentUpdate, Unavailable, HandlerFailed):
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
