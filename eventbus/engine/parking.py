"""What one transaction does about keys in trouble: who is held back, and what becomes of the fences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from eventbus.database import LostRace, Transaction
from eventbus.engine.batch import Item, Part
from eventbus.event import Event
from eventbus.log import Partition
from eventbus.store import fence
from eventbus.store.fence import Fence, Parked

MOST_FENCES = 10_000
"""So many keys of a service may be in trouble at once: then the code is more likely wrong than they are."""

Address = tuple[Partition, int]
"""Partition and offset of a record."""


class TooManyParked(Exception):
    """Nothing more is parked: what a handler raises on waits in the log, with everything behind it, and is retried."""


class Retries(NamedTuple):
    """When a record that a handler raised on is tried again: later each time."""

    now_ms: Callable[[], int]
    """Milliseconds since 1970: what one worker writes, another one reads."""
    random: Callable[[], float]
    """0 to 1, for jitter."""
    first: float
    """Seconds."""
    most: float

    def at_ms(self, attempts: int) -> int:
        """Return when to try again after so many attempts."""
        wait = min(self.first * 2.0 ** min(attempts - 1, 30), self.most)
        return self.now_ms() + round(1_000 * wait * (0.5 + self.random() / 2))


@dataclass(slots=True)
class Held:
    """What a transaction does not handle."""

    records: set[Address] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    """The keys among them on which a handler raised just now, and what it said."""


@dataclass(slots=True)
class Parking:
    """What became of fences in one transaction."""

    raised: list[Fence] = field(default_factory=list)
    kept: list[Fence] = field(default_factory=list)
    """Tried again, and a handler raised again."""
    lifted: list[Fence] = field(default_factory=list)
    parked: int = 0
    """Records that were put behind fences..."""
    unparked: int = 0
    """...and that were taken away."""


def address(item: Item) -> Address:
    """Return where the record of an item lies."""
    return item.record.partition, item.record.offset


def check_unmoved(parts: Iterable[Part], standing: Mapping[str, Fence]) -> None:
    """Raise LostRace when somebody has taken records from a fence since they were read to be tried again."""
    for part in parts:
        if part.fence is not None and part.items:
            now = standing.get(part.fence.key)
            if now is None or now.moved_since(part.fence):
                raise LostRace(f"somebody else was at the parked records of {part.fence.key}")


def hold(parts: Iterable[Part], standing: Mapping[str, Fence], troubles: Mapping[Address, str]) -> Held:
    """Return what is not to be handled: what a handler raised on, and for the same key whatever follows."""
    held = Held()
    for part in parts:
        for item in part.items:
            if not isinstance(item.event, Event):
                continue
            key, where = item.event.key, address(item)
            behind = part.fence is None and key in standing
            if where in troubles and not behind:
                held.errors.setdefault(key, troubles[where])
            if behind or key in held.errors:
                held.records.add(where)
    return held


def settle(
    tx: Transaction, parts: Sequence[Part], fences: Mapping[str, Fence], held: Held, retries: Retries
) -> Parking:
    """Put what is held back behind fences, and take away from behind them what was handled."""
    done = Parking()
    after = dict(fences)
    appended: list[Parked] = []
    for part in parts:
        if not part.items:
            continue
        if part.fence is not None:
            known = after[part.fence.key]
            left = after[known.key] = _retried(part, known, held, retries)
            if left.first > known.first:
                fence.remove(tx, known.key, known.first, left.first - 1)
            done.unparked += left.first - known.first
            done.lifted += [] if left.records else [left]
            done.kept += [left] if known.key in held.errors else []
        elif held.records:
            appended += _parked(part, after, held, retries)
    fence.change(tx, fences, after)
    fence.append(tx, appended)
    done.raised = [new for key, new in after.items() if key not in fences]
    if done.raised and (standing := fence.count(tx)) > MOST_FENCES:
        raise TooManyParked(
            f"{done.raised[0].error}; it is not parked, because {standing - len(done.raised)} orders already are"
        )
    done.parked = len(appended)
    return done


def _parked(part: Part, fences: dict[str, Fence], held: Held, retries: Retries) -> Iterable[Parked]:
    for item in part.items:
        if address(item) not in held.records:
            continue
        assert isinstance(item.event, Event)
        key = item.event.key
        known = fences.get(key) or _raised(key, part, held.errors[key], retries)
        fences[key] = known._replace(last=known.last + 1)
        yield Parked(key, known.last + 1, item.record)


def _raised(key: str, part: Part, error: str, retries: Retries) -> Fence:
    owner = part.owned.partition
    return Fence(key, *owner, 1, 0, 1, retries.now_ms(), retries.at_ms(1), fence.shown(error))


def _retried(part: Part, known: Fence, held: Held, retries: Retries) -> Fence:
    """Return what is left of a fence: nothing, what waits for its turn, or what a handler raised on again."""
    handled = sum(address(item) not in held.records for item in part.items)
    left = known._replace(first=known.first + handled)
    error = held.errors.get(known.key)
    if error is None:
        return left._replace(attempts=0, retry_at_ms=fence.NOW_MS, error="")
    attempts = 1 if handled else known.attempts + 1
    return left._replace(attempts=attempts, retry_at_ms=retries.at_ms(attempts), error=fence.shown(error))
