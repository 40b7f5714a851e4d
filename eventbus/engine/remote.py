"""The remote calls of a batch: before its transaction, many at once, the group kept alive meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from eventbus.database import NO_RECORDS_FAULT, Database
from eventbus.engine.batch import Delivery, PartitionBatch, Unpublished, events
from eventbus.engine.calls import Call, Calls, Pending
from eventbus.engine.parking import Address, address
from eventbus.engine.unanswered import Unanswered, is_unknown
from eventbus.event import Event
from eventbus.log import Log
from eventbus.serde.codec import PoisonRecord
from eventbus.service import Reaction, Service, answer_of
from eventbus.store import blocked_keys

KEEP_ALIVE_SECONDS = 1.0


class ShuttingDown(Exception):
    """The worker is to stop: the outcomes are not waited for. They are asked for again, with the same keys."""


class RemoteResults(NamedTuple):
    """What came back; the parts were cut before the first record of each partition that is to be asked about again.

    An unknown outcome that is the order's own (see Unanswered), or of parked records that are tried again, is a failure
    like any other: the record is parked.
    """

    outcomes: dict[Address, Any]
    failures: list[tuple[PartitionBatch, Exception]]
    calls: int


@dataclass(frozen=True, slots=True)
class Asking:
    """Remote calls that are under way for some parts."""

    parts: Sequence[PartitionBatch]
    wanted: Sequence[tuple[Delivery, Reaction]]
    pending: Pending

    def ended(self, seconds: float) -> bool:
        """Wait up to so long; say whether nothing is left to wait for: what is overdue has an unknown outcome."""
        return self.pending.wait(seconds) or self.pending.overdue()

    def reached(self, unanswered: Unanswered) -> RemoteResults:
        """Return what came back."""
        results = zip(self.wanted, self.pending.outcomes(), strict=True)
        outcomes = {address(item): outcome for (item, _), outcome in results}
        unanswered.note(self.parts, outcomes)
        failures = _cut_before_failures(self.parts, outcomes, unanswered)
        answers = {where: answer_of(outcome) for where, outcome in outcomes.items()}
        return RemoteResults(answers, failures, len(self.wanted))


def begin(
    service: Service[Any],
    parts: Sequence[PartitionBatch],
    deps: tuple[Database, Calls],
    failpoint: Callable[[str], None],
    at_most: int | None = None,
) -> Asking | None:
    """Begin the remote calls of these parts, `at_most` so many at once; None where there are none to make."""
    database, calls = deps
    if not any(_remote(service, item) for part in parts for item in part.items):
        return None
    with database.snapshot() as tx:
        blocks = blocked_keys.blocking(tx, (event.key for event in events(parts)))
    wanted = _wanted(service, parts, blocks)
    if not wanted:
        return None
    made = _calls(service, wanted, database)
    failpoint("before remote")
    pending = calls.start(made, at_most)
    failpoint("remote under way")
    return Asking(parts, wanted, pending)


def call_remotes(
    service: Service[Any],
    parts: Sequence[PartitionBatch],
    deps: tuple[Log, Database, Calls, Unanswered],
    waiting: Callable[[], bool],
    failpoint: Callable[[str], None],
) -> RemoteResults:
    """Make the remote calls of these parts. Raises ShuttingDown as soon as `waiting`, asked each second, says no."""
    log, database, calls, unanswered = deps
    asking = begin(service, parts, (database, calls), failpoint)
    if asking is None:
        return RemoteResults({}, [], 0)
    while not asking.ended(KEEP_ALIVE_SECONDS):
        log.keep_alive()
        if not waiting():
            asking.pending.abandon()
            raise ShuttingDown
    return asking.reached(unanswered)


def _wanted(
    service: Service[Any], parts: Sequence[PartitionBatch], blocks: Mapping[str, blocked_keys.BlockedKey]
) -> list[tuple[Delivery, Reaction]]:
    """Return what is to be asked; nothing for what will be parked: its turn has not come."""
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
    """Return the calls to make, with what the repository knows where they ask for it."""
    known: Any = None
    if any(reaction.remote_takes_state for _, reaction in wanted):
        try:
            known = _known(service, [_event(item) for item, _ in wanted], database)
        except NO_RECORDS_FAULT:
            raise
        except Exception:  # noqa: BLE001 - one order's data is to blame: it is not to keep the others from being asked
            return [_alone(service, item, reaction, database) for item, reaction in wanted]
    return [_call(service, item, reaction, known) for item, reaction in wanted]


def _known(service: Service[Any], asking: list[Event], database: Database) -> Any:
    with database.snapshot() as tx:
        return service.repository.load(tx, asking)


def _alone(service: Service[Any], item: Delivery, reaction: Reaction, database: Database) -> Call:
    """Return the call of one record; where nothing can be loaded for it, one that raises just that."""
    try:
        return _call(service, item, reaction, _known(service, [_event(item)], database))
    except NO_RECORDS_FAULT:
        raise
    except Exception as error:  # noqa: BLE001 - judged like an outcome
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
