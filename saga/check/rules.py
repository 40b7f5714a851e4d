"""What every law is given beside one order's facts, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from saga.check.facts import Address, EventFact, Saga
from saga.flow.model import Flow

CLOCK_SKEW_MS = 1_000
"""By so much the clocks of two hosts may differ before an effect seems to come before its cause."""


class LawFinding(NamedTuple):
    """One thing that is broken, and the records to look at."""

    detail: str
    where: tuple[Address, ...] = ()


def finding(detail: str, *events: EventFact) -> LawFinding:
    """Return a finding about these events."""
    return LawFinding(detail, tuple(event.address for event in events))


@dataclass(frozen=True, slots=True)
class LawViolation:
    """A broken law. `order_id` is empty where the law is about a SKU."""

    law: str
    order_id: str
    detail: str
    where: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly to judge. `judge` fills in what stands after `clock_skew_ms` from the facts, see LogFacts."""

    flow: Flow
    quiescent: bool = False
    at_least_once: bool = False
    clock_skew_ms: int = CLOCK_SKEW_MS
    partitions: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[tuple[str, int], int] = field(default_factory=dict)
    whole_since: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """For each truncated partition when its first record that is left was written, ms since 1970: all later ones are
    there. Infinite where nothing is left that tells."""
    passed_over: set[str] = field(default_factory=set, compare=False)
    """The orders of which an event may have expired that a law asked for: it could not judge them."""

    def settled(self, event: EventFact) -> bool:
        """Return whether what the event tells must be found in the databases."""
        return event.early or self.quiescent

    def lacks(self, saga: Saga, topic: str) -> bool:
        """Return whether this event of the order was never published: it is not on the log and cannot have expired.

        It cannot where the order was placed after the first record was written that is left of each partition in which
        the event can have been. False, and the order is noted as passed over, where it may have expired.
        """
        if topic in saga.topics:
            return False
        placed = saga.placed_ms
        cut = [self.whole_since[lane] for lane in self.truncated if lane[0] == topic and self._may_hold(saga, lane[1])]
        if cut and (placed is None or placed <= max(cut) + self.clock_skew_ms):
            self.passed_over.add(saga.order_id)
            return False
        return True

    def expired(self, saga: Saga, cause: Address) -> bool:
        """Return whether the record at an address has expired; then the order is noted as passed over."""
        gone = cause.offset < self.truncated.get((cause.topic, cause.partition), 0)
        if gone:
            self.passed_over.add(saga.order_id)
        return gone

    @staticmethod
    def _may_hold(saga: Saga, partition: int) -> bool:
        """Return whether events of the order may be in partitions of this number: those of one order share one.

        Where they are in several (partitions were added meanwhile), or none is known, they may be in any.
        """
        known = {event.partition for event in saga.events}
        known.update(event.cause.partition for event in saga.events if event.cause is not None)
        return len(known) != 1 or partition in known


Law = Callable[[Saga, Rules], Iterable[LawFinding]]
"""A law about one order. Its function's name is the law's, its docstring's first line says what must hold."""


def name_of(law: Callable[..., object]) -> str:
    """Return the law's name, stable, as reports show it."""
    return law.__name__.replace("_", "-")
