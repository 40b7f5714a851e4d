"""The traffic that the tracker saw in the last minutes, compared with the declared flow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from saga.tracker.model import OVERDUE, REQUEST
from saga.tracker.queries import Kind, StepTime, Tracked
from saga.tracker.stats import percentile

MOST_RECENT = 100_000
LATEST = 5_000
"""The answers in the window are looked up for at most this many of the newest orders."""
MOST_VIOLATIONS = 1_000


class Passed(NamedTuple):
    """How many orders have an event: ever, and among those placed in the window."""

    ever: int
    recent: int


class Taken(NamedTuple):
    """How often one event answered another in the window, and the time in ms."""

    times: int
    p50: int
    p95: int


class UndeclaredEvent(NamedTuple):
    """Events that no declaration allows: the publisher, the cause, and the kinds of violation."""

    event: str
    service: str
    cause: str | None
    kinds: tuple[str, ...]
    times: int


class Live(NamedTuple):
    """The observed traffic; `window` in ms."""

    window: int
    orders: int
    events: Mapping[str, Passed]
    edges: Mapping[tuple[str, str], Taken]
    undeclared: Sequence[UndeclaredEvent]
    began: Mapping[tuple[str, str], int] = {}
    """How often an event was published in the window because a deadline passed or a person requested it, by the event
    and OVERDUE or REQUEST."""

    def violations_of(self, event: str) -> int:
        """Return how many records of this event violate the declarations."""
        return sum(rogue.times for rogue in self.undeclared if rogue.event == event)


class LiveTracked(Tracked):
    """The tracker's database, with queries about the traffic."""

    def live(self, window: int, now: int) -> Live:
        """Return the observed traffic; `window` and `now` in ms."""
        ever, recent = self.kinds(), self._kinds_since(now - window)
        times = self.step_times(LATEST, now - window)
        events = {topic: Passed(_with(ever, bit), _with(recent, bit)) for topic, bit in self.model.bits.items()}
        orders = sum(kind.orders for kind in recent)
        began = Counter[tuple[str, str]]()
        for kind in recent:
            if kind.ending and kind.ended_by in {OVERDUE, REQUEST}:
                began[kind.ending, kind.ended_by] += kind.orders
        return Live(window, orders, events, _taken(times), self._rogues(), began)

    def _kinds_since(self, since: int) -> list[Kind]:
        rows = self._db.execute(
            "select seen, ending, count(*), ended_by from"
            " (select seen, ending, ended_by from orders where placed_at >= ? order by placed_at desc limit ?)"
            " group by seen, ending, ended_by",
            (since, MOST_RECENT),
        )
        return [Kind(*row) for row in rows]

    def _rogues(self) -> list[UndeclaredEvent]:
        rows = self._db.execute(
            "select v.topic, substr(coalesce(e.service, ''), 1, 100), substr(e.cause, 1, 300), v.kind,"
            " v.partition, v.offset"
            " from (select * from violations order by at desc limit ?) as v"
            " left join events as e on (e.topic, e.partition, e.offset) = (v.topic, v.partition, v.offset)",
            (MOST_VIOLATIONS,),
        )
        kinds: dict[tuple[str, str, str | None], set[str]] = {}
        records: dict[tuple[str, str, str | None], set[tuple[int, int]]] = {}
        for topic, service, cause, kind, partition, offset in rows:
            who = (topic, service, cause and cause.partition("/")[0])
            kinds.setdefault(who, set()).add(kind)
            records.setdefault(who, set()).add((partition, offset))
        return [UndeclaredEvent(*who, tuple(sorted(kinds[who])), len(records[who])) for who in sorted(kinds, key=str)]


def _with(kinds: Sequence[Kind], bit: int) -> int:
    return sum(kind.orders for kind in kinds if kind.seen & bit)


def _taken(times: Sequence[StepTime]) -> dict[tuple[str, str], Taken]:
    spans: dict[tuple[str, str], list[int]] = {}
    for time in times:
        spans.setdefault((time.cause, time.event), []).append(time.milliseconds)
    ordered = {edge: sorted(found) for edge, found in spans.items()}
    return {edge: Taken(len(f), percentile(f, 50), percentile(f, 95)) for edge, f in ordered.items()}
