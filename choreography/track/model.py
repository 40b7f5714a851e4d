"""What the declared choreography says about one order: where it stands, who has to answer, what can still happen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from eventbus.service import Service

PENDING = "pending"
NOBODY = "nobody"
"""On whom an order waits that has not ended, where no declaration says who has to answer."""


class Arrow(NamedTuple):
    """A service's reaction to an event: what it may answer, and in a few words what it does."""

    service: str
    event: str
    answers: frozenset[str]
    purpose: str


class Owed(NamedTuple):
    """An answer that a service still has to give to an event of the order: one of `answers`."""

    service: str
    event: str
    answers: frozenset[str]


class State(NamedTuple):
    """Where an order stands."""

    status: str
    """`pending`, else the last word of the event that ended it, or of the one that undid its last step."""
    failed_at: str | None
    """The event that made it fail."""
    owed: tuple[Owed, ...]

    @property
    def waiting_on(self) -> str | None:
        """The services that have to answer, in alphabetical order, separated by commas."""
        return ",".join(sorted({owed.service for owed in self.owed})) or None


@dataclass(frozen=True)
class Model:
    """The choreography as the tracker needs it, all of it read from the services' declarations."""

    topics: tuple[str, ...]
    publisher: Mapping[str, str]
    starts: frozenset[str]
    """Events that need no cause."""
    endings: frozenset[str]
    """What the service that starts a saga says about its end."""
    arrows: tuple[Arrow, ...]
    _summaries: dict[tuple[int, str | None], tuple[str, str | None, str | None]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def of(cls, services: Iterable[type[Service[Any]]]) -> Model:
        """Read what these services declare."""
        services = tuple(services)
        publisher = {event.topic: service.name for service in services for event in service.publishes()}
        starts = frozenset(event.topic for service in services for event in service.initiates)
        told = (event.topic for service in services if service.initiates for event in service.publishes())
        arrows = tuple(
            Arrow(service.name, event.topic, frozenset(e.topic for e in reaction.publishes), reaction.purpose)
            for service in services
            for event, reaction in service.reactions.items()
        )
        return cls(tuple(publisher), publisher, starts, frozenset(told) - starts, arrows)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal declarations: what was tracked under another one means something else."""
        arrows = sorted((a.service, a.event, sorted(a.answers)) for a in self.arrows)
        return json.dumps([self.topics, self.publisher, sorted(self.starts), sorted(self.endings), arrows])

    @cached_property
    def bits(self) -> dict[str, int]:
        """The bit of each event in `orders.seen`."""
        return {topic: 1 << number for number, topic in enumerate(self.topics)}

    @cached_property
    def causes(self) -> dict[str, frozenset[str]]:
        """For every event those that it may answer."""
        return {topic: frozenset(a.event for a in self.arrows if topic in a.answers) for topic in self.topics}

    @cached_property
    def compensates(self) -> dict[str, frozenset[str]]:
        """For every compensation the events that it undoes.

        Who answers somebody else's ending takes back what it said before, unless that was what led to the ending.
        """
        undone: dict[str, frozenset[str]] = {}
        for arrow in self.arrows:
            if arrow.event in self.endings and arrow.service != self.publisher[arrow.event]:
                said = {topic for topic in self.topics if self.publisher[topic] == arrow.service}
                taken_back = frozenset(said - arrow.answers - self.causes[arrow.event])
                undone |= dict.fromkeys(arrow.answers if taken_back else (), taken_back)
        return undone

    @cached_property
    def exclusive(self) -> dict[str, int]:
        """For every event the bits of those of which an order can have but one beside it: answers to the same."""
        return {
            topic: sum(
                self.bits[other]
                for other in set(self.topics) - {topic} - self.endings
                if self.publisher[other] == self.publisher[topic] and self.causes[other] == self.causes[topic]
            )
            for topic in self.topics
        }

    @cached_property
    def failures(self) -> frozenset[str]:
        """Events after which everything is undone: the causes of an ending that is compensated."""
        undone = [arrow.event for arrow in self.arrows if arrow.answers & set(self.compensates)]
        return frozenset(chain.from_iterable(self.causes[topic] for topic in undone if topic in self.endings))

    @cached_property
    def following(self) -> dict[str, frozenset[str]]:
        """For every event all that may follow from it, however far."""
        reached: dict[str, frozenset[str]] = {}
        for topic in self.topics:
            to_see, seen = [topic], set[str]()
            while to_see:
                event = to_see.pop()
                fresh = {answer for a in self.arrows if a.event == event for answer in a.answers} - seen
                seen |= fresh
                to_see += fresh
            reached[topic] = frozenset(seen)
        return reached

    def state(self, seen: int, ending: str | None) -> State:
        """Return where an order stands that has these events (see `bits`), and ended first with `ending`."""
        there = frozenset(topic for topic, bit in self.bits.items() if seen & bit)
        return self._state(there, ending)

    def summary(self, seen: int, ending: str | None) -> tuple[str, str | None, str | None]:
        """Return the columns of the table `orders` that follow from the state: status, failed_at, waiting_on."""
        columns = self._summaries.get((seen, ending))
        if columns is None:
            state = self.state(seen, ending)
            columns = self._summaries[seen, ending] = (state.status, state.failed_at, state.waiting_on)
        return columns

    def _state(self, there: frozenset[str], ending: str | None) -> State:
        undone = sorted(there & set(self.compensates), key=self.topics.index)
        last = undone[-1] if ending and undone else ending
        failed = [topic for topic in self.topics if topic in there & self.failures]
        owed = tuple(self._owed(there, ended=ending is not None))
        if ending is None and not owed:
            missing = {self.publisher[t] for t in self.starts - there} or {NOBODY}
            owed = tuple(Owed(service, "", self.starts - there) for service in sorted(missing))
        return State(last.rpartition(".")[2] if last else PENDING, failed[0] if failed else None, owed)

    def _owed(self, there: frozenset[str], *, ended: bool) -> Iterable[Owed]:
        for arrow in self.arrows:
            if arrow.event not in there or not arrow.answers or arrow.answers & there:
                continue
            follows_the_end = any(arrow.event == e or arrow.event in self.following[e] for e in self.endings & there)
            if ended and not follows_the_end:
                continue
            undoes = frozenset[str]().union(*(self.compensates.get(answer, ()) for answer in arrow.answers))
            if self._is_turn(arrow, there) and (arrow.event not in self.endings or not undoes or undoes & there):
                yield Owed(arrow.service, arrow.event, self._sensible(arrow.answers, there))

    def _sensible(self, answers: frozenset[str], there: frozenset[str]) -> frozenset[str]:
        """Leave out what would undo something that has not happened, unless nothing else is left."""
        undoing = {answer for answer, undone in self.compensates.items() if not undone & there}
        return answers - undoing or answers

    def _is_turn(self, arrow: Arrow, there: frozenset[str]) -> bool:
        """Return whether this event is the one to be answered.

        A service that gives the same answers to a later event of the same path waits for that one.
        """
        same = {a.event for a in self.arrows if (a.service, a.answers) == (arrow.service, arrow.answers)}
        earlier = {event for event in same if arrow.event in self.following[event]}
        return not same & self.following[arrow.event] and earlier <= there
