"""Statistics of all orders: how many have which status, the branches they took, and the time of each step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from saga.tracker.model import OVERDUE, REQUEST, TrackerModel, last_word
from saga.tracker.queries import Kind, Latest, StepTime


class Branch(NamedTuple):
    """Of `of` orders that have the event `cause`, `orders` have `event` in answer to it.

    `deadline` and `request` as the cause may come to any order that was placed.
    """

    cause: str
    event: str
    service: str
    of: int
    orders: int


class Pace(NamedTuple):
    """The time of one step, in ms, over a number of orders."""

    cause: str
    event: str
    service: str
    steps: int
    p50: int
    p95: int
    p99: int


def by_status(model: TrackerModel, kinds: Sequence[Kind]) -> dict[str, int]:
    """Return the number of orders by status; the failures last, for what is said of those follows."""
    counts: Counter[str] = Counter()
    for kind in kinds:
        counts[model.summary(kind.seen, kind.ending).status] += kind.orders
    failed = {last_word(ending) for ending in model.aborts}
    return dict(sorted(counts.items(), key=lambda each: (each[0] in failed, each)))


def undone(model: TrackerModel, kinds: Sequence[Kind]) -> dict[str, int]:
    """Return the number of orders by what was undone: `refunded` counts those whose money is back."""
    return _counted((model.summary(kind.seen, kind.ending).undone, kind.orders) for kind in kinds)


def ended_by(kinds: Sequence[Kind]) -> dict[str, int]:
    """Return the number of orders that failed by what made them fail: a deadline, a request, a refusal's event."""
    return _counted((kind.ended_by, kind.orders) for kind in kinds)


def waiting(model: TrackerModel, kinds: Sequence[Kind]) -> dict[str, int]:
    """Return the number of orders that wait for an answer, by service."""
    return _counted((model.summary(kind.seen, kind.ending).waiting_on, kind.orders) for kind in kinds)


def _counted(kinds: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    """Return the number of orders for each of the words, separated by commas, of these columns."""
    counts: Counter[str] = Counter()
    for words, orders in kinds:
        for word in words.split(",") if words else ():
            counts[word] += orders
    return dict(sorted(counts.items()))


def branches(model: TrackerModel, latest: Latest) -> list[Branch]:
    """Return for every declared answer how many orders have it; also answers that were never seen.

    The cause that an event names counts: that an order has both events does not imply it.
    """
    taken = Counter((cause, event) for _, cause, event in {step[:3] for step in latest.steps})
    having = Counter(latest.seen)
    found = []
    for arrow in model.arrows:
        cause = model.bits[arrow.event]
        of = sum(orders for seen, orders in having.items() if seen & cause)
        answers = sorted(arrow.publishes, key=model.topics.index)
        found += [Branch(arrow.event, event, arrow.service, of, taken[arrow.event, event]) for event in answers]
    placed = sum(orders for seen, orders in having.items() if any(seen & model.bits[topic] for topic in model.starts))
    ended = Counter(latest.ended)
    for began, events in ((OVERDUE, model.overdue), (REQUEST, model.on_request)):
        found += [Branch(began, event, model.publisher[event], placed, ended[event, began]) for event in sorted(events)]
    return found


def paces(times: Sequence[StepTime]) -> list[Pace]:
    """Return the percentiles of each step."""
    spans: dict[tuple[str, str, str], list[int]] = {}
    for time in times:
        spans.setdefault((time.cause, time.event, time.service), []).append(time.milliseconds)
    return [Pace(*step, len(found), *_percentiles(sorted(found))) for step, found in sorted(spans.items())]


def _percentiles(ordered: Sequence[int]) -> tuple[int, int, int]:
    return percentile(ordered, 50), percentile(ordered, 95), percentile(ordered, 99)


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Return the smallest value that the given percentage of values does not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
