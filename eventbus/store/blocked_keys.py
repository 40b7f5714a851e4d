"""Blocked keys and parked records: every SQL statement about them (the table of blocked keys is named `fence`).

A key is blocked when a handler raises on one of its records: its records are parked, in order, and retried from there.
A transaction that parks or removes records locks the key's row; rows are locked in key order, after the checkpoints and
before the service's own rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from eventbus.database import Row, Table, Transaction
from eventbus.log import Partition, Record
from eventbus.store.packing import pack_record, unpack_record
from eventbus.text.redaction import scrub

MAX_ERROR_CHARACTERS = 1_000
ALL_BYTES = 2**62
NOW_MS = 0
"""The retry time of records that are due at once: it is in the past by every clock."""


class BlockedKey(NamedTuple):
    """One blocked key."""

    key: str
    topic: str
    partition: int
    """Topic and number of the partition whose owner retries: that of the record on which a handler raised."""
    first: int
    """The number of the first parked record, on which the handler raises..."""
    last: int
    """...and of the last one; there are no gaps between them."""
    attempts: int
    """How often the first record was tried in a row."""
    since_ms: int
    retry_at_ms: int
    """Milliseconds since 1970."""
    error: str

    @property
    def records(self) -> int:
        """The number of its parked records."""
        return self.last - self.first + 1

    @property
    def owner(self) -> Partition:
        """The partition whose owner retries."""
        return Partition(self.topic, self.partition)

    def moved_since(self, read: BlockedKey) -> bool:
        """Return whether records were removed from it, not only appended, since it was read."""
        return (self.since_ms, self.first) != (read.since_ms, read.first)


class Parked(NamedTuple):
    """One record behind a blocked key."""

    key: str
    position: int
    record: Record


BLOCKED_KEYS = Table("fence", BlockedKey._fields)
COLUMNS = ", ".join(BLOCKED_KEYS.columns)


def blocking(tx: Transaction, keys: Iterable[str]) -> dict[str, BlockedKey]:
    """Return which of these keys are blocked, with their rows locked if the transaction writes.

    Mostly no key is blocked at all, and the keys are not looked up. A key that another worker blocks later need not be
    waited for: the order of its record and ours is not guaranteed, because they are on different topics.
    """
    if not tx.rows("select 1 from fence limit 1"):
        return {}
    return {row[0]: BlockedKey(*row) for row in tx.load(BLOCKED_KEYS, keys)}


def change(tx: Transaction, before: Mapping[str, BlockedKey], after: Mapping[str, BlockedKey]) -> None:
    """Write blocked keys.

    Insert new ones (ConcurrentUpdate if another worker has inserted them), delete those without parked records.
    """
    changed = sorted(block for block in after.values() if before.get(block.key) != block)
    tx.insert(BLOCKED_KEYS, [block for block in changed if block.key not in before])
    tx.update(BLOCKED_KEYS, [block for block in changed if block.key in before and block.records])
    tx.executemany("delete from fence where key = ?", [(block.key,) for block in changed if not block.records])


def append(tx: Transaction, parked: Iterable[Parked]) -> None:
    """Park these records behind blocked keys that this transaction has locked."""
    sql = "insert into parked (key, position, topic, partition, log_offset, timestamp_ms, record)"
    sql += " values (?, ?, ?, ?, ?, ?, ?)"
    tx.executemany(sql, [(each.key, each.position, *_row(each.record)) for each in parked])


def remove(tx: Transaction, key: str, first: int, last: int) -> None:
    """Delete the parked records with these numbers of a blocked key that this transaction has locked."""
    tx.execute("delete from parked where key = ? and position between ? and ?", key, first, last)


class Due(NamedTuple):
    """When a blocked key is due.

    Its retry time has passed, or is so far in the future that a wrong clock wrote it.
    """

    now_ms: int
    most_ms: int
    """The longest backoff of a retry."""

    def is_now(self, retry_at_ms: int) -> bool:
        """Return whether a blocked key with this time is due."""
        return retry_at_ms <= self.now_ms or retry_at_ms > self.now_ms + self.most_ms


def due(tx: Transaction, owners: Collection[Partition], when: Due, limit: int) -> list[BlockedKey]:
    """Return blocked keys that are due and that these partitions' owner retries, the most overdue first."""
    marks = ", ".join(["(?, ?)"] * len(owners))
    sql = f"select {COLUMNS} from fence where (topic, partition) in (values {marks})"
    sql += " and (retry_at_ms <= ? or retry_at_ms > ?) order by retry_at_ms, key limit ?"
    ours = (value for partition in sorted(owners) for value in partition)
    return [BlockedKey(*row) for row in tx.rows(sql, *ours, when.now_ms, when.now_ms + when.most_ms, limit)]


class ParkedCounts(NamedTuple):
    """How much is parked; `keys_by_topic`: the blocked keys by the topic of the record that is retried."""

    keys: int = 0
    records: int = 0
    keys_by_topic: tuple[tuple[str, int], ...] = ()


def counted(tx: Transaction, owners: Collection[Partition]) -> ParkedCounts:
    """Return what the owner of these partitions retries."""
    sql = (
        "select fence.topic, fence.partition, parked.topic, count(*), sum(fence.last - fence.first + 1) from fence"
        " join parked on parked.key = fence.key and parked.position = fence.first"
        " group by fence.topic, fence.partition, parked.topic"
    )
    ours = [row[2:] for row in tx.rows(sql) if row[:2] in owners]
    by_topic: Counter[str] = Counter()
    for topic, keys, _ in ours:
        by_topic[topic] += keys
    return ParkedCounts(by_topic.total(), sum(int(records) for *_, records in ours), tuple(sorted(by_topic.items())))


def waiting(tx: Transaction, topic: str) -> list[BlockedKey]:
    """Return the blocked keys of which a record of this topic is parked, in key order."""
    parked = "exists (select 1 from parked where parked.key = fence.key and parked.topic = ?)"
    return [BlockedKey(*row) for row in tx.rows(f"select {COLUMNS} from fence where {parked} order by key", topic)]


def count(tx: Transaction) -> int:
    """Return how many keys of the service are blocked."""
    return int(tx.rows("select count(*) from fence")[0][0])


def records(tx: Transaction, block: BlockedKey, limit: int, limit_bytes: int = ALL_BYTES) -> list[Parked]:
    """Return the first parked records of a key, in order; no further one once `limit_bytes` are reached."""
    columns = "position, topic, partition, log_offset, timestamp_ms, record"
    summed = f"select {columns}, sum(length(record)) over (order by position) - length(record) as before_it from parked"
    sql = f"{summed} where key = ? and position >= ? and position < ?"
    sql = f"select {columns} from ({sql}) as summed where before_it < ? order by position"
    rows = tx.rows(sql, block.key, block.first, block.first + limit, limit_bytes)
    return [Parked(block.key, row[0], _record(*row[1:])) for row in rows]


def storable(error: str) -> str:
    """Return a message as a database can store it: not too long, without secrets, valid Unicode without NUL."""
    return scrub(error)[:MAX_ERROR_CHARACTERS].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def pack(record: Record) -> bytes:
    """Return key, value and headers as one blob."""
    return pack_record(record.key, record.value, record.headers)


def _row(record: Record) -> Row:
    return (*record.partition, record.offset, record.timestamp_ms, pack(record))


def _record(topic: str, partition: int, offset: int, timestamp_ms: int, blob: bytes) -> Record:
    key, value, headers = unpack_record(blob)
    return Record(Partition(topic, partition), offset, key, value, timestamp_ms, headers)  # type: ignore[arg-type]
