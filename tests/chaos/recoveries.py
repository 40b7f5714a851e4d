"""How long each fault was felt, and whether that is within what is promised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from saga.demo.workers import MODULES
from tests.chaos.faults import Happened
from tests.chaos.fleet import Exit, Refusal
from tests.chaos.journal import Journal, service_of
from tests.chaos.timeline import AFTERMATH_SECONDS, BACK_SECONDS, MISTAKES, NUMBERS, OUTSIDE, TO_BROKERS

TO_A_WORKER = frozenset({"kill", "kill-long", "stop"})
STRIKING = frozenset({"database", "provider"}) | MISTAKES
"""Faults of what a worker stands on that keep it from its work, or restart it."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One fault and what followed. Seconds since 1970; None where nothing of the kind followed."""

    happened: Happened
    recovered: float | None
    """When all partitions of the struck worker were taken up again; for other faults, when they were over."""
    handled: float | None
    """When every service that was struck had committed a batch again."""
    alone: bool
    """Whether nothing else was wrong meanwhile that would have held it up. Only then it is judged."""
    back: float | None = None
    """After a fault of the brokers: when every worker that nobody struck meanwhile had committed a batch again."""

    @property
    def until_back(self) -> float | None:
        """Seconds from the end of a fault of the brokers until everybody was back at work."""
        return None if self.back is None else self.back - self.happened.ended

    @property
    def since_fault(self) -> float | None:
        """Seconds from the fault until its partitions went on."""
        return None if self.recovered is None else self.recovered - self.happened.began

    @property
    def since_healed(self) -> float | None:
        """Seconds from its end (a killed worker: its start) until its partitions went on."""
        return None if self.recovered is None else max(0.0, self.recovered - self.happened.ended)

    @property
    def silence(self) -> float | None:
        """Seconds from the fault until every struck service had committed a batch again."""
        return None if self.handled is None else self.handled - self.happened.began


def recoveries(happened: Sequence[Happened], journal: Journal) -> list[Recovery]:
    """Return what followed each fault, by the time when it began."""
    return [_recovery(one, happened, journal) for one in sorted(happened, key=lambda one: one.began)]


def _recovery(one: Happened, happened: Sequence[Happened], journal: Journal) -> Recovery:
    recovered: float | None = one.ended
    if one.fault.kind in TO_A_WORKER:
        recovered = journal.recovered(one.fault.target, one.began)
        if recovered is None and one.fault.kind == "stop":
            recovered = one.ended  # it woke in time and had lost nothing
    struck = [service_of(one.fault.target)] if service_of(one.fault.target) in MODULES else list(MODULES)
    after = one.ended if recovered is None else recovered
    answers = [journal.handled(service, after) for service in struck]
    handled = None if None in answers else max(at for at in answers if at is not None)
    until = one.ended if recovered is None else recovered
    back = _back(one, happened, journal)
    if back is None:
        alone = not any(_disturbs(other, one, until) for other in happened)
    else:
        alone = not any(_overlaps(other, one, min(back, one.ended + BACK_SECONDS)) for other in happened)
    return Recovery(one, recovered, handled, alone, back)


def _back(one: Happened, happened: Iterable[Happened], journal: Journal) -> float | None:
    """Return when everybody was back. Nobody waits for a worker that was itself struck before it was back.

    One that commits nothing more until the orders end counts when others of its service still did so long afterwards;
    a service that had nothing more to do does not count.
    """
    if one.fault.kind not in TO_BROKERS:
        return None
    times = []
    for worker in (f"{service}/{number}" for service in MODULES for number in NUMBERS):
        at = journal.next_of(worker, one.ended)
        at = journal.last(service_of(worker)) if at is None else at
        if at is None or at <= one.ended:
            continue
        if not any(_consecutive_failures(other, worker, one.ended, at) for other in happened):
            times.append(at)
    return max(times, default=None)


def _consecutive_failures(other: Happened, worker: str, after: float, until: float) -> bool:
    return (
        other.fault.kind not in OUTSIDE - STRIKING
        and other.fault.target in (worker, service_of(worker))
        and other.began < until
        and after < other.ended + AFTERMATH_SECONDS
    )


def _overlaps(other: Happened, one: Happened, until: float) -> bool:
    """Return whether another fault may have held up the way back from one of the brokers: whatever it was done to.

    One that began when everybody was to be back has not: who was late by then was late.
    """
    return other is not one and other.began < until and one.ended < other.ended + AFTERMATH_SECONDS


def _disturbs(other: Happened, one: Happened, until: float) -> bool:
    if other is one:
        return False
    outside = other.fault.kind in OUTSIDE
    near = other.began < until and one.began < other.ended + (AFTERMATH_SECONDS if outside else 0)
    return near and (outside or service_of(other.fault.target) == service_of(one.fault.target))


def calm(ended: Exit, happened: Iterable[Happened]) -> bool:
    """Return whether nothing outside the workers was wrong while this one ended."""
    until = ended.at + ended.seconds
    return not any(
        one.fault.kind in OUTSIDE - {"provider"} and one.began < until and ended.at < one.ended + AFTERMATH_SECONDS
        for one in happened
    )


def unmoved(refusal: Refusal, happened: Iterable[Happened]) -> bool:
    """Return whether nothing else was wrong outside the workers while this one had to refuse."""
    until = refusal.at + refusal.seconds
    others = (one for one in happened if one.fault.kind != refusal.kind or not one.began <= refusal.at <= one.ended)
    return not any(
        one.fault.kind in OUTSIDE and one.began < until and refusal.at < one.ended + AFTERMATH_SECONDS for one in others
    )


def spread(seconds: Iterable[float | None]) -> dict[str, Any]:
    """Return how many there are, the median, the 99th percentile (the next higher one) and the largest."""
    known = sorted(value for value in seconds if value is not None)
    if not known:
        return {"count": 0}
    p50, p99 = (known[ceil(len(known) * share) - 1] for share in (0.5, 0.99))
    return {"count": len(known), "p50": round(p50, 2), "p99": round(p99, 2), "max": round(known[-1], 2)}
