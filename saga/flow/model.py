"""The flow: the merged declarations of the services. Which event may cause which, who waits, who undoes, how it ends.

Everything is about one saga (one key) and about kinds of events, which are named by their topics. A kind of event
happens at most once in a saga. A handler that answers nothing to a repeated or late event does not create a branch.

The events that a handler may publish are *alternatives*: it answers with one. The exception follows from `compensates`:
an event that a compensation publishes follows that compensation's own trigger, even if another handler of the service
publishes it because the trigger came first (payment.refunded in answer to order.created, after order.cancelled).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from eventbus.manifest import Declaration, DeclaredDeadline, DeclaredEvent, DeclaredReaction, declare
from eventbus.service import Service


class Edge(NamedTuple):
    """An event may be published in answer to another; `cause` is None if it starts a saga."""

    cause: str | None
    event: str
    service: str
    handler: str | None


class Handler(NamedTuple):
    """A handler of a service; `does` is its declaration."""

    service: str
    does: DeclaredReaction

    @property
    def name(self) -> str:
        """Service and handler, as text."""
        return f"{self.service} {self.does.handler}"


class ServiceDeadline(NamedTuple):
    """A deadline of a service; `does` is its declaration."""

    service: str
    does: DeclaredDeadline


class Flow:
    """A choreography. Built from declarations, or with `Flow.of` from classes of services."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        """Merge declarations. The order of services is that of their first steps, not that of the argument."""
        self._unordered = sorted(declarations, key=lambda declaration: declaration.service)

    @classmethod
    def of(cls, services: Iterable[type[Service[Any]]]) -> Flow:
        """Read the declarations of these services."""
        return cls(map(declare, services))

    @cached_property
    def services(self) -> tuple[Declaration, ...]:
        """Every service, in the order of its first step in the saga."""
        unknown = len(self.levels)

        def first_step(declaration: Declaration) -> tuple[int, str]:
            steps = (self.levels[event] for event in declaration.publishes)
            return min(steps, default=unknown), declaration.service

        return tuple(sorted(self._unordered, key=first_step))

    @cached_property
    def handlers(self) -> tuple[Handler, ...]:
        """Every handler of every service, as declared."""
        return tuple(Handler(service.service, does) for service in self.services for does in service.reactions)

    @cached_property
    def events(self) -> Mapping[str, DeclaredEvent]:
        """Every published event, each after its causes, with the contract that its publisher declares."""
        published = {topic: service for service in reversed(self.services) for topic in service.publishes}
        declared = [topic for service in self.services for topic in service.publishes]
        in_order = sorted(dict.fromkeys(declared), key=lambda topic: self.levels[topic])
        return {topic: published[topic].events[topic] for topic in in_order}

    @cached_property
    def initiates(self) -> tuple[str, ...]:
        """The events that start a saga."""
        return tuple(event for service in self.services for event in service.initiates)

    @cached_property
    def on_request(self) -> tuple[str, ...]:
        """The events that a person may request while a saga runs."""
        return tuple(event for service in self.services for event in service.on_request)

    @property
    def root_events(self) -> frozenset[str]:
        """The events that may be published without a cause in the log."""
        return frozenset((*self.initiates, *self.on_request))

    @cached_property
    def completes(self) -> frozenset[str]:
        """The events with which a saga succeeds."""
        return frozenset(event for service in self.services for event in service.completes)

    @cached_property
    def aborts(self) -> frozenset[str]:
        """The events with which it fails; its steps are then compensated."""
        return frozenset(event for service in self.services for event in service.aborts)

    @property
    def endings(self) -> frozenset[str]:
        """The final events. What follows one compensates, or builds on the outcome; the opposite end is impossible."""
        return self.completes | self.aborts

    @cached_property
    def deadlines(self) -> tuple[ServiceDeadline, ...]:
        """Every deadline of every service."""
        return tuple(ServiceDeadline(service.service, does) for service in self.services for does in service.deadlines)

    @cached_property
    def overdue(self) -> frozenset[str]:
        """The events that may be published because a deadline has passed: they have no cause then."""
        return frozenset(event for _, does in self.deadlines for event in does.publishes)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge from an event to one that may answer it, and from nothing to those that start a saga."""
        started = [Edge(None, event, service.service, None) for service in self.services for event in service.initiates]
        answered = [
            Edge(does.event, event, service, does.handler)
            for service, does in self.handlers
            for event in does.publishes
        ]
        return (*started, *answered)

    @cached_property
    def causes(self) -> Mapping[str, frozenset[str]]:
        """For every published event, the events that it may answer; empty if it starts a saga."""
        causes: dict[str, set[str]] = {}
        for edge in self.edges:
            causes.setdefault(edge.event, set()).update({edge.cause} - {None})  # type: ignore[arg-type]
        return {event: frozenset(of) for event, of in causes.items()}

    @cached_property
    def answers(self) -> Mapping[str, tuple[frozenset[str], ...]]:
        """For every consumed event, the sets of events of which one service answers with at most one."""
        answers: dict[str, tuple[frozenset[str], ...]] = {}
        for _, does in self.handlers:
            answers[does.event] = (*answers.get(does.event, ()), frozenset(does.publishes))
        return answers

    @cached_property
    def compensates(self) -> Mapping[str, tuple[Handler, ...]]:
        """For every event whose effect can be undone, the handlers that undo it."""
        undone: dict[str, tuple[Handler, ...]] = {}
        for handler in self.handlers:
            for event in handler.does.compensates:
                undone[event] = (*undone.get(event, ()), handler)
        return undone

    @cached_property
    def compensations(self) -> frozenset[str]:
        """The events that compensations publish."""
        return frozenset(event for _, does in self.handlers if does.compensates for event in does.publishes)

    def publishers(self, event: str) -> tuple[str, ...]:
        """Return the services that may publish an event; a valid choreography has one."""
        return tuple(service.service for service in self.services if event in service.publishes)

    def consumers(self, event: str) -> tuple[Handler, ...]:
        """Return the handlers of an event."""
        return tuple(handler for handler in self.handlers if handler.does.event == event)

    def alternatives(self, handler: Handler) -> tuple[str, ...]:
        """Return the events of which a handler answers with one, if its event did not arrive out of order."""
        does = handler.does
        forward = tuple(event for event in does.publishes if event not in self.compensations)
        return does.publishes if does.compensates or not forward else forward

    def reverse_topological(self) -> list[str]:
        """Return every topic, each before those of its causes. Raises graphlib.CycleError if there is no such order.

        What a compensation publishes comes before what it undoes, if that makes no cycle. An edge that is declared to
        close a cycle is ignored.
        """
        causes: dict[str, set[str]] = {event: set() for event in self.causes}
        for _, does in self.handlers:
            for event in () if does.repeats else does.publishes:
                causes[event].add(does.event)
        undone = {event: set(causes[event]) for event in causes}
        for _, does in self.handlers:
            for event in does.publishes:
                undone[event].update(step for step in does.compensates if step in causes)
        try:
            return list(TopologicalSorter(undone).static_order())[::-1]
        except CycleError:
            return list(TopologicalSorter(causes).static_order())[::-1]

    @cached_property
    def levels(self) -> Mapping[str, int]:
        """The length of the longest path to an event; awaited events count, cycles are cut."""
        levels = {event: 0 for service in self._unordered for event in service.publishes}
        reactions = [does for service in self._unordered for does in service.reactions]
        for _ in levels:
            for does in reactions:
                after = 1 + max(levels.get(event, 0) for event in (does.event, *does.awaits))
                levels.update({event: max(levels[event], min(after, len(levels))) for event in does.publishes})
        return levels
