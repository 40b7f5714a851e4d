"""Deadlines that are over: who looks for them, when, and that each is fired once.

The owner of the root partition fires them: the assignment is the lock, the checkpoint, compared in the transaction, the
fence. They are found without locks and read again in the transaction, so that one that was cleared or moved meanwhile
is not fired. The handler must clear or move it in the same transaction; so it is fired once.

Whether a deadline is over is decided by the wall clock, which may be wrong. A deadline that was set in the future was
set by a clock that was ahead, or this one is behind: it is set again, from now and with its own length.
"""

from __future__ import annotations

from eventbus.engine.assignment import Owned
from eventbus.engine.batch import PartitionBatch
from eventbus.engine.context import EngineContext
from eventbus.engine.decision import compare
from eventbus.engine.delivery import Delivery, decode
from eventbus.engine.parking import MAX_BLOCKED_KEYS
from eventbus.event.overdue import check_clock
from eventbus.log import Partition, Record
from eventbus.service import Deadline, deadline_reactions
from eventbus.store import blocked_keys, deadlines
from eventbus.store.progress import DatabaseView

CLOCKS_DIFFER_MS = 1_000
"""How much the clocks of two hosts may differ before a deadline counts as set by a wrong one."""


class Deadlines:
    """Finds the deadlines that are over, if this worker owns the root partition."""

    def __init__(self, context: EngineContext) -> None:
        service, self._deps, self._config, self._assignment, _ = context
        self._declared = service.deadlines
        self._reactions = deadline_reactions(service.deadlines)
        self._first_ms: int | None = None
        """When the first one is over, as far as is known."""
        self._full_until = 0.0
        """Until then nothing is fired, because too many keys are blocked."""

    def seconds(self) -> float:
        """Return in how many seconds the first one is over; a second if it is not known."""
        if self._first_ms is None or self._assignment.root() is None:
            return 1.0
        return max(0.0, (self._first_ms - self._deps.now_ms()) / 1_000)

    def look_now(self, looked_at: float) -> bool:
        """Return whether one is over, or another process may have set one that is over sooner."""
        if not self._declared or self._assignment.root() is None:
            return False
        return self.seconds() == 0 or self._deps.clock() - looked_at > self._config.deadline_check_after

    def found(self, seen: DatabaseView) -> list[PartitionBatch]:
        """Return the deadlines that are over. Those that a wrong clock has set are set again.

        Raises WrongClock if this host's certainly is: it would set all again, and fire all when it is corrected.
        """
        self._first_ms = min((first for first, _ in seen.deadlines if first is not None), default=None)
        root = self._assignment.root()
        if root is None or not self._declared:
            return []
        now_ms = self._deps.now_ms()
        check_clock(now_ms)
        for each, (_, last_set) in zip(self._declared.values(), seen.deadlines, strict=True):
            if last_set is not None and last_set > now_ms + CLOCKS_DIFFER_MS:
                self._set_again(each, root, now_ms)
        if self._first_ms is None or self._first_ms > now_ms:
            return []
        if not (room := self._room()):
            self._first_ms = None
            return []
        part = PartitionBatch(root, self._due(now_ms, room), 0, due=True)
        self._deps.failpoint("deadlines found")
        part.stay()
        return [part] if part.items else []

    def _room(self) -> int:
        """Return how many may be fired at once: no more than could be parked, or root events would wait for them."""
        if self._deps.clock() < self._full_until:
            return 0
        with self._deps.database.snapshot() as tx:
            blocked = blocked_keys.count(tx)
        if blocked >= MAX_BLOCKED_KEYS:
            wait = self._config.backoff_most
            self._full_until = self._deps.clock() + wait
            why = f"no deadline is fired, because {blocked} keys are blocked already"
            self._deps.observer.recovery_scheduled(Partition("*", -1), why, retry_in=wait)
        return min(self._config.batch, max(0, MAX_BLOCKED_KEYS - blocked))

    def _due(self, now_ms: int, room: int) -> list[Delivery]:
        """Return those that are over, one of each key: the handler of one may clear another."""
        found: dict[str, Delivery] = {}
        with self._deps.database.snapshot() as tx:
            for each in self._declared.values():
                for key, at in deadlines.due(tx, each.column, now_ms, room - len(found)):
                    record = Record(Partition(each.column.name, deadlines.DUE), at, key.encode(), None, now_ms, [])
                    item = decode(self._deps.codec, record, self._reactions)
                    if item is not None:
                        found.setdefault(key, item)
        return list(found.values())

    def _set_again(self, declared: Deadline, root: Owned, now_ms: int) -> None:
        """Set the deadlines of the future again. Raises ConcurrentUpdate, Unavailable, ReadOnlyOrFull."""
        column, until = declared.column, now_ms + CLOCKS_DIFFER_MS
        with self._deps.database.transaction() as tx:
            compare(tx, {root.partition: root})
            rows = deadlines.load(tx, column, deadlines.set_after(tx, column, until, self._config.batch))
            wrong = {
                key: (key, now_ms + at - set_at, now_ms)
                for key, at, set_at in rows.values()
                if _is_after(set_at, until)
            }
            deadlines.write(tx, column, wrong)
            self._deps.failpoint("deadlines set again")
        if len(rows) == self._config.batch:
            self._first_ms = now_ms


def _is_after(set_at: int | None, until: int) -> bool:
    return set_at is not None and set_at > until
