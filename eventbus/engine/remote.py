"""The remote calls of a batch: before its transaction, many at once, while the consumer keeps polling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from eventbus.database import NO_RECORDS_FAULT, Database
from eventbus.engine.batch import Delivery, PartitionBatch, Unpublished, events
from eventbus.engine.calls import Call, Pending
from eventbus.engine.config import Dependencies
from eventbus.engine.parking import Address, address
from eventbus.engine.unanswered import Unanswered, is_unknown
from eventbus.event import Event
from eventbus.serde.codec import PoisonRecord
from eventbus.service import Reaction, Service, answer_of
from eventbus.store import blocked_keys

KEEP_ALIVE_SECONDS = 1.0


class ShuttingDown(Exception):
    """The worker is shutting down and does not wait for outcomes; the calls are repeated later with the same keys."""


class RemoteResults(NamedTuple):
    """The outcomes; each part is cut before the first record of its partition whose call must be repeated.

    An unknown outcome that is particular to the record (see Unanswered), or of a parked record that is retried, is a
    failure like any other: the record is parked.
    """

    outcomes: dict[Address, Any]
    failures: list[tuple[PartitionBatch, Exception]]
    calls: int


@dataclass(frozen=True, slots=True)
class Asking:
    """Remote calls in progress for some parts."""

    parts: Sequence[PartitionBatch]
    wanted: Sequence[tuple[Delivery, Reaction]]
    pending: Pending

    def ended(self, seconds: float) -> bool:
        """Wait up to `seconds`; return whether all calls have ended or are overdue (an unknown outcome)."""
        return self.pending.wait(seconds) or self.pending.overdue()

    def reached(self, unanswered: Unanswered) -> RemoteResults:
        """Return the results."""
        results = zip(self.wanted, self.pending.outcomes(), strict=True)
        outcomes = {address(item): outcome for (item, _), outcome in results}
        unanswered.note(self.parts, outcomes)
        failures = _cut_before_failures(self.parts, outcomes, unanswered)
        answers = {where: answer_of(outcome) for where, outcome in outcomes.items()}
        return RemoteResults(answers, failures, len(self.wanted))


def begin(
    service: Service[Any],
    parts: Sequence[PartitionBatch],
    deps: Dependencies,
    at_most: int | None = None,
) -> Asking | None:
    """Start the remote calls of these parts, at most `at_most` at once; None if there are none to make."""
    if not any(_remote(service, item) for part in parts for item in part.items):
        return None
    with deps.database.snapshot() as tx:
        blocks = blocked_keys.blocking(tx, (event.key for event in events(parts)))
    wanted = _wanted(service, parts, blocks)
    if not wanted:
        return None
    made = _calls(service, wanted, deps.database)
    deps.failpoint("before remote")
    pending = deps.calls.start(made, at_most)
    deps.failpoint("remote under way")
    return Asking(parts, wanted, pending)


def call_remotes(
    service: Service[Any],
    parts: Sequence[PartitionBatch],
    deps: Dependencies,
    unanswered: Unanswered,
    waiting: Callable[[], bool],
) -> RemoteResults:
    """Make the remote calls of these parts. Raises ShuttingDown once `waiting`, called every second, returns False."""
    asking = begin(service, parts, deps)
    if asking is None:
        return RemoteResults({}, [], 0)
    while not asking.ended(KEEP_ALIVE_SECONDS):
        deps.log.keep_alive()
        if not waiting():
            asking.pending.abandon()
            raise ShuttingDown
    return asking.reached(unanswered)


def _wanted(
    service: Service[Any], parts: Sequence[PartitionBatch], blocks: Mapping[str, blocked_keys.BlockedKey]
) -> list[tuple[Delivery, Reaction]]:
    """Return the records that need a call now, without those that will be parked behind a blocked key."""
    return [
        (item, reaction)
        for part in parts
        for item in part.items
        if (reaction := _remote(service, item)) and (part.blocked is not None or _event(item).key not in blocks)
    ]


def _event(item: Delivery) -> Event:
    assert isinstance(item.event, Event)
    return item.event


def _remote(service: Service[Any], item: Delivery) -> Reaction | None:
    if isinstance(item.event, PoisonRecord | Unpublished):
        return None
    reaction = service.reactions[type(item.event)]
    return reaction if reaction.remote else None


def _calls(service: Service[Any], wanted: Sequence[tuple[Delivery, Reaction]], database: Database) -> list[Call]:
    """Return the calls to make, with the loaded state for those that take it."""
    known: Any = None
    if any(reaction.remote_takes_state for _, reaction in wanted):
        try:
            known = _known(service, [_event(item) for item, _ in wanted], database)
        except NO_RECORDS_FAULT:
            raise
        except Exception:  # noqa: BLE001 - caused by one key's data, which must not prevent the calls of the others
            return [_single(service, item, reaction, database) for item, reaction in wanted]
    return [_call(service, item, reaction, known) for item, reaction in wanted]


def _known(service: Service[Any], asking: list[Event], database: Database) -> Any:
    with database.snapshot() as tx:
        return service.repository.load(tx, asking)


def _single(service: Service[Any], item: Delivery, reaction: Reaction, database: Database) -> Call:
    """Return the call of one record; if loading its state fails, a call that raises that error."""
    try:
        return _call(service, item, reaction, _known(service, [_event(item)], database))
    except NO_RECORDS_FAULT:
        raise
    except Exception as error:  # noqa: BLE001 - handled like an outcome
        return partial(_raise, error)


def _raise(error: Exception) -> None:
    raise error


def _call(service: Service[Any], item: Delivery, reaction: Reaction, known: Any) -> Call:
    assert reaction.remote is not None
    if reaction.remote_takes_state:
        return partial(reaction.remote, service, item.event, known)
    return partial(reaction.remote, service, item.event)


def _cut_before_failures(
    parts: Sequence[PartitionBatch], outcomes: dict[Address, Any], unanswered: Unanswered
) -> list[tuple[PartitionBatch, Exception]]:
    failures: list[tuple[PartitionBatch, Exception]] = []
    if not any(is_unknown(outcome) for outcome in outcomes.values()):
        return failures
    for part in parts:
        for index, item in enumerate(part.items):
            outcome = outcomes.get(address(item))
            if is_unknown(outcome) and part.blocked is None and not unanswered.is_refused(address(item)):
                failures.append((part, outcome))
                part.cut(index)
                break
    return failures
