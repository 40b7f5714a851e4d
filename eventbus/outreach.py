"""The remote calls of a batch: before its transaction, many at once, the group kept alive meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from eventbus.batch import Item, Part, events
from eventbus.codec import PoisonRecord
from eventbus.database import Database
from eventbus.decision import Address, HandlerFailed
from eventbus.log import Log
from eventbus.remote import UNKNOWN_OUTCOME, Calls
from eventbus.service import Reaction, Service

KEEP_ALIVE_SECONDS = 1.0


class Abandoned(Exception):
    """The worker is to stop: the outcomes are not waited for. They are asked for again, with the same keys."""


class Reached(NamedTuple):
    """What came back; the parts were cut before the first failure of each partition."""

    outcomes: dict[Address, Any]
    failures: list[tuple[Part, Exception]]
    calls: int


def reach_out(
    service: Service[Any],
    parts: Sequence[Part],
    world: tuple[Log, Database, Calls],
    waiting: Callable[[], bool],
    at: Callable[[str], None],
) -> Reached:
    """Make the remote calls of these parts. Raises Abandoned as soon as `waiting`, asked each second, says no."""
    log, database, calls = world
    wanted = [(item, reaction) for part in parts for item in part.items if (reaction := _remote(service, item))]
    if not wanted:
        return Reached({}, [], 0)
    known: Any = None
    if any(reaction.remote_knows for _, reaction in wanted):
        with database.snapshot() as tx:
            known = service.repository.load(tx, list(events(parts)))
    at("before remote")
    pending = calls.start([_call(service, item, reaction, known) for item, reaction in wanted])
    at("remote under way")
    while not pending.wait(KEEP_ALIVE_SECONDS):
        log.keep_alive()
        if not waiting():
            pending.abandon()
            raise Abandoned
    results = zip(wanted, pending.outcomes(), strict=True)
    outcomes = {(item.record.partition, item.record.offset): outcome for (item, _), outcome in results}
    return Reached(outcomes, _cut_before_failures(service, parts, outcomes), len(wanted))


def _remote(service: Service[Any], item: Item) -> Reaction | None:
    if isinstance(item.event, PoisonRecord):
        return None
    reaction = service.reactions[type(item.event)]
    return reaction if reaction.remote else None


def _call(service: Service[Any], item: Item, reaction: Reaction, known: Any) -> Callable[[], Any]:
    assert reaction.remote is not None
    if reaction.remote_knows:
        return partial(reaction.remote, service, item.event, known)
    return partial(reaction.remote, service, item.event)


def _cut_before_failures(
    service: Service[Any], parts: Sequence[Part], outcomes: dict[Address, Any]
) -> list[tuple[Part, Exception]]:
    failures: list[tuple[Part, Exception]] = []
    for part in parts:
        for index, item in enumerate(part.items):
            outcome = outcomes.get((item.record.partition, item.record.offset))
            if isinstance(outcome, Exception) and not isinstance(outcome, PoisonRecord):
                failures.append((part, _judged(service, item, outcome)))
                part.cut(index)
                break
    return failures


def _judged(service: Service[Any], item: Item, error: Exception) -> Exception:
    if isinstance(error, UNKNOWN_OUTCOME):
        return error
    reaction = _remote(service, item)
    assert reaction is not None
    assert reaction.remote is not None
    return HandlerFailed(item.record, reaction.remote.__name__, error)
