"""Fences and parked records: every SQL statement about keys in trouble.

A blocked key stands before a key that a handler raised on: its records are parked behind it, in order, and retried from
there. Whoever appends to it or takes from it holds its row; rows are locked in key order, after the checkpoints and
before anything of the service's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgpack

from eventbus.database import Row, Table, Transaction
from eventbus.log import Partition, Record
from eventbus.text.redaction import scrub

MAX_ERROR_CHARACTERS = 1_000
ALL_BYTES = 2**62
NOW_MS = 0
"""When to retry what is to be retried at once: it has come by every clock."""


class BlockedKey(NamedTuple):
    """One key in trouble."""

    key: str
    topic: str
    partition: int
    """Topic and number of the partition whose owner retries: that of the record on which it was raised."""
    first: int
    """The position of the first parked record, on which the handler raises..."""
    last: int
    """...and of the last one; there is none missing between them."""
    attempts: int
    """How often in a row the first record was tried."""
    since_ms: int
    retry_at_ms: int
    """Milliseconds since 1970."""
    error: str

    @property
    def records(self) -> int:
        """How many records are parked behind it."""
        return self.last - self.first + 1

    @property
    def owner(self) -> Partition:
        """The partition whose owner retries."""
        return Partition(self.topic, self.partition)

    def moved_since(self, read: BlockedKey) -> bool:
        """Return whether records were taken from it, not only appended, since it was read."""
        return (self.since_ms, self.first) != (read.since_ms, read.first)


class Parked(NamedTuple):
    """One record behind a blocked key."""

    key: str
    position: int
    record: Record


BLOCKED_KEYS = Table("fence", BlockedKey._fields)
COLUMNS = ", ".join(BLOCKED_KEYS.columns)


def blocking(tx: Transaction, keys: Iterable[str]) -> dict[str, BlockedKey]:
    """Return the blocked keys before these keys, locked where the transaction writes.

    Mostly none stands at all, and the keys are not even looked at. One that another worker raises from now on is
    nothing to wait for: no order is promised between its record and ours, which lies on another topic.
    """
    if not tx.rows("select 1 from fence limit 1"):
        return {}
    return {row[0]: BlockedKey(*row) for row in tx.load(BLOCKED_KEYS, keys)}


def change(tx: Transaction, before: Mapping[str, BlockedKey], after: Mapping[str, BlockedKey]) -> None:
    """Write blocked keys.

    Insert what was not there (ConcurrentUpdate when it is by now), delete what has nothing behind it.
    """
    changed = sorted(block for block in after.values() if before.get(block.key) != block)
    tx.insert(BLOCKED_KEYS, [block for block in changed if block.key not in before])
    tx.update(BLOCKED_KEYS, [block for block in changed if block.key in before and block.records])
    tx.executemany("delete from fence where key = ?", [(block.key,) for block in changed if not block.records])


def append(tx: Transaction, parked: Iterable[Parked]) -> None:
    """Keep these records behind blocked keys that this transaction holds."""
    sql = "insert into parked (key, position, topic, partition, log_offset, timestamp_ms, record)"
    sql += " values (?, ?, ?, ?, ?, ?, ?)"
    tx.executemany(sql, [(each.key, each.position, *_row(each.record)) for each in parked])


def remove(tx: Transaction, key: str, first: int, last: int) -> None:
    """Take the records at these positions away from a blocked key that this transaction holds."""
    tx.execute("delete from parked where key = ? and position between ? and ?", key, first, last)


class Due(NamedTuple):
    """When a blocked key is due.

    Its time has come, or is so far ahead that it was written by a clock that was wrong.
    """

    now_ms: int
    most_ms: int
    """No retry is ever put off for longer."""

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


def counted(tx: Transaction, owners: Collection[Partition]) -> tuple[int, int]:
    """Return how many keys, and how many records, wait for these partitions' owner."""
    sql = "select topic, partition, count(*), sum(last - first + 1) from fence group by topic, partition"
    ours = [(keys, int(records)) for topic, number, keys, records in tx.rows(sql) if (topic, number) in owners]
    return sum(keys for keys, _ in ours), sum(records for _, records in ours)


def count(tx: Transaction) -> int:
    """Return how many keys of the service are in trouble."""
    return int(tx.rows("select count(*) from fence")[0][0])


def records(tx: Transaction, block: BlockedKey, limit: int, limit_bytes: int = ALL_BYTES) -> list[Parked]:
    """Return the first records behind a blocked key, in order; no further one once `limit_bytes` are reached."""
    columns = "position, topic, partition, log_offset, timestamp_ms, record"
    summed = f"select {columns}, sum(length(record)) over (order by position) - length(record) as before_it from parked"
    sql = f"{summed} where key = ? and position >= ? and position < ?"
    sql = f"select {columns} from ({sql}) as summed where before_it < ? order by position"
    rows = tx.rows(sql, block.key, block.first, block.first + limit, limit_bytes)
    return [Parked(block.key, row[0], _record(*row[1:])) for row in rows]


def storable(error: str) -> str:
    """Return a message as a database can keep it: not too long, without secrets, and nothing in it that is no text."""
    return scrub(error)[:MAX_ERROR_CHARACTERS].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def pack(record: Record) -> bytes:
    """Return key, value and headers as one blob (MessagePack)."""
    packed: bytes = msgpack.packb((record.key, record.value, record.headers), unicode_errors="surrogateescape")
    return packed


def _row(record: Record) -> Row:
    return (*record.partition, record.offset, record.timestamp_ms, pack(record))


def _record(topic: str, partition: int, offset: int, timestamp_ms: int, blob: bytes) -> Record:
    key, value, headers = msgpack.unpackb(blob, unicode_errors="surrogateescape")
    kept = [(name, content) for name, content in headers]
    return Record(Partition(topic, partition), offset, key, value, timestamp_ms, kept)
