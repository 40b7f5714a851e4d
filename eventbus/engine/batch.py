"""What a turn of the engine handles: decoded records, cut so that remote calls stay few and orders stay in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eventbus.deadletters.resolutions import original_record
from eventbus.event import Event
from eventbus.log import RESOLUTIONS, Identity, Limit, Output, Oversized, Partition, Record, TooLarge
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Reaction
from eventbus.store.blocked_keys import BlockedKey
from eventbus.store.progress import Checkpoint, OutboxEntry

NOTHING_YET = Checkpoint(0, 0, 0)
NOBODY = Identity("", "")


class Delivery(NamedTuple):
    """A record with what it means: an event, or why it is none."""

    record: Record
    event: Event | PoisonRecord


UNPUBLISHED = -1
"""The partition of a parked record that is an output: it is not published yet, and lies nowhere."""


@dataclass(frozen=True, slots=True)
class Unpublished(Event):
    """An output that its topic did not take: no handler is asked about it, it is published as it is."""

    output: Output
    limit: Limit | None = None
    """Of its topic, as far as that is known."""

    @property
    def key(self) -> str:
        """See Event."""
        return self.output.key_text

    def unless_too_large(self) -> Output:
        """Return the output. Raises TooLarge where its topic certainly does not take it yet."""
        if self.limit is not None and not self.limit.takes(self.output):
            raise TooLarge([Oversized(self.output, self.limit)])
        return self.output


def decode(codec: Codec, record: Record, topics: Collection[str]) -> Delivery | None:
    """Decode one record; poison is a result, not an exception. Raises RegistryUnavailable.

    A redrive is decoded as what it brings back, which must be of these `topics`; None for a resolution without one.
    Poison is kept as a copy: what was raised leads, through its tracebacks, to everything that was decoded by then.
    """
    topic = record.partition.topic
    if record.partition.number == UNPUBLISHED:
        return Delivery(record, Unpublished(Output(topic, record.key, record.value, record.headers)))
    try:
        headers = record.headers
        if topic.endswith(RESOLUTIONS):
            original = original_record(record, topics)
            if original is None:
                return None
            topic, headers = original.partition.topic, original.headers
        return Delivery(record, codec.decode(topic, record.key, record.value, headers))
    except PoisonRecord as poison:
        return Delivery(record, PoisonRecord(poison.reason, str(poison)))


UNKNOWN = -1
"""An offset that no cursor has: the group's is not known, or is to be written again."""


class SchemaWait(NamedTuple):
    """Why a partition is not read on: the schema of its next record is not known, because the registry is away."""

    since: float
    """By the engine's clock."""
    times: int = 0
    """So often the registry was asked about it."""
    until: float | None = None
    """When it is read on, to ask again; None while it is."""
    leader_epoch: int | None = None
    """Of the record."""
    told: str = ""
    """What was said about it."""


@dataclass(slots=True)
class Owned:
    """What memory holds of a partition that is ours; all of it can be forgotten and read again (recovery)."""

    partition: Partition
    due: float
    """When to recover, by the engine's clock."""
    recovered: bool = False
    """Recovered: its entries may be published."""
    consuming: bool = False
    """Read from its checkpoint on: its records may be handled."""
    failures: int = 0
    """Recoveries in a row without anything handled since."""
    checkpoint: Checkpoint = NOTHING_YET
    identity: Identity = NOBODY
    """Of the cluster and the topic that its checkpoint belongs to."""
    leader_epoch: int | None = None
    """Of the partition when it was recovered, before the seek: what was read since was there in it or later."""
    reached: int = 0
    """The log position up to which records were taken in; the checkpoint follows."""
    schema_wait: SchemaWait | None = None
    """Set where what comes next, at `reached`, cannot be decoded yet; what is buffered goes on."""
    buffer: list[Delivery] = field(default_factory=list)
    pending: list[OutboxEntry] = field(default_factory=list)
    """Committed in the database, not yet published."""
    committed: int = UNKNOWN
    """The offset of the group's cursor, as far as we know it to be ours."""
    published: int = 0
    """Entries up to here are published..."""
    deleted: int = 0
    """...and up to here deleted."""
    database: str = ""
    """The id of the database that it was recovered from, for the topic of progress."""

    def forget(self, due: float) -> None:
        """Drop everything and ask for recovery."""
        self.recovered = self.consuming = False
        self.schema_wait = None
        self.buffer.clear()
        self.pending.clear()
        self.due = due


@dataclass(slots=True)
class PartitionBatch:
    """The share of one partition in a batch; or, of a key in trouble, the parked records that are tried again."""

    owned: Owned
    items: list[Delivery]
    end: int
    """The log position after the last item; of parked records, where the partition stands anyway."""
    leader_epoch: int | None = None
    """One in which the log reached `end`."""
    blocked: BlockedKey | None = None
    """What the items are parked behind."""

    def cut(self, at: int) -> None:
        """Keep only the items before index `at`."""
        if self.blocked is None:
            self.end, self.leader_epoch = self.items[at].record.offset, self.items[at].record.leader_epoch
        del self.items[at:]

    def stay(self) -> None:
        """End where the partition stands now: what is parked moves no checkpoint."""
        checkpoint = self.owned.checkpoint
        self.end, self.leader_epoch = checkpoint.next_offset, checkpoint.leader_epoch

    def give_back(self, at: int) -> None:
        """Keep only the items before index `at`; the others come in a later batch."""
        if at < len(self.items):
            if self.blocked is None:
                self.owned.buffer[:0] = self.items[at:]
            self.cut(at)


def take(owned: Iterable[Owned], reactions: dict[type[Event], Reaction], limit: int) -> list[PartitionBatch]:
    """Take what is buffered, in order; at most one remote call for one key, whose later events wait.

    A part ends right behind its last record, whose leader epoch is known; of markers behind it that is not said.
    """
    parts: list[PartitionBatch] = []
    called: set[bytes | None] = set()
    for each in owned:
        if not each.buffer or limit <= 0:
            continue
        count = _allowed(each.buffer, reactions, called, limit)
        if count == 0:
            continue
        items, each.buffer = each.buffer[:count], each.buffer[count:]
        parts.append(PartitionBatch(each, items, items[-1].record.offset + 1, items[-1].record.leader_epoch))
        limit -= count
    return parts


def retry(
    owned: Owned, block: BlockedKey, items: list[Delivery], reactions: dict[type[Event], Reaction]
) -> PartitionBatch:
    """Take parked records of one key, up to the first remote call."""
    count = _allowed(items, reactions, set(), len(items))
    return PartitionBatch(owned, items[:count], owned.checkpoint.next_offset, owned.checkpoint.leader_epoch, block)


def _allowed(
    buffer: list[Delivery], reactions: dict[type[Event], Reaction], called: set[bytes | None], limit: int
) -> int:
    count = 0
    for record, event in buffer[:limit]:
        if record.key in called:
            break
        if _asks(reactions, event):
            called.add(record.key)
        count += 1
    return count


def _asks(reactions: dict[type[Event], Reaction], event: Event | PoisonRecord) -> bool:
    """Return whether somebody is to be asked about it."""
    return not isinstance(event, PoisonRecord | Unpublished) and reactions[type(event)].remote is not None


def events(parts: Iterable[PartitionBatch]) -> Iterator[Event]:
    """Return every event of a batch, without the poison."""
    return (item.event for part in parts for item in part.items if not isinstance(item.event, PoisonRecord))
