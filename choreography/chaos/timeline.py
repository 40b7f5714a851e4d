"""Which fault happens when: drawn from the seed before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from choreography.demo.workers import MODULES

KINDS: Mapping[str, str] = {
    "kill": "kill -9 of a worker, which is started again under its name at once",
    "kill-long": "kill -9 of a worker that comes back only after its session",
    "stop": "SIGSTOP of a worker past its session, then SIGCONT",
    "term": "SIGTERM to a service's workers, one after the other, each started again",
    "scale": "a service goes from two workers to one, to three, to one, and back to two",
    "broker": "kill -9 of the broker, and its restart",
    "latency": "every answer of the broker is late",
    "cut": "all connections to the broker break",
    "half-open": "all connections to the broker stay open and carry nothing any more",
    "end-txn": "a connection breaks just after an end-of-transaction went out, which arrives late, or its answer never",
    "database": "a service's SQLite file is locked; on PostgreSQL every connection is terminated, again and again",
    "provider": "the payment provider is slow, or refuses calls, or loses answers",
    "trouble": "a service's table refuses the rows of one order in four",
    "poison": "records that nobody can handle, with keys of orders, on a topic of a service",
    "unreadable": "a batch that nobody can decompress on a topic of a service, past which somebody lets its readers",
}
NEEDS_CONTROL = frozenset({"broker"})
NEEDS_PROXY = frozenset({"latency", "cut", "half-open", "end-txn"})
OUTSIDE = frozenset({*NEEDS_CONTROL, *NEEDS_PROXY, "database", "provider", "trouble", "poison", "unreadable"})
"""Faults of what the workers stand on, not of the workers."""

NUMBERS = (1, 2)
"""A service's workers in peace."""
BEHAVIOURS = {"slow": "latency-ms=300", "failing": "failure-rate=0.3", "losing": "lose-reply-rate=0.3"}


class Fault(NamedTuple):
    """One fault: `at` seconds after the start, for so many `seconds`; `target` is a service or one of its workers."""

    at: float
    kind: str
    target: str
    seconds: float
    how: str = ""


def draw(seed: int, seconds: float, kinds: Iterable[str], session: float, every: float) -> list[Fault]:
    """Return the faults of a run by time, on average one every so many seconds; equal arguments draw equal faults.

    Rounds of the same faults in ever new order, so that each worker is killed as often as the others; at least one
    round, however short the run is. `session`: seconds until the group gives a silent worker up.
    """
    chance = Random(seed)  # noqa: S311 - faults, not secrets
    one_round = [kind for kind in KINDS if kind in set(kinds)]
    workers = [f"{service}/{number}" for service in MODULES for number in NUMBERS]
    size = sum(len(workers) if kind == "kill" else 1 for kind in one_round)
    rounds = max(1, round(seconds / (every * size))) if size else 0
    drawn = []
    for _ in range(rounds):
        bag = list(_round(chance, one_round, workers, session))
        chance.shuffle(bag)
        drawn += bag
    slot = seconds / max(1, len(drawn))
    return [fault._replace(at=round(slot * (n + chance.random()), 2)) for n, fault in enumerate(drawn)]


def _round(chance: Random, kinds: list[str], workers: list[str], session: float) -> Iterator[Fault]:
    for kind in kinds:
        if kind == "kill":
            yield from (Fault(0, kind, worker, round(chance.uniform(0.1, 1), 2)) for worker in workers)
        else:
            how = chance.choice(sorted(BEHAVIOURS)) if kind == "provider" else ""
            yield Fault(0, kind, _target(chance, kind, workers), round(_lasts(chance, kind, session), 2), how)


def _target(chance: Random, kind: str, workers: list[str]) -> str:
    if kind in ("kill-long", "stop"):
        return chance.choice(workers)
    if kind in ("term", "scale", "database", "trouble", "poison", "unreadable"):
        return chance.choice(sorted(MODULES))
    return "payment-service" if kind == "provider" else "broker"


def _lasts(chance: Random, kind: str, session: float) -> float:
    if kind == "kill-long":
        return session + chance.uniform(8, 12)
    if kind == "stop":
        return session + chance.uniform(1, 6)
    shortest, longest = {"half-open": (5, 15), "scale": (12, 16), "end-txn": (2, 4)}.get(kind, (1, 8))
    return chance.uniform(shortest, longest)
