"""From events to orders: the state of an order is a function of the set of its events, in whatever order they arrived.

The common case is a commutative merge. An event that no declaration allows is rare; then the order is folded again from
all of its events, so that the result still depends only on the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, get_args

from msgspec.json import decode

from saga.tracker.model import OVERDUE, TrackerModel
from schemas.events import MAX_TIME_MS

VERSION = 4
"""The version of the tracker's database: raised with every change of the tables, or of their content."""
CLOCK_SKEW_MS = 1_000
"""How much the clocks of two hosts may differ before a step is reported as after the end."""
MOST_KINDS = 10_000
"""The maximum number of combinations of event, publisher and cause in memory: texts from the log must not fill it."""


class TrackedEvent(NamedTuple):
    """One event on the log: a row of the table `events`. `at` in ms since 1970, `fields` as JSON."""

    order_id: str
    topic: str
    partition: int
    offset: int
    at: int
    service: str
    schema_id: int | str
    """A number, or a GUID."""
    cause: str | None
    fields: str

    @property
    def address(self) -> str:
        """The record's address: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def values(self) -> dict[str, Any]:
        """The event's fields."""
        values: dict[str, Any] = decode(self.fields)
        return values


class OrderRow(NamedTuple):
    """A row of the table `orders`; times in ms since 1970."""

    order_id: str
    status: str
    customer_id: str | None
    total: int | None
    currency: str | None
    placed_at: int
    updated_at: int
    ended_at: int | None
    ending: str | None
    failed_at: str | None
    waiting_on: str | None
    undone: str | None
    cancel_at: int | None
    """When it cancels itself, as order.created says; None: never, not known, or not any more."""
    ended_by: str | None
    """What made it fail, see TrackerModel.ended_by."""
    events: int
    violations: int
    seen: int
    body_at: int | None
    """The time of the last event that must not follow an ending."""


Wrong = Literal[
    "undeclared-publisher",
    "undeclared-cause",
    "second-ending",
    "second-answer",
    "repeated-step",
    "step-after-end",
    "undecodable",
    "unreadable",
]
KINDS: tuple[Wrong, ...] = get_args(Wrong)
"""Every kind of violation; docs/tracking.md describes each."""


class TrackedViolation(NamedTuple):
    """A record on the log that no declaration allows: a row of the table `violations`."""

    kind: Wrong
    order_id: str
    topic: str
    partition: int
    offset: int
    at: int
    detail: str

    @property
    def address(self) -> str:
        """The record's address: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Fold:
    """Merges events into orders, according to the declared choreography."""

    def __init__(self, model: TrackerModel) -> None:
        self._model = model
        after_the_end = frozenset[str]().union(*(model.following[ending] for ending in model.endings))
        self._body = frozenset(model.topics) - model.endings - after_the_end
        self._declared: dict[tuple[str, str, str | None], bool] = {}

    def merge(self, order: OrderRow | None, event: TrackedEvent) -> tuple[OrderRow, bool]:
        """Return the order with this event, and whether it must be folded again from all of its events."""
        model, topic, at = self._model, event.topic, event.at
        bit = model.bits[topic]
        if order is None:
            unknown = (None, None, None, None, None, None, None)
            order = OrderRow(event.order_id, "", None, None, None, at, at, *unknown, 0, 0, 0, None)
        judge = bool(order.violations or order.seen & (bit | model.exclusive[topic])) or not self._is_declared(event)
        _, _, customer, total, currency, placed_at, updated_at, ended_at, ending, *_, body_at = order
        cancel_at, ended_by = order.cancel_at, order.ended_by
        if topic in model.starts:
            values = event.values
            customer, total, currency = (values.get(name) for name in ("customer_id", "total", "currency"))
            cancel_at = _time(values.get("cancel_at_ms"))
        if topic in self._body:
            body_at = at if body_at is None else max(body_at, at)
        elif topic in model.endings:
            judge |= ending is not None
            if ending is None or ended_at is None or (at, topic) < (ended_at, ending):
                ended_at, ending, ended_by = at, topic, model.ended_by(topic, event.cause)
        judge |= ended_at is not None and body_at is not None and body_at > ended_at + CLOCK_SKEW_MS
        seen = order.seen | bit
        status, failed_at, waiting_on, undone = model.summary(seen, ending)
        merged = (
            *(order.order_id, status, customer, total, currency, min(placed_at, at), max(updated_at, at)),
            *(ended_at, ending, failed_at, waiting_on, undone, cancel_at if ending is None else None, ended_by),
            *(order.events + 1, order.violations, seen, body_at),
        )
        return OrderRow(*merged), judge

    def again(self, events: Iterable[TrackedEvent]) -> tuple[OrderRow, list[TrackedViolation]]:
        """Return an order and its violations from all of its events, of which there is at least one."""
        in_order = sorted(events, key=lambda event: (event.at, event.topic, event.partition, event.offset))
        order: OrderRow | None = None
        for event in reversed(in_order):  # of a repeated event the first one counts
            order, _ = self.merge(order, event)
        assert order is not None
        violations = list(self._violations(in_order))
        return order._replace(violations=len(violations)), violations

    def _is_declared(self, event: TrackedEvent) -> bool:
        key = (event.topic, event.service, event.cause and event.cause.partition("/")[0])
        declared = self._declared.get(key)
        if declared is None:
            declared = not any(self._undeclared(event))
            if len(self._declared) < MOST_KINDS:
                self._declared[key] = declared
        return declared

    def _undeclared(self, event: TrackedEvent) -> Iterator[tuple[Wrong, str]]:
        topic, cause = event.topic, event.cause
        if event.service != self._model.publisher[topic]:
            said = f"published by {event.service or 'an unknown service'}"
            yield "undeclared-publisher", f"{said}; {self._model.publisher[topic]} declares it"
        causes = self._model.causes[topic]
        if cause is None:
            if topic not in self._model.starts | self._model.on_request:
                yield "undeclared-cause", f"it names no cause; declared are {_listed(causes)}"
        elif self._model.began(topic, cause) == OVERDUE:
            return
        elif cause.partition("/")[0] not in causes:
            yield "undeclared-cause", f"it answers {cause}; declared are {_listed(causes)}"

    def _violations(self, in_order: list[TrackedEvent]) -> Iterator[TrackedViolation]:
        first: dict[str, TrackedEvent] = {}
        end: TrackedEvent | None = None
        for event in in_order:
            for kind, detail in self._undeclared(event):
                yield _violation(kind, event, detail)
            topic = event.topic
            before = first.setdefault(topic, event)
            if topic in self._model.endings:
                end = end or event
                if contradicted := self._contradicted(event, first):
                    yield _violation("second-ending", event, f"the order had ended with {contradicted.address}")
            elif rival := self._rival(event, first):
                yield _violation("second-answer", event, f"the order already has the other answer, {rival.address}")
            elif before is not event:
                yield _violation("repeated-step", event, f"the order already has this event, {before.address}")
            too_late = end is not None and topic in self._body and event.at > end.at + CLOCK_SKEW_MS
            # After a deadline or a request, what was under way still comes, and is undone.
            if end is not None and too_late and self._model.began(end.topic, end.cause) is None:
                late = f"{event.at - end.at} ms after {end.address}"
                yield _violation(
                    "step-after-end", event, f"{late}, after which only these are declared: {self._after(end)}"
                )

    def _contradicted(self, ending: TrackedEvent, first: dict[str, TrackedEvent]) -> TrackedEvent | None:
        """Return an earlier ending of the order that excludes this one."""
        ended = (event for topic, event in first.items() if event is not ending and topic in self._model.endings)
        return next((event for event in ended if self._model.contradicts(event.topic, ending.topic)), None)

    def _rival(self, event: TrackedEvent, first: dict[str, TrackedEvent]) -> TrackedEvent | None:
        """Return an earlier event of the order that excludes this one."""
        excluded = self._model.exclusive[event.topic]
        return next((e for topic, e in first.items() if e is not event and excluded & self._model.bits[topic]), None)

    def _after(self, end: TrackedEvent) -> str:
        return _listed(self._model.following[end.topic])


def _violation(kind: Wrong, event: TrackedEvent, detail: str) -> TrackedViolation:
    return TrackedViolation(kind, event.order_id, event.topic, event.partition, event.offset, event.at, detail)


def _time(value: object) -> int | None:
    """Return a time in ms since 1970; None for 0, and for what another service's event has in such a field."""
    return value if isinstance(value, int) and 0 < value <= MAX_TIME_MS else None


def _listed(topics: Iterable[str]) -> str:
    return ", ".join(sorted(topics)) or "nothing"
