"""What every law is given beside one order's facts, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from choreography.check.facts import Address, EventFact, Saga
from choreography.flow.model import Flow

CLOCK_SKEW_MS = 1_000
"""By so much the clocks of two hosts may differ before an effect seems to come before its cause."""


class Finding(NamedTuple):
    """One thing that is broken, and the records to look at."""

    detail: str
    where: tuple[Address, ...] = ()


def finding(detail: str, *events: EventFact) -> Finding:
    """Return a finding about these events."""
    return Finding(detail, tuple(event.address for event in events))


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken law. `order_id` is empty where the law is about a SKU."""

    law: str
    order_id: str
    detail: str
    where: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly to judge. `judge` fills in `partitions` and `truncated` from the facts, see LogFacts."""

    flow: Flow
    quiescent: bool = False
    at_least_once: bool = False
    clock_skew_ms: int = CLOCK_SKEW_MS
    partitions: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def settled(self, event: EventFact) -> bool:
        """Return whether what the event tells must be found in the databases."""
        return event.early or self.quiescent

    def lacks(self, saga: Saga, topic: str) -> bool:
        """Return whether this event of the order was never published: it is not on the log and cannot have expired."""
        return topic not in saga.topics and not any(cut == topic for cut, _ in self.truncated)


Law = Callable[[Saga, Rules], Iterable[Finding]]
"""A law about one order. Its function's name is the law's, its docstring's first line says what must hold."""


def name_of(law: Callable[..., object]) -> str:
    """Return the law's name, stable, as reports show it."""
    return law.__name__.replace("_", "-")
