"""What the engine tells the outside about itself; logs and metrics are made of it elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eventbus.engine.batch import PartitionBatch
from eventbus.engine.decision import Decided
from eventbus.engine.parking import Parking
from eventbus.log import Partition, Record
from eventbus.serde.codec import PoisonRecord


class Handled(NamedTuple):
    """One batch, committed in the database."""

    consumed: dict[str, int]
    """Records by topic, poison and what is parked included."""
    published: dict[str, int]
    """Outputs by topic, dead letters included."""
    dead: list[tuple[Record, PoisonRecord]]
    """What was dead-lettered, and why."""
    oldest_ms: int | None
    """The earliest timestamp of a record in it."""
    seconds: float
    parking: Parking
    """What became of keys in trouble."""


def handled(parts: Sequence[PartitionBatch], decided: Decided, seconds: float) -> Handled:
    """Sum a batch up: work a batch, not an event, because a log line an event costs more than the database."""
    consumed: Counter[str] = Counter()
    published: Counter[str] = Counter()
    fresh = [part for part in parts if part.items and part.blocked is None]
    for part in fresh:
        consumed[part.owned.partition.topic] += len(part.items)
    for entry in decided.entries.values():
        published.update(output.topic for output in entry.outputs)
    oldest = min((part.items[0].record.timestamp_ms for part in fresh), default=None)
    dead = [(record, poison) for bad in decided.dead.values() for _, record, poison in bad]
    return Handled(dict(consumed), dict(published), dead, oldest, seconds, decided.parking)


class Observer:
    """Hears everything and does nothing; subclasses log and count."""

    def batch_handled(self, batch: Handled) -> None:
        """A batch was committed in the database."""

    def transaction(self, outcome: str, outputs: int, seconds: float) -> None:
        """Outputs and cursors were written: `committed` or `unknown`."""

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Partitions became ours."""

    def released(self, partitions: Iterable[Partition], *, lost: bool) -> None:
        """Partitions are no longer ours."""

    def recovered(self, partition: Partition, *, entries: int, next_offset: int) -> None:
        """A partition was recovered; so many entries had still to be published."""

    def paused(self, partition: Partition, reason: str, why: str) -> None:
        """Nothing more of a partition is read until it is recovered; `reason` is a word for counting."""

    def resumed(self, partition: Partition) -> None:
        """A partition that was paused is read on, without a recovery."""

    def recovery_scheduled(self, partition: Partition, why: str, *, retry_in: float) -> None:
        """A partition will be recovered, after so many seconds."""

    def parked(self, keys: int, records: int) -> None:
        """So many keys are in trouble that this worker tries again, and so many records of theirs are parked."""

    def set_aside(self, parking: Parking) -> None:
        """Outputs that are too large for their topics were parked with their orders."""

    def alive(self) -> None:
        """The loop waits for remote calls, and lives."""

    def turned(self, *, ready: int, owned: int, pending: int) -> None:
        """The loop has turned once; so many partitions are read, owned, and outputs pending."""
