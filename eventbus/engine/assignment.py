"""The partitions that are assigned to this worker: what is known of each, and when it is recovered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eventbus.engine.backoff import Backoff
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.delivery import Delivery
from eventbus.log import Identity, Partition
from eventbus.service import Service
from eventbus.store.progress import Checkpoint, OutboxEntry

NOTHING_YET = Checkpoint(0, 0, 0)
NOBODY = Identity("", "")


UNKNOWN = -1
"""Never a committed offset: the group's offset is not known, or must be committed again."""
READ_AHEAD_SECONDS = 1.0
"""The longest time that a partition is read ahead, see Assignment.recover_later."""


class SchemaWait(NamedTuple):
    """A partition is paused because the registry is unavailable and the schema of its next record is not known."""

    since: float
    """By the engine's clock."""
    times: int = 0
    """How often the registry was asked for the schema."""
    until: float | None = None
    """When the partition is resumed to ask again; None while it is being read."""
    leader_epoch: int | None = None
    """The leader epoch of the record."""
    reported: str = ""
    """The reason that was last reported."""


@dataclass(slots=True)
class Owned:
    """The in-memory state of an assigned partition; recovery can discard and rebuild all of it."""

    partition: Partition
    due: float
    """When to recover, by the engine's clock."""
    recovered: bool = False
    """Recovered: its outbox entries may be published."""
    consuming: bool = False
    """Consumed from its checkpoint: its records may be handled."""
    read_ahead: float = 0.0
    """How many seconds more are read after the next record before it is handled."""
    handled_from: float = 0.0
    """When that time is over, by the engine's clock."""
    failures: int = 0
    """Consecutive recoveries without a handled batch in between."""
    checkpoint: Checkpoint = NOTHING_YET
    identity: Identity = NOBODY
    """The cluster and the topic that its checkpoint belongs to."""
    leader_epoch: int | None = None
    """The partition's leader epoch at recovery, before the seek: everything read since existed in it or a later one."""
    reached: int = 0
    """The position up to which records were accepted into the buffer; the checkpoint follows it."""
    schema_wait: SchemaWait | None = None
    """Set while the record at `reached` cannot be decoded yet; buffered records are still handled."""
    buffer: list[Delivery] = field(default_factory=list)
    pending: list[OutboxEntry] = field(default_factory=list)
    """Committed in the database, not yet published."""
    committed: int = UNKNOWN
    """The group's committed offset; UNKNOWN unless it is known to have been committed from this state."""
    published: int = 0
    """Outbox entries up to this outbox_seq are published..."""
    deleted: int = 0
    """...and up to this one deleted."""
    database: str = ""
    """The id of the database that it was recovered from, for the progress topic."""

    def rewind(self) -> None:
        """Forget what is read and not decided: it is read again when the partition is next recovered."""
        self.buffer.clear()
        self.reached, self.schema_wait = self.checkpoint.next_offset, None

    def forget(self, due: float) -> None:
        """Discard everything and schedule a recovery."""
        self.recovered = self.consuming = False
        self.schema_wait = None
        self.buffer.clear()
        self.pending.clear()
        self.due = due


class Assignment:
    """Every assigned partition. It forgets what may be wrong, and schedules the recovery."""

    def __init__(self, deps: Dependencies, config: EngineConfig, service: Service[Any]) -> None:
        self._deps = deps
        self._root = Partition(service.subscriptions()[0], 0) if service.root_events() or service.deadlines else None
        self._backoff = Backoff(config.backoff, config.backoff_most, deps.random)
        self._owned: dict[Partition, Owned] = {}
        self._turns = 0
        self._losses = deps.database.losses

    def __iter__(self) -> Iterator[Owned]:
        return iter(self._owned.values())

    def __len__(self) -> int:
        return len(self._owned)

    def __getitem__(self, partition: Partition) -> Owned:
        return self._owned[partition]

    def get(self, partition: Partition) -> Owned | None:
        """Return what is known of a partition; None if it is not assigned."""
        return self._owned.get(partition)

    def has_root(self) -> bool:
        """Return whether the partition is assigned whose owner publishes the root events and fires the deadlines."""
        return self._root in self._owned

    def root(self) -> Owned | None:
        """Return that partition, if it is assigned and consumed."""
        owned = self._owned.get(self._root) if self._root is not None else None
        return owned if owned is not None and owned.consuming else None

    def add(self, partitions: Iterable[Partition]) -> None:
        """These partitions were assigned: they are to be recovered at once."""
        for partition in partitions:
            self._owned[partition] = Owned(partition, due=self._deps.clock())

    def remove(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Forget these partitions; return those of them that were assigned."""
        return [partition for partition in partitions if self._owned.pop(partition, None)]

    def is_consumed(self, owned: Owned) -> bool:
        """Return whether a partition is still assigned and consumed, since this was read of it."""
        return self._owned.get(owned.partition) is owned and owned.consuming

    def recovered(self) -> list[Owned]:
        """Return the partitions whose outbox entries may be published."""
        return [owned for owned in self if owned.recovered]

    def consumed(self) -> dict[Partition, Owned]:
        """Return the partitions whose records may be handled."""
        return {partition: owned for partition, owned in self._owned.items() if owned.consuming}

    def in_turn(self, limit: int) -> list[Owned]:
        """Return the partitions to take up to `limit` records from, each time another one first: none starves."""
        now = self._deps.clock()
        ready = [each for each in self if each.consuming and (each.handled_from <= now or len(each.buffer) >= limit)]
        self._turns += 1
        first = self._turns % len(ready) if ready else 0
        return ready[first:] + ready[:first]

    def pause(self, too_bad: Mapping[Partition, str]) -> None:
        """Pause partitions with too many bad records, and why; they are retried when they are next recovered."""
        for partition, why in too_bad.items():
            self._owned[partition].rewind()
            self._deps.log.pause([partition])
            self._deps.observer.paused(partition, "dead_letter_limit", why)

    def forget_all(self) -> None:
        """Publish nothing more, of any partition."""
        for owned in self:
            owned.forget(self._deps.clock())

    def recover_later(self, which: Iterable[Owned], why: str, *, read_ahead: bool = False, soon: bool = False) -> None:
        """Forget the in-memory state of these partitions and recover them, with exponential backoff.

        `soon`: after the first wait, however many failures there were. `read_ahead`: then read for as long again before
        handling the first record. Its call had no outcome and is compared with those of the records behind it, and the
        first poll after a seek may return it alone.

        After a lost database connection, of all partitions: the next connection may lead to an older copy.
        """
        if self._losses != self._deps.database.losses:
            self._losses, which = self._deps.database.losses, list(self)
        for owned in which:
            if self._owned.get(owned.partition) is not owned:
                continue
            owned.failures = 1 if soon else owned.failures + 1
            wait = self._backoff.seconds(owned.failures)
            owned.forget(self._deps.clock() + wait)
            owned.read_ahead, owned.handled_from = min(wait, READ_AHEAD_SECONDS) if read_ahead else 0.0, 0.0
            self._deps.log.pause([owned.partition])
            self._deps.observer.recovery_scheduled(owned.partition, why, retry_in=wait)
