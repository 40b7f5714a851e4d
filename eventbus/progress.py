"""Checkpoint, outbox and uncaused events: every SQL statement of the runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventbus.database import Row, Transaction
from eventbus.log import Identity, Output, Partition
from eventbus.outbox import pack, unpack


class Checkpoint(NamedTuple):
    """How far a partition is applied, the number of the last outbox entry made for it, and by which recovery's owner.

    Every recovery raises the epoch, so whoever recovered before can neither decide nor publish any more.
    """

    next_offset: int
    position: int
    epoch: int


class Entry(NamedTuple):
    """The outputs of one batch of one partition; numbered without holes."""

    position: int
    outputs: list[Output]
    turn: int = 0
    """When it was decided, so that entries of several partitions are published in that order; not stored."""
    size: int = 0
    """Bytes as stored, where it was made by `add`."""


def checkpoints(tx: Transaction, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
    """Return what is stored, locked by (topic, partition) where the transaction writes."""
    sql = "select topic, partition, next_offset, position, epoch from checkpoint"
    return {Partition(t, n): Checkpoint(o, p, e) for t, n, o, p, e in _of(tx, sql, partitions)}


def claim(tx: Transaction, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Raise the epochs of these partitions, where they have a checkpoint, and return the new ones."""
    epochs = {partition: stored.epoch + 1 for partition, stored in checkpoints(tx, partitions).items()}
    sql = "update checkpoint set epoch = ? where topic = ? and partition = ?"
    tx.many(sql, [(epoch, *partition) for partition, epoch in epochs.items()])
    return epochs


def identities(tx: Transaction, partitions: Iterable[Partition]) -> dict[Partition, Identity]:
    """Return the cluster and topic that each checkpoint was made for."""
    sql = "select topic, partition, cluster_id, topic_id from checkpoint"
    return {Partition(t, n): Identity(c, i) for t, n, c, i in _of(tx, sql, partitions)}


def _of(tx: Transaction, sql: str, partitions: Iterable[Partition]) -> list[Row]:
    wanted = sorted(partitions)
    if not wanted:
        return []
    marks = ", ".join(["(?, ?)"] * len(wanted))
    where = f"where (topic, partition) in (values {marks}) order by topic, partition{tx.locking}"
    return tx.rows(f"{sql} {where}", *(value for partition in wanted for value in partition))


def create(tx: Transaction, partition: Partition, start: int, identity: Identity) -> None:
    """Make the first checkpoint of a partition, before anything else of it is handled."""
    sql = "insert into checkpoint (topic, partition, next_offset, position, epoch, cluster_id, topic_id)"
    sql += " values (?, ?, ?, 0, 1, ?, ?)"
    tx.execute(sql, *partition, start, *identity)


def advance(tx: Transaction, to: Mapping[Partition, Checkpoint]) -> None:
    """Move checkpoints that this transaction has compared."""
    sql = "update checkpoint set next_offset = ?, position = ? where topic = ? and partition = ?"
    tx.many(sql, [(to[p].next_offset, to[p].position, *p) for p in sorted(to)])


def add(tx: Transaction, entries: Mapping[Partition, Entry]) -> dict[Partition, Entry]:
    """Insert one outbox entry for each of these partitions; return them with their sizes."""
    sql = "insert into outbox (topic, partition, position, records) values (?, ?, ?, ?)"
    blobs = {partition: pack(entry.outputs) for partition, entry in sorted(entries.items())}
    tx.many(sql, [(*partition, entries[partition].position, blob) for partition, blob in blobs.items()])
    return {partition: entries[partition]._replace(size=len(blob)) for partition, blob in blobs.items()}


def delete(tx: Transaction, published: Mapping[Partition, int]) -> None:
    """Delete the entries that are known to be published: up to this position, including it."""
    sql = "delete from outbox where topic = ? and partition = ? and position <= ?"
    tx.many(sql, [(*partition, position) for partition, position in sorted(published.items())])


def entries_above(tx: Transaction, cursors: Mapping[Partition, int]) -> dict[Partition, list[Entry]]:
    """Return the entries above a position for each partition, in order."""
    sql = "select position, records from outbox where topic = ? and partition = ? and position > ? order by position"
    return {
        partition: [Entry(number, unpack(blob)) for number, blob in tx.rows(sql, *partition, position)]
        for partition, position in cursors.items()
    }


def take_uncaused(tx: Transaction, limit: int, limit_bytes: int) -> list[Output]:
    """Remove the oldest uncaused events and return them, in the order of their ids.

    At most `limit` of them, and no further one once `limit_bytes` are reached.
    """
    oldest = "select id, length(records) as bytes from uncaused order by id limit ?"
    summed = f"select id, sum(bytes) over (order by id) - bytes as before_it from ({oldest}) as oldest"
    sql = f"delete from uncaused where id in (select id from ({summed}) as summed where before_it < ?)"
    taken = tx.rows(f"{sql} returning id, records", limit, limit_bytes)
    return [output for _, blob in sorted(taken) for output in unpack(blob)]


class Look(NamedTuple):
    """What an idle worker sees."""

    checkpoints: dict[tuple[str, int], tuple[int, int, int]]
    """By partition; plain tuples, which are equal to a Partition and a Checkpoint: it is looked often."""
    waiting: bool
    """Uncaused events wait."""
    retry_at_ms: int | None
    """When the next parked record is to be tried again, by whomever; None where none is parked."""


def look(tx: Transaction) -> Look:
    """Look at every checkpoint of the service, and at what waits: one statement, no lock."""
    sql = "select topic, partition, next_offset, position, epoch, exists (select 1 from uncaused),"
    sql += " (select min(retry_at_ms) from fence) from checkpoint"
    rows = tx.rows(sql)
    if not rows:
        return Look({}, waiting=False, retry_at_ms=None)
    waiting, retry_at_ms = rows[0][5:]
    return Look({row[:2]: row[2:5] for row in rows}, bool(waiting), retry_at_ms)
