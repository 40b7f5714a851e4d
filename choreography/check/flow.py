"""Which event may cause which: read from the handlers' signatures, never written beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from eventbus.service import Service


@dataclass(frozen=True, slots=True)
class Flow:
    """The choreography as the laws need it; events are named by their topics."""

    causes: Mapping[str, frozenset[str]]
    """For every event, the events that it may answer; empty where it starts a saga."""
    answers: Mapping[str, tuple[frozenset[str], ...]]
    """For every event, the sets of events of which one service answers with at most one."""

    @classmethod
    def of(cls, services: Iterable[type[Service[Any]]]) -> Flow:
        """Read what these services declare."""
        causes: dict[str, set[str]] = {}
        answers: dict[str, tuple[frozenset[str], ...]] = {}
        for service in services:
            causes.update({event.topic: set() for event in service.initiates})
            for event, reaction in service.reactions.items():
                for answer in reaction.publishes:
                    causes.setdefault(answer.topic, set()).add(event.topic)
                alternatives = frozenset(answer.topic for answer in reaction.publishes)
                answers[event.topic] = (*answers.get(event.topic, ()), alternatives)
        return cls({topic: frozenset(of) for topic, of in causes.items()}, answers)

    def effects_first(self) -> list[str]:
        """Return every topic, each before those of its causes. Raises graphlib.CycleError if there is no such order."""
        return list(TopologicalSorter(self.causes).static_order())[::-1]
