"""What the engine reports about itself; other modules turn it into logs and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from eventbus.log import Partition, Record
from eventbus.serde.codec import PoisonRecord
from eventbus.store.blocked_keys import BlockedKey, ParkedCounts


@dataclass(slots=True)
class Parking:
    """The changes of one transaction to blocked keys."""

    blocked: list[BlockedKey] = field(default_factory=list)
    retried: list[BlockedKey] = field(default_factory=list)
    """Retried, and a handler raised again."""
    unblocked: list[BlockedKey] = field(default_factory=list)
    parked: int = 0
    """Records that were parked behind blocked keys..."""
    unparked: int = 0
    """...and that were removed from there."""


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
    example: str
    """The key of one of its records, or of an output that no record caused; empty if there is neither."""


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

    def parked(self, counts: ParkedCounts) -> None:
        """How many blocked keys this worker retries, and how many records are parked behind them."""

    def set_aside(self, parking: Parking) -> None:
        """Outputs that are too large for their topics were parked."""

    def alive(self) -> None:
        """The loop is alive and waits for remote calls."""

    def turned(self, *, ready: int, owned: int, pending: int) -> None:
        """One iteration of the loop has ended, with these numbers of consumed and owned partitions, pending outputs."""
