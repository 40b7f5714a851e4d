"""Calls the handlers of a service for a batch, and collects what they return, reject, or raise."""

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
    """A handler raised on a record, and its key is blocked. Raised by `commit` it means that parking did not help."""

    def __init__(self, record: Record, handler: str, cause: BaseException) -> None:
        super().__init__(f"{handler} raised on {record.address} (key {record.key!r}): {type(cause).__name__}: {cause}")
        self.record = record


Dead = dict[Partition, list[tuple[int, Record, PoisonRecord]]]
"""The dead-lettered records by partition: the index in the batch, the record, and why."""


@dataclass(slots=True)
class Answers:
    """The results of the handlers of a batch."""

    outputs: dict[Partition, list[Output]] = field(default_factory=dict)
    dead: Dead = field(default_factory=dict)
    paused: dict[Partition, str] = field(default_factory=dict)
    troubles: dict[Address, str] = field(default_factory=dict)
    """The records on which a handler raised, and the error message."""


class Handlers:
    """Calls the handlers, event by event; its only state is the number of recent bad records."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, now_ms: Callable[[], int]) -> None:
        self._service, self._codec, self._now_ms = service, codec, now_ms
        self._reactions = service.reactions
        self._limit = DeadLetterLimit(dead_letter_limit)
        self._source = service.name.encode()

    def note(self, parts: Sequence[PartitionBatch], dead: Dead) -> None:
        """Record what was committed, for the dead-letter limit."""
        for part in parts:
            if part.blocked is None:
                bad = [index for index, _, _ in dead.get(part.owned.partition, [])]
                self._limit.note(part.owned.partition, len(part.items), bad)

    def decide(
        self, parts: Sequence[PartitionBatch], skipped: Skipped, outcomes: Mapping[Address, Any], work: Any
    ) -> Answers:
        """Handle a batch except for its skipped records; a part is cut where too many of its records are bad."""
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
        """Return the dead letter; or cut the part there if its partition has too many bad records."""
        partition, record = part.owned.partition, part.items[index].record
        bad = answers.dead.setdefault(partition, [])
        if part.blocked is None and not self._limit.allows(partition, index, len(bad)):
            answers.paused[partition] = self._too_many(record, poison)
            part.cut(index)
            return None
        # Its traceback refers to the record: a reference cycle, and those are collected rarely (worker.GARBAGE).
        bad.append((index, record, poison.with_traceback(None)))
        service = self._service
        return dead_letter(service.dead_letters(), service.name, record, poison, self._now_ms())

    @staticmethod
    def _unpublished(item: Delivery) -> Output | None:
        """Return an output that was set aside. Raises TooLarge if it still exceeds the limit of its topic."""
        return item.event.unless_too_large() if isinstance(item.event, Unpublished) else None

    def _answer(self, item: Delivery, outcomes: Mapping[Address, Any], work: Any) -> Output | None:
        record, event = item
        if not isinstance(event, Event):
            raise event
        reaction = self._reactions[type(event)]
        try:
            if reaction.remote is None:
                answer = reaction.answer(self._service, event, work=work)
            else:
                outcome = outcomes.get(address(item), MISSING)
                if outcome is MISSING:
                    raise ConcurrentUpdate(f"the key {event.key} was unblocked in the meantime")  # noqa: TRY301
                if isinstance(outcome, PoisonRecord):
                    raise outcome  # noqa: TRY301 - treated like one that a handler raised
                if isinstance(outcome, Exception):
                    raise HandlerFailed(record, f"the remote call of {reaction.name}", outcome)  # noqa: TRY301
                answer = reaction.answer(self._service, event, outcome, work=work)
            if answer is None:
                return None
            return caused(self._codec, self._source, answer, origin(record).address, _trace(record))
        except (PoisonRecord, ConcurrentUpdate, Unavailable, HandlerFailed):
            raise
        except Exception as error:
            raise HandlerFailed(record, reaction.name, error) from error

    def _too_many(self, record: Record, poison: PoisonRecord) -> str:
        return (
            f"{self._limit.limit} of its last {WINDOW:,} records are dead letters, and {record.address} would be one"
            f" more: {poison.reason}: {poison}. The partition is paused: roll the deployment back or, if the records"
            " are really bad, restart this worker with a higher --dead-letter-limit"
        )


def _trace(record: Record) -> bytes | None:
    """Return the traceparent to propagate to the output; None if it is longer than MAX_TRACE_BYTES."""
    for name, value in record.headers:
        if name == "traceparent":
            return value if value and len(value) <= MAX_TRACE_BYTES else None
    return None
