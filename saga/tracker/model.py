"""The declared flow, applied to one order: its state, the answers that are due, and what can still happen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from saga.flow.model import Flow

PENDING = "pending"
NOBODY = "nobody"
"""The value of waiting_on for an order that has not ended, if no declared answer is due."""


class Arrow(NamedTuple):
    """A service's reaction to an event. `answers` are alternatives; `publishes` includes those to early events."""

    service: str
    event: str
    answers: frozenset[str]
    publishes: frozenset[str]
    awaits: frozenset[str]
    compensates: frozenset[str]


class Owed(NamedTuple):
    """An answer of a service that is due to an event of the order: one of `answers`."""

    service: str
    event: str
    answers: frozenset[str]

    @property
    def any_of(self) -> str:
        """The answers, of which one is due, as text."""
        return " or ".join(sorted(self.answers)) or "anything"


class State(NamedTuple):
    """The state of an order."""

    status: str
    """`pending`, or the last word of the event that ended it."""
    failed_at: str | None
    """The event that caused the failure."""
    owed: tuple[Owed, ...]
    undone: str | None
    """The last words of the compensations' events, separated by commas: `refunded`, once the money is back."""

    @property
    def waiting_on(self) -> str | None:
        """The services that have to answer, in alphabetical order, separated by commas."""
        return ",".join(sorted({owed.service for owed in self.owed})) or None


OVERDUE = "deadline"
"""The cause of an event that a deadline caused, followed by the time of that in milliseconds since 1970."""
REQUEST = "request"
"""What an event is caused by that a person requested; on the log it has no cause."""


class StateColumns(NamedTuple):
    """The columns of the table `orders` that follow from an order's state; see State."""

    status: str
    failed_at: str | None
    waiting_on: str | None
    undone: str | None


@dataclass(frozen=True)
class TrackerModel:
    """The flow as the tracker needs it. Events are named by their topics; `topics` has causes before effects."""

    topics: tuple[str, ...]
    publisher: Mapping[str, str]
    causes: Mapping[str, frozenset[str]]
    starts: frozenset[str]
    on_request: frozenset[str]
    """The events that may name no cause because a person requested them."""
    overdue: frozenset[str]
    """The events that a deadline may cause."""
    endings: frozenset[str]
    """The events that end an order: the final events, but those that only follow another one (order.shipped)."""
    aborts: frozenset[str]
    """The endings with which an order fails."""
    failures: frozenset[str]
    """The events that lead to the saga's failure."""
    arrows: tuple[Arrow, ...]
    _summaries: dict[tuple[int, str | None], StateColumns] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, flow: Flow) -> TrackerModel:
        """Build the model from the flow."""
        arrows = tuple(
            Arrow(
                *(handler.service, handler.does.event, frozenset(flow.alternatives(handler))),
                *(frozenset(each) for each in (handler.does.publishes, handler.does.awaits, handler.does.compensates)),
            )
            for handler in flow.handlers
        )
        failures = frozenset[str]().union(*(flow.causes[ending] for ending in flow.aborts))
        publisher = {topic: flow.publishers(topic)[0] for topic in flow.events}
        starts, on_request = frozenset(flow.initiates), frozenset(flow.on_request)
        kinds = (starts, on_request, flow.overdue, _endings(flow), flow.aborts, failures)
        return cls(tuple(flow.events), publisher, flow.causes, *kinds, arrows)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal declarations; a database with another fingerprint must be rebuilt."""
        arrows = sorted((a.service, a.event, *map(sorted, a[2:])) for a in self.arrows)
        kinds = (self.starts, self.on_request, self.overdue, self.endings, self.aborts)
        return json.dumps([self.topics, self.publisher, *map(sorted, kinds), arrows])

    @cached_property
    def bits(self) -> dict[str, int]:
        """The bit of each event in `orders.seen`."""
        return {topic: 1 << number for number, topic in enumerate(self.topics)}

    @cached_property
    def compensates(self) -> dict[str, frozenset[str]]:
        """For every event that a compensation publishes, the events whose effect it undoes."""
        undoing = [arrow for arrow in self.arrows if arrow.compensates]
        return {topic: arrow.compensates for arrow in undoing for topic in arrow.answers}

    @cached_property
    def undoings(self) -> tuple[str, ...]:
        """The events of the compensations that do not end an order themselves."""
        return tuple(topic for topic in self.topics if topic in self.compensates.keys() - self.endings)

    @cached_property
    def exclusive(self) -> dict[str, int]:
        """For every event the bits of those that exclude it: alternative answers to the same event."""
        excluded = dict.fromkeys(self.topics, 0)
        for arrow in self.arrows:
            for topic in arrow.answers:
                for other in arrow.answers - {topic}:
                    excluded[topic] |= self.bits[other]
        return excluded

    def contradicts(self, ending: str, other: str) -> bool:
        """Return whether an order cannot have both endings: a service ends it once, and no other the opposite way."""
        return self.publisher[ending] == self.publisher[other] or (ending in self.aborts) != (other in self.aborts)

    def began(self, topic: str, cause: str | None) -> str | None:
        """Return what caused an event that no event caused: OVERDUE or REQUEST; None if neither is declared."""
        if cause is None:
            return REQUEST if topic in self.on_request else None
        return OVERDUE if topic in self.overdue and cause.partition("/")[0] == OVERDUE else None

    def ended_by(self, topic: str, cause: str | None) -> str | None:
        """Return what made an order fail that ends with this event: as `began`, or the topic of the refusal."""
        named = cause.partition("/")[0] if cause else ""
        return self.began(topic, cause) or (named if named in self.failures & self.causes[topic] else None)

    @cached_property
    def following(self) -> dict[str, frozenset[str]]:
        """For every event all events that may follow from it, directly or indirectly."""
        reached: dict[str, frozenset[str]] = {}
        for topic in self.topics:
            to_see, seen = [topic], set[str]()
            while to_see:
                event = to_see.pop()
                fresh = {answer for a in self.arrows if a.event == event for answer in a.publishes} - seen
                seen |= fresh
                to_see += fresh
            reached[topic] = frozenset(seen)
        return reached

    def state(self, seen: int, ending: str | None) -> State:
        """Return the state of an order that has these events (see `bits`), and ended first with `ending`."""
        there = frozenset(topic for topic, bit in self.bits.items() if seen & bit)
        undone = ",".join(last_word(topic) for topic in self.undoings if topic in there)
        failed = [topic for topic in self.topics if topic in there & self.failures]
        owed = tuple(self._owed(there, ended=ending is not None))
        if ending is None and not owed:
            missing = {self.publisher[topic] for topic in self.starts - there} or {NOBODY}
            owed = tuple(Owed(service, "", self.starts - there) for service in sorted(missing))
        return State(last_word(ending) if ending else PENDING, failed[0] if failed else None, owed, undone or None)

    def summary(self, seen: int, ending: str | None) -> StateColumns:
        """Return the columns of the table `orders` that follow from the state."""
        columns = self._summaries.get((seen, ending))
        if columns is None:
            state = self.state(seen, ending)
            columns = self._summaries[seen, ending] = StateColumns(
                state.status, state.failed_at, state.waiting_on, state.undone
            )
        return columns

    def _owed(self, there: frozenset[str], *, ended: bool) -> Iterable[Owed]:
        for arrow in self.arrows:
            if arrow.event not in there or not arrow.answers or arrow.publishes & there:
                continue
            follows_the_end = any(arrow.event == e or arrow.event in self.following[e] for e in self.endings & there)
            if ended and not follows_the_end:
                continue
            undoes_nothing = bool(arrow.compensates) and not arrow.compensates & there
            if arrow.awaits <= there and not undoes_nothing and not self._answers_later(arrow, there):
                yield Owed(arrow.service, arrow.event, arrow.answers)

    def _answers_later(self, arrow: Arrow, there: frozenset[str]) -> bool:
        """Return whether the service gives the same answers to a later event of the order: then that one is due."""
        later = there & self.following[arrow.event]
        return any(a.event in later and (a.service, a.answers) == (arrow.service, arrow.answers) for a in self.arrows)


def _endings(flow: Flow) -> frozenset[str]:
    """Return the final events that can happen before any other final event has."""
    reached, to_see = set[str](), [*flow.root_events, *flow.overdue]
    while to_see:
        event = to_see.pop()
        if event not in reached and event not in flow.endings:
            to_see += [edge.event for edge in flow.edges if edge.cause == event]
        reached.add(event)
    return flow.endings & reached


def last_word(topic: str) -> str:
    """Return the last word of an event's name: the status of an order that it ended."""
    return topic.rpartition(".")[2]
