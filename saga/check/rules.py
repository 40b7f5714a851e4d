"""The input of every law besides one order's facts, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from saga.check.facts import Address, EventFact, Saga
from saga.flow.model import Flow

CLOCK_SKEW_MS = 1_000
"""How much the clocks of two hosts may differ before an effect is reported as earlier than its cause."""


class LawFinding(NamedTuple):
    """One breach of a law, and the records to look at."""

    detail: str
    where: tuple[Address, ...] = ()


def finding(detail: str, *events: EventFact) -> LawFinding:
    """Return a finding about these events."""
    return LawFinding(detail, tuple(event.address for event in events))


@dataclass(frozen=True, slots=True)
class LawViolation:
    """A broken law. `order_id` is empty if the law is about a SKU."""

    law: str
    order_id: str
    detail: str
    where: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly to judge. `judge` sets the fields after `clock_skew_ms` from the facts, see LogFacts."""

    flow: Flow
    finished: bool = False
    at_least_once: bool = False
    clock_skew_ms: int = CLOCK_SKEW_MS
    partitions: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[tuple[str, int], int] = field(default_factory=dict)
    whole_since: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """For each truncated partition when its first remaining record was written, ms since 1970: all later ones exist.
    Infinite if no remaining record has a time."""
    passed_over: set[str] = field(default_factory=set, compare=False)
    """The orders that a law could not judge, because an event that it requires may have expired."""

    def settled(self, event: EventFact) -> bool:
        """Return whether the effect of the event must be found in the databases."""
        return event.early or self.finished

    def lacks(self, saga: Saga, topic: str) -> bool:
        """Return whether this event of the order was never published: it is not on the log and cannot have expired.

        It cannot have expired if the order was placed after the first remaining record of each partition that may have
        held the event was written. If it may have expired, return False, and note the order as not judged.
        """
        if topic in saga.topics:
            return False
        placed = saga.placed_ms
        cut = [self.whole_since[tp] for tp in self.truncated if tp[0] == topic and self._may_hold(saga, tp[1])]
        if cut and (placed is None or placed <= max(cut) + self.clock_skew_ms):
            self.passed_over.add(saga.order_id)
            return False
        return True

    def expired(self, saga: Saga, cause: Address) -> bool:
        """Return whether the record at an address has expired; then the order is noted as not judged."""
        gone = cause.offset < self.truncated.get((cause.topic, cause.partition), 0)
        if gone:
            self.passed_over.add(saga.order_id)
        return gone

    @staticmethod
    def _may_hold(saga: Saga, partition: int) -> bool:
        """Return whether events of the order may be in this partition number: those of one order share one.

        If they are in several (partitions were added meanwhile), or none is known, they may be in any.
        """
        known = {event.partition for event in saga.events}
        known.update(event.cause.partition for event in saga.events if event.cause is not None)
        return len(known) != 1 or partition in known


Law = Callable[[Saga, Rules], Iterable[LawFinding]]
"""A law about one order. Its function's name is the law's name, its docstring's first line states what must hold."""


def name_of(law: Callable[..., object]) -> str:
    """Return the law's stable name, as in reports."""
    return law.__name__.replace("_", "-")
