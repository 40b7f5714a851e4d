"""Calls the handlers of a service for a batch, and notes with each record what they return, reject, or raise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eventbus.database import ConcurrentUpdate, Unavailable
from eventbus.deadletters.letter import dead_letter
from eventbus.deadletters.limit import WINDOW, DeadLetterLimit
from eventbus.engine.batch import PartitionBatch
from eventbus.engine.calls import reason
from eventbus.engine.delivery import Delivery
from eventbus.event import Event
from eventbus.event.overdue import Overdue
from eventbus.log import Headers, Partition, Record, TooLarge
from eventbus.publishing import caused, overdue
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Reaction, Service, check_declared
from eventbus.text.quoted import quoted

MAX_TRACE_BYTES = 128
"""A W3C traceparent has 55 bytes; a later version may be longer (w3.org/TR/trace-context)."""


class HandlerFailed(Exception):
    """A handler raised on a record, and its key is blocked. Raised by `commit` it means that parking did not help."""

    def __init__(self, record: Record, handler: str, cause: BaseException) -> None:
        super().__init__(f"{handler} raised on {record.address} (key {quoted(record.key)}): {reason(cause)}")
        self.record = record


class Handlers:
    """Calls the handlers, event by event; its only state is the number of recent bad records."""

    def __init__(self, service: Service[Any], codec: Codec, dead_letter_limit: int, now_ms: Callable[[], int]) -> None:
        check_declared(service)
        self._service, self._codec, self._now_ms = service, codec, now_ms
        self._limit = DeadLetterLimit(dead_letter_limit)
        self._source = service.name.encode()

    def note(self, parts: Sequence[PartitionBatch]) -> None:
        """Record what was committed, for the dead-letter limit."""
        for part in parts:
            if part.from_log:
                bad = [index for index, item in enumerate(part.items) if item.poison is not None]
                self._limit.note(part.owned.partition, len(part.items), bad)

    def decide(self, parts: Sequence[PartitionBatch], work: Any) -> tuple[bool, dict[Partition, str]]:
        """Handle a batch except for its skipped records; a part is cut where too many of its records are bad.

        Returns whether a handler raised, and the partitions with too many bad records, and why.
        """
        stopped: set[bytes | None] = set()
        paused: dict[Partition, str] = {}
        for part in parts:
            bad = 0
            for index, item in enumerate(part.items):
                if item.skipped or item.lapsed or (stopped and item.record.key in stopped):
                    continue
                if item.poison is None:
                    self._handle(item, work)
                    if item.failure:
                        stopped.add(item.record.key)
                if item.poison is not None:
                    if part.from_log and not self._limit.allows(part.owned.partition, index, bad):
                        paused[part.owned.partition] = self._too_many(item.record, item.poison)
                        part.cut(index)
                        break
                    bad += 1
                    name = self._service.name
                    item.output = dead_letter(
                        self._service.dead_letters(), name, item.record, item.poison, self._now_ms()
                    )
        return bool(stopped), paused

    def _handle(self, item: Delivery, work: Any) -> None:
        """Note the output, the poison, or the failure. Raises ConcurrentUpdate and Unavailable: the whole batch's."""
        try:
            if item.event is None or item.reaction is None:
                item.output = item.unpublished.unless_too_large() if item.unpublished is not None else None
                return
            answer = self._answer(item, item.event, item.reaction, work)
            if answer is None:
                item.output = None
            elif isinstance(item.event, Overdue):
                item.output = overdue(self._codec, self._source, answer, item.event)
            else:
                source = item.source
                item.output = caused(self._codec, self._source, answer, source.address, _trace(source.headers))
        except PoisonRecord as poison:
            # Its traceback refers to the record: a reference cycle, and those are collected rarely (worker.GARBAGE).
            if item.is_due:  # it is no record that could be a dead letter
                item.failure = str(HandlerFailed(item.record, "the deadline's handler", poison))
            else:
                item.poison = poison.with_traceback(None)
        except (ConcurrentUpdate, Unavailable):
            raise
        except (HandlerFailed, TooLarge) as failed:
            item.failure = str(failed)
        except Exception as error:  # noqa: BLE001 - the record is parked with this message
            name = item.reaction.name if item.reaction is not None else ""
            item.failure = str(HandlerFailed(item.record, name, error))

    def _answer(self, item: Delivery, event: Event, reaction: Reaction, work: Any) -> Event | None:
        if reaction.remote is None:
            return reaction.answer(self._service, event, work=work)
        if not item.called:
            raise ConcurrentUpdate(f"the key {event.key} was unblocked in the meantime")
        outcome = item.outcome
        if isinstance(outcome, PoisonRecord):
            raise outcome  # like one that a handler raises
        if isinstance(outcome, Exception):
            raise HandlerFailed(item.record, f"the remote call of {reaction.name}", outcome)
        return reaction.answer(self._service, event, outcome, work=work)

    def _too_many(self, record: Record, poison: PoisonRecord) -> str:
        return (
            f"{self._limit.limit} of its last {WINDOW:,} records are dead letters, and {record.address} would be one"
            f" more: {poison.reason}: {poison}. The partition is paused: roll the deployment back or, if the records"
            " are really bad, restart this worker with a higher --dead-letter-limit"
        )


def _trace(headers: Headers) -> bytes | None:
    """Return the traceparent to propagate to the output; None if it is longer than MAX_TRACE_BYTES."""
    for name, value in headers:
        if name == "traceparent":
            return value if value and len(value) <= MAX_TRACE_BYTES else None
    return None
