"""The batch of one engine iteration: decoded records, cut so that remote calls stay few and each key stays in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from eventbus.engine.assignment import Owned
from eventbus.engine.delivery import Delivery
from eventbus.log import Partition
from eventbus.store.blocked_keys import BlockedKey


@dataclass(slots=True)
class PartitionBatch:
    """The records of one partition in a batch; or the parked records of a blocked key that are retried."""

    owned: Owned
    items: list[Delivery]
    end: int
    """The position after the last item; for parked records, the partition's present checkpoint."""
    leader_epoch: int | None = None
    """A leader epoch in which the log reached `end`."""
    blocked: BlockedKey | None = None
    """The blocked key that the items are parked behind."""
    due: bool = False
    """The items are deadlines that are over, found by the owner of this partition."""

    @property
    def from_log(self) -> bool:
        """Whether the items are records of the partition, as they follow each other."""
        return self.blocked is None and not self.due

    def cut(self, at: int) -> None:
        """Keep only the items before index `at`."""
        if self.from_log:
            self.end, self.leader_epoch = self.items[at].record.offset, self.items[at].record.leader_epoch
        del self.items[at:]

    def restore(self, before: PartitionBatch) -> None:
        """Take back the items, and the end, that it had before it was cut."""
        self.items, self.end, self.leader_epoch = before.items, before.end, before.leader_epoch

    def stay(self) -> None:
        """End at the partition's present checkpoint: parked records do not move it."""
        checkpoint = self.owned.checkpoint
        self.end, self.leader_epoch = checkpoint.next_offset, checkpoint.leader_epoch

    def give_back(self, at: int) -> None:
        """Keep only the items before index `at`; return the others to the buffer for a later batch."""
        if at < len(self.items):
            for item in self.items[at:]:
                item.back_to_buffer()
            if self.from_log:
                self.owned.buffer[:0] = self.items[at:]
            self.cut(at)


def take(owned: Iterable[Owned], limit: int) -> list[PartitionBatch]:
    """Take buffered records in order; at most one remote call per key, whose later events wait.

    A part ends right after its last record, whose leader epoch is known; that of the markers after it is not.
    """
    parts: list[PartitionBatch] = []
    called: set[bytes | None] = set()
    for each in owned:
        if not each.buffer or limit <= 0:
            continue
        count = _allowed(each.buffer, called, limit)
        if count == 0:
            continue
        items, each.buffer = each.buffer[:count], each.buffer[count:]
        parts.append(PartitionBatch(each, items, items[-1].record.offset + 1, items[-1].record.leader_epoch))
        limit -= count
    return parts


def retry(owned: Owned, block: BlockedKey, items: list[Delivery]) -> PartitionBatch:
    """Take the parked records of one key, up to and including its first remote call; a deadline begins a new batch.

    What is before a deadline may clear it, and whether it is still over is read before the handlers are called.
    """
    count = _allowed(items, set(), len(items))
    count = next((index for index in range(1, count) if items[index].is_due), count)
    return PartitionBatch(owned, items[:count], owned.checkpoint.next_offset, owned.checkpoint.leader_epoch, block)


def _allowed(buffer: list[Delivery], called: set[bytes | None], limit: int) -> int:
    count = 0
    for item in buffer[:limit]:
        key = item.record.key
        if key in called:
            break
        if item.reaction is not None and item.reaction.remote is not None:
            called.add(key)
        count += 1
    return count


def handled_partitions(parts: Iterable[PartitionBatch]) -> set[Partition]:
    """Return what failures of these parts are counted by: the partitions of their records, or of their deadlines."""
    return {item.record.partition for part in parts if not part.from_log for item in part.items}


def keys(parts: Iterable[PartitionBatch]) -> Iterator[str]:
    """Return the key of every item that waits if its key is blocked."""
    return (key for part in parts for item in part.items if (key := item.key) is not None)
