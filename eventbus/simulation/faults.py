"""The faults of a simulation, and the plan of one run: drawn before it starts, so that it can be shortened."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from eventbus.simulation import clients
from eventbus.simulation.clocks import JUMPS
from eventbus.simulation.poison import BAD, MISPLACED
from eventbus.simulation.refusals import ALL_ORDERS, ONE_ORDER
from eventbus.simulation.surroundings import Trouble
from eventbus.simulation.troubles import HANDLER_RAISES, REFUSED, TABLE_REFUSES

_ABOUT_SO_OFTEN = {
    105: ("polled", "before snapshot"),
    45: ("accepted",),
    33: ("before transaction",),
    24: (
        *("before begin", "begun", "produced", "during offsets", "offsets sent"),
        *("before commit", "during commit", "ending", "ended", "committed", "published"),
    ),
    15: (
        *("before seek", "asking for cursors", "taken", "remote done", "compared", "before save", "after save"),
        *("before database commit", "during database commit", "after database commit"),
    ),
    8: ("assigned", "recovering", "claiming", "claimed", "recovered", "tidying", "tidied"),
    4: ("before remote", "remote under way", "calling", "called"),
    3: ("deadlines found",),
    2: ("revoked", "revoked and published", "parking", "parked", "retrying", "unparking", "unparked"),
    1: ("closing", "closing and published", "leaving", "left", "quarantined", "deadlines set again"),
}
STEPS = {step: count for count, steps in _ABOUT_SO_OFTEN.items() for step in steps}
"""Where a process can crash, stall, or see the group change: the failpoints of the engine, and of its shutdown.

The number is about how often a run of three sagas and two workers per service reaches the failpoint (measured).
"""
PARKING = ("parking", "parked", "retrying", "unparking", "unparked")
"""The failpoints that are reached only if a key is blocked."""
HANDLINGS = 30
"""About how often an event is handled or saved in such a run (measured)."""
REQUESTS = {"InitProducerId": 8, "Produce": 8, "TxnOffsetCommit": 24, "EndTxn": 24, "OffsetFetch": 15}
AMONG_THE_NEXT_RECORDS = "among the records of the next transaction"
WHOLE_PROCESS = "the whole process"
ITS_HEARTBEATS_GO_ON, ADD_A_WORKER = "except its heartbeats", "add a worker"
RUNNING, KILLED = "under running workers", "while they are killed"
GROUP_DELETED, OFFSETS_RESET = "the group is deleted", "the offsets are reset"
DATABASE = {"transaction": 33, "snapshot": 105}
BETWEEN_OWNERS = (
    *("recovering", "asking for cursors", "before snapshot", "before transaction", "claiming", "claimed"),
    *("before seek", "after database commit", "begun", "produced", "offsets sent", "before commit", "ending"),
    *("revoked", "polled"),
)
"""The failpoints where it matters most that another worker continues meanwhile."""


class Fault(NamedTuple):
    """One fault: it happens when `where` is reached for the `nth` time by any worker.

    `seconds` is how long it lasts: a stall, or the time until a killed worker is started again.
    """

    kind: str
    where: str
    nth: int
    detail: str = ""
    seconds: float = 0
    brought: bool = False
    """Another fault causes it: it cannot be left out separately."""

    def __str__(self) -> str:
        parts = [self.kind, self.detail, f"at {self.where} #{self.nth}"]
        return " ".join(part for part in parts if part) + (f" for {self.seconds:g} s" if self.seconds else "")


def _somewhere(draw: random.Random, places: Mapping[str, int]) -> tuple[str, int]:
    where = draw.choice(list(places))
    return where, draw.randint(1, places[where])


def _crash(draw: random.Random) -> Fault:
    return Fault("crash", *_somewhere(draw, STEPS), seconds=draw.choice((0.5, 3, 12, 30)))


def _stall(draw: random.Random) -> Fault:
    """The process stalls: all of it, or all but the client's own threads, which continue to send heartbeats."""
    detail = draw.choice((WHOLE_PROCESS, ITS_HEARTBEATS_GO_ON))
    return Fault("stall", *_somewhere(draw, STEPS), detail, draw.choice((0.5, 5, 11, 25)))


def _rebalance(draw: random.Random) -> Fault:
    return Fault("rebalance", *_somewhere(draw, STEPS), draw.choice((ADD_A_WORKER, "stop a worker")))


def _haste(draw: random.Random) -> Fault:
    """The group reassigns partitions before their owners have revoked them (measured, ADR 8).

    Soon after the first one, a worker stalls at `detail`, so that two owners run alternately.
    """
    return Fault("haste", "assignment", 1, draw.choice(BETWEEN_OWNERS), draw.choice((0.2, 1, 5)))


def _takeover(draw: random.Random) -> Fault:
    """A worker stalls past its session; the one that takes over dies at `detail`; the first claims its partitions."""
    step = draw.choice(("after database commit", "before begin", "offsets sent"))
    return Fault("takeover", *_somewhere(draw, STEPS), step, draw.choice((25, 40)))


def _network(draw: random.Random) -> Fault:
    what = draw.choice((clients.ClientFault.LOSE_REQUEST, clients.ClientFault.LOSE_ANSWER))
    return Fault("network", *_somewhere(draw, REQUESTS), what.value)


def _late_copy(draw: random.Random) -> Fault:
    """The client retries an end of transaction, and the first copy arrives later."""
    nth = draw.randint(1, REQUESTS["EndTxn"])
    if draw.random() < 0.5:  # noqa: PLR2004 - one in two
        return Fault("late copy", "EndTxn", nth, AMONG_THE_NEXT_RECORDS)
    return Fault("late copy", "EndTxn", nth, "after some time", draw.choice((0.001, 0.01, 0.05, 0.3)))


def _database(draw: random.Random) -> Fault:
    what = draw.choice((Trouble.REFUSED, Trouble.UNDONE))
    what = draw.choice((what, Trouble.UNKNOWN))
    where = draw.choice(("transaction", "transaction", "transaction", "snapshot"))
    return Fault("database", where, draw.randint(1, DATABASE[where]), what.value)


def _provider(draw: random.Random) -> Fault:
    what = draw.choice((Trouble.REFUSED, Trouble.UNKNOWN))
    return Fault("provider", "call", draw.randint(1, 4), what.value)


def _refusal(draw: random.Random) -> Fault:
    """The provider refuses one key, or all of them, for a while."""
    detail = draw.choice((ONE_ORDER, ONE_ORDER, ALL_ORDERS))
    return Fault("refusal", "asking", draw.randint(1, 4), detail, draw.choice((5, 90)))


def _slow_provider(draw: random.Random) -> Fault:
    return Fault("slow provider", "calls", draw.randint(1, 3), seconds=draw.choice((1, 4)))


def _registry(draw: random.Random) -> Fault:
    """The schema registry does not respond: a process that has not read an event of some schema yet must wait for it.

    It happens early, because later only restarted processes still need a schema.
    """
    where = draw.choice(list(STEPS))
    return Fault("registry", where, draw.randint(1, min(5, STEPS[where])), seconds=draw.choice((0.5, 3, 12)))


def _trouble(draw: random.Random) -> Fault:
    """For a while one service cannot handle one event of one key; it could handle the later events of the key."""
    detail = draw.choice((HANDLER_RAISES, TABLE_REFUSES))
    return Fault("trouble", "handling", draw.randint(1, HANDLINGS), detail, draw.choice((0.5, 3, 12)))


def _poison(draw: random.Random) -> Fault:
    """A record is written that cannot be handled; or a service rejects a good one, for a while, as if it were bad.

    After `seconds` the first operator redrives or discards dead letters. By then the key of the good one may be blocked
    by a later event, so that it is redriven to a blocked key.
    """
    seconds = draw.choice((0.1, 1, 5, 15))
    detail = draw.choice((REFUSED, REFUSED, *BAD, MISPLACED))
    if detail == REFUSED:
        return Fault("poison", "handling", draw.randint(1, HANDLINGS), detail, seconds)
    return Fault("poison", *_somewhere(draw, STEPS), detail, seconds)


def _unreadable(draw: random.Random) -> Fault:
    """A batch that cannot be decompressed; after `seconds` the first operator skips it, with an audit record."""
    return Fault("unreadable", *_somewhere(draw, STEPS), seconds=draw.choice((0.1, 1, 5, 15)))


def _clock(draw: random.Random) -> Fault:
    """The wall clock of a worker's host jumps an hour; after `seconds` it is corrected."""
    return Fault("clock", *_somewhere(draw, STEPS), draw.choice(list(JUMPS)), draw.choice((0.5, 3, 12)))


def _lost_cursors(draw: random.Random) -> Fault:
    """All workers of a service are killed, and its group is deleted or its offsets are reset before they restart."""
    detail = draw.choice((GROUP_DELETED, OFFSETS_RESET))
    return Fault("lost cursors", *_somewhere(draw, STEPS), detail, draw.choice((0.5, 12)))


KINDS = {
    "crash": _crash,
    "stall": _stall,
    "rebalance": _rebalance,
    "haste": _haste,
    "takeover": _takeover,
    "network": _network,
    "late copy": _late_copy,
    "database": _database,
    "provider": _provider,
    "slow provider": _slow_provider,
    "refusal": _refusal,
    "registry": _registry,
    "trouble": _trouble,
    "poison": _poison,
    "unreadable": _unreadable,
    "clock": _clock,
    "lost cursors": _lost_cursors,
}
"""Every kind of fault, and the function that draws one."""


def _recreated(draw: random.Random) -> Fault:
    """A topic is deleted and created again; it soon has more records than before."""
    return Fault("recreated", *_somewhere(draw, STEPS), seconds=draw.choice((0, 0, 3)))


def _truncated(draw: random.Random) -> Fault:
    """A partition loses its end, including handled records; it soon has more records than before."""
    return Fault("truncated", *_somewhere(draw, STEPS), seconds=draw.choice((0, 0, 3)))


def _old_database(draw: random.Random) -> Fault:
    """A copy of a service's database is made; `seconds` later it replaces the database."""
    detail = draw.choice((RUNNING, KILLED))
    return Fault("old database", *_somewhere(draw, STEPS), detail, draw.choice((0.05, 0.2, 1)))


DAMAGES = {"recreated": _recreated, "truncated": _truncated, "old database": _old_database}
"""After these a saga need not end: a worker that detects the damage must stop, and stop again when restarted."""
NEEDS_PEOPLE = frozenset({"poison", "unreadable"})
"""Those that last until an operator decides what to do."""


def plan(draw: random.Random, kinds: Sequence[str] = tuple(KINDS)) -> tuple[Fault, ...]:
    """Return the faults of one run: none to five, of these kinds."""
    if not kinds:
        return ()
    drawn = [(KINDS | DAMAGES)[draw.choice(kinds)](draw) for _ in range(draw.choice((0, 1, 2, 2, 3, 3, 4, 5)))]
    if any(fault.kind == "haste" for fault in drawn):
        # Partitions move only if a worker joins while there is work.
        drawn.append(Fault("rebalance", "polled", draw.randint(6, 65), ADD_A_WORKER))
    if any(fault.kind == "trouble" for fault in drawn):
        drawn += _beside_trouble(draw, kinds)
        if "clock" in kinds:
            drawn += [_clock_beside_trouble(draw)] * (draw.random() < 0.2)  # noqa: PLR2004 - one in five
    return tuple(drawn)


def _beside_trouble(draw: random.Random, kinds: Sequence[str]) -> list[Fault]:
    """Return another fault at a failpoint of blocked keys: a crash, or a stall during which more records arrive."""
    where, nth = draw.choice((*PARKING, "retrying", "retrying")), draw.randint(1, 2)
    crash = Fault("crash", where, nth, seconds=draw.choice((0.5, 12)))
    stall = Fault("stall", where, nth, draw.choice((WHOLE_PROCESS, ITS_HEARTBEATS_GO_ON)), draw.choice((0.5, 5)))
    possible = [fault for fault in (crash, stall) if fault.kind in kinds]
    return [draw.choice(possible)] if possible else []


def beside_deadlines(draw: random.Random, kinds: Sequence[str]) -> tuple[Fault, ...]:
    """Return one more fault, or none: while a worker fires deadlines."""
    where, nth, seconds = "deadlines found", draw.randint(1, 3), draw.choice((0.5, 5, 12, 25))
    possible = [
        Fault("crash", where, nth, seconds=seconds),
        Fault("stall", where, nth, WHOLE_PROCESS, seconds),
        Fault("stall", where, nth, ITS_HEARTBEATS_GO_ON, seconds),
        Fault("rebalance", where, nth, ADD_A_WORKER),
        Fault("clock", where, nth, draw.choice(list(JUMPS)), seconds),
    ]
    possible = [fault for fault in possible if fault.kind in kinds]
    return (draw.choice(possible),) if possible and draw.random() < 0.5 else ()  # noqa: PLR2004 - one run in two


def _clock_beside_trouble(draw: random.Random) -> Fault:
    """Return a wrong clock while a worker decides when a parked record is retried."""
    return Fault("clock", draw.choice(PARKING), 1, draw.choice(list(JUMPS)), draw.choice((0.5, 3, 12)))


class Planned:
    """The faults that are still to happen."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._at: dict[str, list[Fault]] = {}
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Plan one more."""
        self._at.setdefault(fault.where, []).append(fault)

    def due(self, where: str, nth: int) -> Fault | None:
        """Return the fault that happens when `where` is reached for the nth time, once."""
        for fault in self._at.get(where, ()):
            if fault.nth == nth:
                self._at[where].remove(fault)
                return fault
        return None
