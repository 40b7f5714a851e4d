"""Outputs that are too large for their topics: parked with their keys, so that all others are published.

Decided outputs are in the outbox, and the entries of a partition are published without gaps. So an output that the
broker rejects for its size is moved, in one transaction, from its entry to the parked records of its key: before those
parked already, and together with later outputs of the same key. It is in one place at any time, and is published once.
It is retried like every parked record, and published unchanged when the limit of its topic allows it.

This is done in recovery only: entries above the committed outbox_seq were certainly not published then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from eventbus.database import Database
from eventbus.engine.assignment import Owned
from eventbus.engine.decision import compare
from eventbus.engine.delivery import UNPUBLISHED
from eventbus.engine.observer import Parking
from eventbus.engine.parking import MAX_BLOCKED_KEYS, Retries, TooManyParked
from eventbus.log import Output, Oversized, Partition, Record, TooLarge
from eventbus.store import blocked_keys, progress
from eventbus.store.blocked_keys import BlockedKey, Parked
from eventbus.store.progress import OutboxEntry

LONGEST = 31
"""The number of attempts whose backoff is the longest: if a topic's limit is not known, the retry is a publish, and
each failure aborts the transaction of all outputs."""


_Plain = tuple[str, bytes | None, bytes | None]
"""What identifies an output when it is read again: topic, key and value."""


class _Moved(NamedTuple):
    """What is left of an entry, and the outputs that are moved out of it."""

    left: OutboxEntry
    taken: list[Output]


class Undelivered:
    """Tracks the outputs that the broker rejected, until their partitions are recovered."""

    def __init__(self, database: Database, retries: Retries) -> None:
        self._database, self._retries = database, retries
        self._refused: dict[_Plain, Oversized] = {}

    def note(self, refusal: TooLarge) -> None:
        """Record rejected outputs until their partitions are recovered."""
        self._refused |= {each.output[:3]: each for each in refusal.oversized}

    def set_aside(self, recovered: Sequence[Owned]) -> Parking:
        """Move rejected outputs, and later ones of the same key, from the pending entries to the parked records.

        Raises ConcurrentUpdate, Unavailable, ReadOnlyOrFull, Quarantined, TooManyParked; nothing was changed then,
        except that with Unavailable the outcome is unknown.
        """
        moved = {owned.partition: self._divided(owned.pending) for owned in recovered} if self._refused else {}
        moved = {partition: entries for partition, entries in moved.items() if any(each.taken for each in entries)}
        if not moved:
            return Parking()
        mine = {owned.partition: owned for owned in recovered if owned.partition in moved}
        with self._database.transaction() as tx:
            compare(tx, mine)
            keys = {output.key_text for entries in moved.values() for each in entries for output in each.taken}
            before = blocked_keys.blocking(tx, keys)
            after, parked = self._behind_blocked_keys(before, moved)
            progress.replace(tx, {p: [each.left for each in entries if each.taken] for p, entries in moved.items()})
            blocked_keys.change(tx, before, after)
            blocked_keys.append(tx, parked)
            if blocked_keys.count(tx) > MAX_BLOCKED_KEYS:
                key = parked[0].key
                raise TooManyParked(f"{key} is not parked, because {MAX_BLOCKED_KEYS} keys are blocked already")
        for partition, entries in moved.items():
            mine[partition].pending = [each.left for each in entries]
            for each in entries:
                for output in each.taken:
                    self._refused.pop(output[:3], None)
        return Parking(blocked=[new for key, new in after.items() if key not in before], parked=len(parked))

    def _divided(self, pending: Iterable[OutboxEntry]) -> list[_Moved]:
        divided, keys = [], set[bytes | None]()
        for entry in pending:
            moved = _Moved(entry._replace(outputs=[]), [])
            for output in entry.outputs:
                if output.key in keys or output[:3] in self._refused:
                    keys.add(output.key)
                    moved.taken.append(output)
                else:
                    moved.left.outputs.append(output)
            divided.append(moved)
        return divided

    def _behind_blocked_keys(
        self, before: Mapping[str, BlockedKey], moved: Mapping[Partition, list[_Moved]]
    ) -> tuple[dict[str, BlockedKey], list[Parked]]:
        after, parked = dict(before), list[Parked]()
        for partition, entries in sorted(moved.items()):
            for key, outputs in _by_key(output for each in entries for output in each.taken).items():
                oversized = next(found for output in outputs if (found := self._refused.get(output[:3])))
                known = after.get(key) or self._newly_blocked(key, partition, oversized)
                first = known.first - len(outputs)
                parked += (Parked(key, at, self._record(output, at)) for at, output in enumerate(outputs, first))
                after[key] = known._replace(first=first, error=blocked_keys.storable(str(oversized)))
        return after, parked

    def _newly_blocked(self, key: str, partition: Partition, oversized: Oversized) -> BlockedKey:
        """Return a blocked key without parked records yet."""
        at_ms = self._retries.at_ms(LONGEST if oversized.limit is None else 1)
        return BlockedKey(key, *partition, 1, 0, 1, self._retries.now_ms(), at_ms, "")

    def _record(self, output: Output, position: int) -> Record:
        topic, key, value, headers = output
        return Record(Partition(topic, UNPUBLISHED), position, key, value, self._retries.now_ms(), headers)


def _by_key(outputs: Iterable[Output]) -> dict[str, list[Output]]:
    found: dict[str, list[Output]] = {}
    for output in outputs:
        found.setdefault(output.key_text, []).append(output)
    return found
