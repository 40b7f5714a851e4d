"""Which fault happens when: drawn from the seed before anything starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from saga.demo.workers import MODULES
from schemas import EVENTS

KINDS: Mapping[str, str] = {
    "kill": "kill -9 of a worker, which is started again under its name at once",
    "kill-long": "kill -9 of a worker that comes back only after its session",
    "stop": "SIGSTOP of a worker past its session, then SIGCONT",
    "term": "SIGTERM to a service's workers, one after the other, each started again",
    "scale": "a service goes from two workers to one, to three, to one, and back to two",
    "broker": "kill -9 of a broker, and its restart",
    "broker-roll": "SIGTERM to one broker after the other, each started again",
    "brokers-away": "kill -9 of two brokers of three: nothing can be written until they are back",
    "leaders": "every partition gets another leader, coordinators of groups and transactions move along",
    "reassign": "half of the partitions lose their leader's replica, then it is copied anew",
    "latency": "every answer of the broker is late",
    "cut": "all connections to the broker break",
    "half-open": "all connections to the broker stay open and carry nothing any more",
    "end-txn": "a connection breaks just after an end-of-transaction went out, which arrives late, or its answer never",
    "database": "a service's SQLite file is locked; on PostgreSQL every connection is terminated, again and again",
    "provider": "the payment provider is slow, or refuses calls, or loses answers",
    "trouble": "a service's table refuses the rows of one order in four",
    "poison": "records that nobody can handle, with keys of orders, on a topic of a service",
    "clock": "the wall clock of a worker's host jumps an hour, either way, and back",
    "unreadable": "a batch that nobody can decompress on a topic of a service, past which somebody lets its readers",
    "restore": "a service's database is put back to some seconds ago under its workers; then the newest is put back",
    "recreate": "at the end: an event topic is deleted and created again under running workers; then that is mended",
}
NEEDS_CONTROL = frozenset({"broker"})
NEEDS_CLUSTER = frozenset({"broker-roll", "brokers-away", "leaders", "reassign"})
"""Faults of a cluster of three brokers or more, all under control."""
NEEDS_PROXY = frozenset({"latency", "cut", "half-open", "end-txn"})
TO_BROKERS = NEEDS_CONTROL | NEEDS_CLUSTER
MISTAKES = frozenset({"restore", "recreate"})
"""After which all workers concerned have to refuse."""
OUTSIDE = frozenset({*TO_BROKERS, *NEEDS_PROXY, "database", "provider", "trouble", "poison", "unreadable", "clock"})
OUTSIDE |= MISTAKES
"""Faults of what the workers stand on, not of the workers."""
LAST = frozenset({"recreate"})
"""Faults that wait until all is quiet, because what a deleted topic held is gone."""
BACK_SECONDS = 30.0
"""So soon after a fault of the brokers everybody is to be back."""
ALONE = "alone"
"""How a fault of the brokers comes for which everything else waits, so that recovery from it alone is measured."""
ALONE_SECONDS = 45.0
"""The timeline keeps so much time for each of these, and at most half of itself for all."""

NUMBERS = (1, 2)
"""A service's workers in peace."""
EVER = (*NUMBERS, max(NUMBERS) + 1)
"""All that a service ever has."""
AFTERMATH_SECONDS = 10.0
"""So long after its end a fault of the broker, the network, a database or the provider may still be felt."""
JUMPS = {"ahead": 3600, "behind": -3600}
"""Seconds by which a clock is off."""
BEHAVIOURS = {"slow": "latency-ms=300", "failing": "failure-rate=0.3", "losing": "lose-reply-rate=0.3"}

HOW: Mapping[str, Iterable[str]] = {"provider": BEHAVIOURS, "clock": JUMPS}
SECONDS = {
    "kill": (0.1, 1),
    "half-open": (5, 15),
    "scale": (12, 16),
    "end-txn": (2, 4),
    "broker-roll": (0.1, 3),
    "brokers-away": (5, 15),
    "leaders": (0, 0),
    "reassign": (0, 0),
    "clock": (5, 15),
    "restore": (3, 10),
    "recreate": (0, 0),
}
"""How long a fault lasts, at least and at most; `broker-roll`: each broker's absence; `restore`: the backup's age."""


class PlannedFault(NamedTuple):
    """One fault: `at` seconds after the start, for so many `seconds`; `target` is a service or one of its workers."""

    at: float
    kind: str
    target: str
    seconds: float
    how: str = ""


def draw(
    seed: int, seconds: float, kinds: Iterable[str], session: float, every: float, *, brokers: int = 1
) -> list[PlannedFault]:
    """Return the faults of a run by time, on average one every so many seconds; equal arguments draw equal faults.

    Rounds of the same faults in ever new order, so that each worker and each broker is killed as often as the others;
    at least one round, however short the run is. Some faults of brokers, of each kind in turn, are to be alone.
    `session`: seconds until the group gives a silent worker up.
    """
    chance = Random(seed)
    one_round = [kind for kind in KINDS if kind in set(kinds)]
    each = {
        "kill": [f"{service}/{number}" for service in MODULES for number in NUMBERS],
        "broker": [f"broker/{number}" for number in range(1, brokers + 1)],
    }
    size = sum(len(each.get(kind, "1")) for kind in one_round)
    alone = int(seconds / 2 / ALONE_SECONDS) if TO_BROKERS.intersection(one_round) else 0
    rounds = max(1, round((seconds - alone * ALONE_SECONDS) / (every * size))) if size else 0
    drawn: list[PlannedFault] = []
    for _ in range(rounds):
        bag = list(_round(chance, one_round, each, session))
        chance.shuffle(bag)
        drawn += bag
    return list(_in_time(chance, _some_alone(drawn, alone), seconds))


def _some_alone(drawn: list[PlannedFault], most: int) -> list[PlannedFault]:
    """Let at most so many faults of the brokers be alone: first one of each kind, then a second one, and so on."""
    nth = Counter[str]()
    turns = []
    for index, fault in enumerate(drawn):
        if fault.kind in TO_BROKERS:
            nth[fault.kind] += 1
            turns.append((nth[fault.kind], index))
    chosen = {index for _, index in sorted(turns)[:most]}
    return [fault._replace(how=ALONE) if index in chosen else fault for index, fault in enumerate(drawn)]


def _in_time(chance: Random, drawn: list[PlannedFault], seconds: float) -> Iterator[PlannedFault]:
    alone = sum(fault.how == ALONE for fault in drawn)
    slot = (seconds - alone * ALONE_SECONDS) / max(1, len(drawn) - alone)
    begins = 0.0
    for fault in drawn:
        takes = ALONE_SECONDS if fault.how == ALONE else slot
        yield fault._replace(at=round(begins + (0 if fault.how == ALONE else slot * chance.random()), 2))
        begins += takes


def _round(chance: Random, kinds: list[str], each: Mapping[str, list[str]], session: float) -> Iterator[PlannedFault]:
    for kind in kinds:
        for target in each.get(kind) or [_target(chance, kind, each)]:
            how = chance.choice(sorted(HOW[kind])) if kind in HOW else ""
            yield PlannedFault(0, kind, target, round(_lasts(chance, kind, session), 2), how)


def _target(chance: Random, kind: str, each: Mapping[str, list[str]]) -> str:
    if kind in ("kill-long", "stop", "clock"):
        return chance.choice(each["kill"])
    if kind in ("term", "scale", "database", "trouble", "poison", "unreadable", "restore"):
        return chance.choice(sorted(MODULES))
    if kind == "recreate":
        return chance.choice(sorted(event.topic for event in EVENTS))
    return "payment-service" if kind == "provider" else "broker"


def _lasts(chance: Random, kind: str, session: float) -> float:
    if kind == "kill-long":
        return session + chance.uniform(8, 12)
    if kind == "stop":
        return session + chance.uniform(1, 6)
    return chance.uniform(*SECONDS.get(kind, (1, 8)))
