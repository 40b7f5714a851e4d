"""The remote calls of a batch: before its transaction, many at once, while the consumer keeps polling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from eventbus.database import NO_RECORDS_FAULT, Database
from eventbus.engine.batch import PartitionBatch, keys
from eventbus.engine.calls import Call, Pending, reason
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.delivery import Delivery
from eventbus.engine.unanswered import Unanswered, is_unknown
from eventbus.service import Service, Unasked
from eventbus.store import blocked_keys

KEEP_ALIVE_SECONDS = 1.0
LOOK_FURTHER = 8
"""With some calls unanswered and too few others to compare with, a batch grows up to this multiple of concurrency."""


class ShuttingDown(Exception):
    """The worker is shutting down and does not wait for outcomes; the calls are repeated later with the same keys."""


class RemoteFailure(NamedTuple):
    """A record whose call must be repeated, and those behind it are not handled before."""

    part: PartitionBatch
    why: str
    soon: bool
    """Most others were answered: the provider is not down, and a few quick attempts tell whether it is the record."""


class RemoteResults(NamedTuple):
    """What the calls of a batch have shown; the outcomes are with the deliveries.

    Each part is cut before the first record of its partition whose call must be repeated. An unknown outcome that is
    particular to the record (see Unanswered), or of a parked record that is retried, is a failure like any other: the
    record is parked.
    """

    failures: Sequence[RemoteFailure] = ()
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """Remote calls in progress for some parts."""

    parts: Sequence[PartitionBatch]
    wanted: Sequence[Delivery]
    pending: Pending

    def ended(self, seconds: float, *, than_earlier: bool) -> bool:
        """Wait up to `seconds`; return whether all calls have ended or are overdue (an unknown outcome)."""
        return self.pending.wait(seconds) or self.pending.overdue(than_earlier=than_earlier)

    def results(self, unanswered: Unanswered) -> RemoteResults:
        """Note the outcomes with their deliveries."""
        for item, outcome in zip(self.wanted, self.pending.outcomes(), strict=True):
            item.called, item.outcome = True, outcome
        unanswered.note(self.parts, self.wanted)
        failures = _cut_before_failures(self.parts, self.wanted, unanswered)
        for item in self.wanted:
            if type(item.outcome) is Unasked:
                item.outcome = item.outcome.answer
        return RemoteResults(failures, len(self.wanted))


def begin(
    service: Service[Any],
    parts: Sequence[PartitionBatch],
    deps: Dependencies,
    at_most: int | None = None,
) -> Asking | None:
    """Start the remote calls of these parts, at most `at_most` at once; None if there are none to make."""
    if not any(_needs_call(item) for part in parts for item in part.items):
        return None
    with deps.database.snapshot() as tx:
        blocks = blocked_keys.blocking(tx, keys(parts))
    wanted = _wanted(parts, blocks)
    if not wanted:
        return None
    made = _calls(service, wanted, deps.database)
    deps.failpoint("before remote")
    pending = deps.calls.start(made, at_most)
    deps.failpoint("remote under way")
    return Asking(parts, wanted, pending)


class RemoteStage:
    """Makes the remote calls of a batch, and adapts the size of batches to how long they take."""

    def __init__(self, service: Service[Any], deps: Dependencies, config: EngineConfig) -> None:
        self._service, self._deps, self._config = service, deps, config
        remote = any(reaction.remote for reaction in service.reactions.values())
        self.limit = deps.calls.concurrency if remote else config.batch
        """The most records of the next batch."""
        self.unanswered = Unanswered()

    def call(self, parts: Sequence[PartitionBatch], waiting: Callable[[], bool]) -> RemoteResults:
        """Make the calls. Raises ShuttingDown once `waiting`, called every second, returns False."""
        started = self._deps.clock()
        asking = begin(self._service, parts, self._deps)
        if asking is None:
            return RemoteResults()
        while not asking.ended(KEEP_ALIVE_SECONDS, than_earlier=True):
            self._deps.log.keep_alive()
            if not waiting():
                asking.pending.abandon()
                raise ShuttingDown
        results = asking.results(self.unanswered)
        self._adapt_limit(results.calls, self._deps.clock() - started)
        return results

    def _adapt_limit(self, calls: int, seconds: float) -> None:
        """Make batches smaller if the provider is slow, larger if too few calls were answered to compare with."""
        if self.unanswered.is_unclear():
            most = min(self._config.batch, LOOK_FURTHER * self._deps.calls.concurrency)
            self.limit = max(self.limit, min(2 * self.limit, most))
        else:
            can_do = int(self._config.remote_seconds * calls / max(seconds, 1e-6))
            self.limit = min(max(can_do, self._deps.calls.concurrency), self._config.batch)


def _wanted(parts: Sequence[PartitionBatch], blocks: Mapping[str, blocked_keys.BlockedKey]) -> list[Delivery]:
    """Return the records that need a call now, without those that will be parked behind a blocked key."""
    return [
        item
        for part in parts
        for item in part.items
        if _needs_call(item) and (not blocks or part.blocked is not None or item.key not in blocks)
    ]


def _needs_call(item: Delivery) -> bool:
    return item.reaction is not None and item.reaction.remote is not None


def _calls(service: Service[Any], wanted: Sequence[Delivery], database: Database) -> list[Call]:
    """Return the calls to make, with the loaded state for those that take it."""
    known: Any = None
    if any(item.reaction.remote_takes_state for item in wanted if item.reaction is not None):
        try:
            known = _known(service, wanted, database)
        except NO_RECORDS_FAULT:
            raise
        except Exception:  # noqa: BLE001 - caused by one key's data, which must not prevent the calls of the others
            return [_single(service, item, database) for item in wanted]
    return [_call(service, item, known) for item in wanted]


def _known(service: Service[Any], wanted: Sequence[Delivery], database: Database) -> Any:
    with database.snapshot() as tx:
        return service.repository.load(tx, [item.event for item in wanted if item.event is not None])


def _single(service: Service[Any], item: Delivery, database: Database) -> Call:
    """Return the call of one record; if loading its state fails, a call that raises that error."""
    try:
        return _call(service, item, _known(service, [item], database))
    except NO_RECORDS_FAULT:
        raise
    except Exception as error:  # noqa: BLE001 - handled like an outcome
        return partial(_raise, error)


def _raise(error: Exception) -> None:
    raise error


def _call(service: Service[Any], item: Delivery, known: Any) -> Call:
    reaction = item.reaction
    assert reaction is not None
    assert item.event is not None
    return partial(reaction.call_remote, service, item.event, known, item.source.timestamp_ms)


def _cut_before_failures(
    parts: Sequence[PartitionBatch], called: Sequence[Delivery], unanswered: Unanswered
) -> list[RemoteFailure]:
    failures: list[RemoteFailure] = []
    if not any(is_unknown(item.outcome) for item in called):
        return failures
    for part in parts:
        for index, item in enumerate(part.items):
            if is_unknown(item.outcome) and part.blocked is None and not unanswered.is_refused(item.address):
                failures.append(RemoteFailure(part, reason(item.outcome), unanswered.is_alone(item.address)))
                part.cut(index)
                break
    return failures
