"""What the engine reports about itself; other modules turn it into logs and metrics."""

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
    """Records by topic, including poison and parked records."""
    published: dict[str, int]
    """Outputs by topic, including dead letters."""
    dead: list[tuple[Record, PoisonRecord]]
    """The dead-lettered records, and why."""
    oldest_ms: int | None
    """The earliest timestamp of a record in it."""
    seconds: float
    parking: Parking
    """The changes to blocked keys."""


def handled(parts: Sequence[PartitionBatch], decided: Decided, seconds: float) -> Handled:
    """Summarize a batch: per batch, not per event, because a log line per event costs more than the database."""
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
    """Receives every report and does nothing; subclasses log and count."""

    def batch_handled(self, batch: Handled) -> None:
        """A batch was committed in the database."""

    def transaction(self, outcome: str, outputs: int, seconds: float) -> None:
        """Outputs and offsets were written: `outcome` is `committed` or `unknown`."""

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Partitions were assigned to this worker."""

    def released(self, partitions: Iterable[Partition], *, lost: bool) -> None:
        """Partitions were revoked from this worker, or lost."""

    def recovered(self, partition: Partition, *, entries: int, next_offset: int) -> None:
        """A partition was recovered; `entries` outbox entries are still to be published."""

    def paused(self, partition: Partition, reason: str, why: str) -> None:
        """A partition is paused until it is recovered; `reason` is a label for metrics."""

    def resumed(self, partition: Partition) -> None:
        """A paused partition is resumed without a recovery."""

    def recovery_scheduled(self, partition: Partition, why: str, *, retry_in: float) -> None:
        """A partition will be recovered in `retry_in` seconds."""

    def parked(self, keys: int, records: int) -> None:
        """The number of blocked keys that this worker retries, and of the records parked behind them."""

    def set_aside(self, parking: Parking) -> None:
        """Outputs that are too large for their topics were parked."""

    def alive(self) -> None:
        """The loop is alive and waits for remote calls."""

    def turned(self, *, ready: int, owned: int, pending: int) -> None:
        """One iteration of the loop has ended, with these numbers of consumed and owned partitions, pending outputs."""
