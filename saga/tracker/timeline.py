"""One order's timeline: its events, the waiting times, the compensations, and what can still happen."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from saga.tracker.endings import why_ended
from saga.tracker.fold import Fold, OrderRow, TrackedEvent, TrackedViolation
from saga.tracker.model import Owed, TrackerModel
from saga.tracker.queries import Tracked

MOST_IN_A_TRANSACTION = 5_000
"""The maximum number of records that a worker publishes at once."""


class TimelineStep(NamedTuple):
    """One event in an order's timeline; spans in ms."""

    event: TrackedEvent
    since_placed: int
    cause: TrackedEvent | None
    waited: int | None
    """From the cause's record until the service had published the earlier ones: it was busy with others."""
    handled: int | None
    """From then, or from the cause's record, until the event's: reading, deciding, remote calls, committing."""
    undoes: TrackedEvent | None
    undone_by: TrackedEvent | None


class Timeline(NamedTuple):
    """An order, now or at a past time."""

    order: OrderRow
    steps: list[TimelineStep]
    violations: list[TrackedViolation]
    owed: tuple[Owed, ...]
    """The answers that are due."""
    possible: list[str]
    """Every event that can still come."""
    why_ended: str
    """Why it ended, if no event caused that; see endings.why_ended."""

    def asked(self, owed: Owed) -> TrackedEvent | None:
        """Return the event that an answer is due to; None if no event of the order requires it yet."""
        return next((step.event for step in self.steps if step.event.topic == owed.event), None)


def timeline(tracked: Tracked, order_id: str, at: int | None = None) -> Timeline | None:
    """Return an order's timeline, or as it was `at` a time (ms since 1970). None if the order is unknown."""
    events = [event for event in tracked.events(order_id) if at is None or event.at <= at]
    if not events:
        return None
    model = tracked.model
    rank = {topic: number for number, topic in enumerate(model.topics)}  # of the same millisecond causes come first
    events.sort(key=lambda event: (event.at, rank[event.topic], event.partition, event.offset))
    order, violations = Fold(model).again(events)
    state = model.state(order.seen, order.ending)
    end = next((event for event in events if event.topic == order.ending), None)
    undecodable = [v for v in tracked.violations("undecodable", order_id) if at is None or v.at <= at]
    return Timeline(
        order,
        _steps(tracked, events),
        [*violations, *undecodable],
        state.owed,
        possible(model, state.owed, {event.topic for event in events}),
        "" if end is None else why_ended(model, events, end),
    )


def possible(model: TrackerModel, owed: tuple[Owed, ...], there: set[str]) -> list[str]:
    """Return every event that can still come when these answers are due, causes before effects."""
    coming: set[str] = set()
    for answer in {answer for one in owed for answer in one.answers}:
        coming |= {answer} | model.following[answer]
    coming -= there
    undone = {topic: model.compensates.get(topic, frozenset()) for topic in coming}
    return [t for t in model.topics if t in coming and (not undone[t] or undone[t] & (there | coming))]


def _steps(tracked: Tracked, events: list[TrackedEvent]) -> list[TimelineStep]:
    by_address = {event.address: event for event in events}
    placed = min(event.at for event in events)
    undoing = {e.topic: tracked.model.compensates.get(e.topic, frozenset()) for e in events}
    steps = []
    for event in events:
        cause = by_address.get(event.cause or "")
        waited, handled = _times(tracked, event, cause)
        undoes = next((e for e in events if e.topic in undoing[event.topic]), None)
        undone_by = next((e for e in events if event.topic in undoing[e.topic]), None)
        steps.append(TimelineStep(event, event.at - placed, cause, waited, handled, undoes, undone_by))
    return steps


def _times(tracked: Tracked, event: TrackedEvent, cause: TrackedEvent | None) -> tuple[int | None, int | None]:
    """Return how long the cause waited for the service, and how long the service took.

    A service processes a partition in order and publishes in transactions. The end of the transaction before this
    event's, in the partitions of the same number, is when it was free for the next records.
    """
    if cause is None:
        return None, None
    took = max(0, event.at - cause.at)
    waited = max(0, min(took, (_free_since(tracked, event, cause.at) or 0) - cause.at))
    return waited, took - waited


def _free_since(tracked: Tracked, event: TrackedEvent, since: int) -> int | None:
    """Return when the service had published the last transaction before this event's, if that was after `since`."""
    began, free = event, list[int]()
    for offset, at in islice(tracked.backwards(event), MOST_IN_A_TRANSACTION):
        if at < since:
            break
        if offset != began.offset - 1:  # the marker of another transaction is between them
            free.append(at)
            break
        began = began._replace(offset=offset, at=at)
    others = [t for t, service in tracked.model.publisher.items() if service == event.service and t != event.topic]
    last = [tracked.last_before(topic, event.partition, began.at) for topic in others]
    return max([*free, *(at for at in last if at is not None)], default=None)
