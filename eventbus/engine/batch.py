"""The batch of one engine iteration: decoded records, cut so that remote calls stay few and each key stays in order."""

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
    """A record with its decoded event, or with the reason why it could not be decoded."""

    record: Record
    event: Event | PoisonRecord


UNPUBLISHED = -1
"""The partition number of a parked output: it is not published yet, so it has no partition."""


class Unpublished(Event, frozen=True):
    """An output that was too large for its topic: it is published as it is, without calling a handler."""

    output: Output
    limit: Limit | None = None
    """The limit of its topic; None if it is not known."""

    @property
    def key(self) -> str:
        """See Event."""
        return self.output.key_text

    def unless_too_large(self) -> Output:
        """Return the output. Raises TooLarge if it still exceeds the limit of its topic."""
        if self.limit is not None and not self.limit.takes(self.output):
            raise TooLarge([Oversized(self.output, self.limit)])
        return self.output


def decode(codec: Codec, record: Record, topics: Collection[str]) -> Delivery | None:
    """Decode one record; poison is a result, not an exception. Raises RegistryUnavailable.

    A redrive is decoded as its original record, whose topic must be one of `topics`; a resolution without an original
    gives None. Poison is copied: the traceback of the raised exception would keep every record decoded so far alive.
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
"""Never a committed offset: the group's offset is not known, or must be committed again."""


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

    def forget(self, due: float) -> None:
        """Discard everything and schedule a recovery."""
        self.recovered = self.consuming = False
        self.schema_wait = None
        self.buffer.clear()
        self.pending.clear()
        self.due = due


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

    def cut(self, at: int) -> None:
        """Keep only the items before index `at`."""
        if self.blocked is None:
            self.end, self.leader_epoch = self.items[at].record.offset, self.items[at].record.leader_epoch
        del self.items[at:]

    def stay(self) -> None:
        """End at the partition's present checkpoint: parked records do not move it."""
        checkpoint = self.owned.checkpoint
        self.end, self.leader_epoch = checkpoint.next_offset, checkpoint.leader_epoch

    def give_back(self, at: int) -> None:
        """Keep only the items before index `at`; return the others to the buffer for a later batch."""
        if at < len(self.items):
            if self.blocked is None:
                self.owned.buffer[:0] = self.items[at:]
            self.cut(at)


def take(owned: Iterable[Owned], reactions: dict[type[Event], Reaction], limit: int) -> list[PartitionBatch]:
    """Take buffered records in order; at most one remote call per key, whose later events wait.

    A part ends right after its last record, whose leader epoch is known; that of the markers after it is not.
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
    """Take the parked records of one key, up to and including its first remote call."""
    count = _allowed(items, reactions, set(), len(items))
    return PartitionBatch(owned, items[:count], owned.checkpoint.next_offset, owned.checkpoint.leader_epoch, block)


def _allowed(
    buffer: list[Delivery], reactions: dict[type[Event], Reaction], called: set[bytes | None], limit: int
) -> int:
    count = 0
    for record, event in buffer[:limit]:
        if record.key in called:
            break
        if _needs_remote_call(reactions, event):
            called.add(record.key)
        count += 1
    return count


def _needs_remote_call(reactions: dict[type[Event], Reaction], event: Event | PoisonRecord) -> bool:
    """Return whether the event's handler needs a remote call."""
    return not isinstance(event, PoisonRecord | Unpublished) and reactions[type(event)].remote is not None


def events(parts: Iterable[PartitionBatch]) -> Iterator[Event]:
    """Return every event of a batch, without the poison."""
    return (item.event for part in parts for item in part.items if not isinstance(item.event, PoisonRecord))
