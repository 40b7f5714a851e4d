"""Checkpoint, outbox and root events (table `uncaused`): every SQL statement of the runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import lt
from typing import NamedTuple

from eventbus.database import DueColumn, Row, Table, Transaction
from eventbus.log import Identity, Output, Partition
from eventbus.store import age, deadlines, quarantine
from eventbus.store.packing import pack, unpack

EPOCH = "case when leader_epoch_offset = next_offset then leader_epoch end"
CHECKPOINT = f"next_offset, position, epoch, {EPOCH}"
ADVANCED = Table(
    "checkpoint", ("topic", "partition", "next_offset", "position", "leader_epoch", "leader_epoch_offset"), keys=2
)
OUTBOX = Table("outbox", ("topic", "partition", "position", "records"), keys=3)


class Checkpoint(NamedTuple):
    """How far a partition is applied, the number of its last outbox entry, and the epoch of its last recovery.

    Every recovery increments the epoch, so a worker that recovered earlier can neither decide nor publish any more.
    """

    next_offset: int
    outbox_seq: int
    epoch: int
    leader_epoch: int | None = None
    """A leader epoch in which the log reached `next_offset`; None: not known (see Log.seek)."""


class OutboxEntry(NamedTuple):
    """The outputs of one batch of one partition; numbered without gaps."""

    outbox_seq: int
    outputs: list[Output]
    sequence: int = 0
    """The order of decisions, so that entries of several partitions are published in it; not stored."""
    size: int = 0
    """Bytes as stored, set by `add`."""


def checkpoints(tx: Transaction, partitions: Iterable[Partition]) -> dict[Partition, Checkpoint]:
    """Return the stored checkpoints; a transaction that writes locks them by (topic, partition). Raises Quarantined."""
    sql = f"select topic, partition, {CHECKPOINT}, ({quarantine.OPEN}) from checkpoint"
    rows = _of(tx, sql, partitions)
    if rows and rows[0][-1] is not None:
        quarantine.check(tx)
    return {Partition(*row[:2]): Checkpoint(*row[2:-1]) for row in rows}


def every_row(tx: Transaction) -> dict[Partition, age.Row]:
    """Return the columns of every checkpoint of the service that show the database's age; no lock."""
    rows = tx.rows("select topic, partition, next_offset, position, topic_id from checkpoint")
    return {Partition(t, n): age.Row(*row) for t, n, *row in rows}


def claim(tx: Transaction, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Increment the epochs of these partitions that have a checkpoint, and return the new ones."""
    epochs = {partition: stored.epoch + 1 for partition, stored in checkpoints(tx, partitions).items()}
    sql = "update checkpoint set epoch = ? where topic = ? and partition = ?"
    tx.executemany(sql, [(epoch, *partition) for partition, epoch in epochs.items()])
    return epochs


def identities(tx: Transaction) -> dict[Partition, Identity]:
    """Return the cluster and topic that every checkpoint of the service was made for; no lock."""
    rows = tx.rows("select topic, partition, cluster_id, topic_id from checkpoint")
    return {Partition(t, n): Identity(c, i) for t, n, c, i in rows}


def _of(tx: Transaction, sql: str, partitions: Iterable[Partition]) -> list[Row]:
    wanted = sorted(partitions)
    if not wanted:
        return []
    marks = ", ".join(["(?, ?)"] * len(wanted))
    where = f"where (topic, partition) in (values {marks}) order by topic, partition{tx.locking}"
    return tx.rows(f"{sql} {where}", *(value for partition in wanted for value in partition))


def output_topics(tx: Transaction) -> dict[str, str]:
    """Return the ids of the topics that this service has published to, by name."""
    return dict(tx.rows("select topic, topic_id from output_topic"))


def add_output_topics(tx: Transaction, ids: Mapping[str, str]) -> None:
    """Store the ids of more topics."""
    tx.executemany("insert into output_topic (topic, topic_id) values (?, ?)", sorted(ids.items()))


def output_limits(tx: Transaction) -> dict[str, int]:
    """Return the known size limits of the topics that this service publishes to, as a worker last read them."""
    return dict(tx.rows("select topic, max_bytes from output_topic where max_bytes is not null"))


def note_output_limits(tx: Transaction, limits: Mapping[str, int]) -> None:
    """Store the present size limits of topics."""
    known = output_limits(tx)
    rows = [(most, topic) for topic, most in sorted(limits.items()) if known.get(topic) != most]
    tx.executemany("update output_topic set max_bytes = ? where topic = ?", rows)


def create(tx: Transaction, partition: Partition, first: Checkpoint, identity: Identity) -> None:
    """Create the first checkpoint of a partition, before any of its records is handled."""
    columns = "topic, partition, next_offset, position, epoch, leader_epoch, leader_epoch_offset, cluster_id, topic_id"
    sql = f"insert into checkpoint ({columns}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    tx.execute(sql, *partition, *first, first.next_offset, *identity)


def advance(tx: Transaction, to: Mapping[Partition, Checkpoint]) -> None:
    """Move checkpoints that this transaction has compared."""
    tx.update(
        ADVANCED, [(*p, c.next_offset, c.outbox_seq, c.leader_epoch, c.next_offset) for p, c in sorted(to.items())]
    )


def add(tx: Transaction, entries: Mapping[Partition, OutboxEntry]) -> dict[Partition, OutboxEntry]:
    """Insert one outbox entry for each of these partitions; return them with their sizes."""
    blobs = {partition: pack(entry.outputs) for partition, entry in sorted(entries.items())}
    tx.insert(OUTBOX, [(*partition, entries[partition].outbox_seq, blob) for partition, blob in blobs.items()])
    return {partition: entries[partition]._replace(size=len(blob)) for partition, blob in blobs.items()}


def replace(tx: Transaction, entries: Mapping[Partition, Iterable[OutboxEntry]]) -> None:
    """Replace the outputs of entries that are certainly not published."""
    sql = "update outbox set records = ? where topic = ? and partition = ? and position = ?"
    tx.executemany(
        sql, [(pack(each.outputs), *at, each.outbox_seq) for at, some in sorted(entries.items()) for each in some]
    )


def delete(tx: Transaction, published: Mapping[Partition, int]) -> None:
    """Delete the entries that are known to be published: up to and including this outbox_seq."""
    sql = "delete from outbox where topic = ? and partition = ? and position <= ?"
    tx.executemany(sql, [(*partition, outbox_seq) for partition, outbox_seq in sorted(published.items())])


def entries_above(tx: Transaction, published: Mapping[Partition, int]) -> dict[Partition, list[OutboxEntry]]:
    """Return the entries above an outbox_seq for each partition, in order."""
    sql = "select position, records from outbox where topic = ? and partition = ? and position > ? order by position"
    return {
        partition: [OutboxEntry(number, unpack(blob)) for number, blob in tx.rows(sql, *partition, outbox_seq)]
        for partition, outbox_seq in published.items()
    }


def add_root_event(tx: Transaction, event_id: str, output: Output) -> None:
    """Insert a root event behind all that wait, and wake the worker that waits for one.

    Two transactions may give the same number to events of different keys. Those of one key are numbered one after the
    other, if the transactions that insert them lock the row of the key.

    If others wait already, the worker is on its way: on PostgreSQL commits that notify exclude each other.
    """
    number = "(select coalesce(max(number), 0) + 1 from uncaused)"
    sql = f"insert into uncaused (id, records, number) values (?, ?, {number})"
    sql += " returning exists (select 1 from uncaused as others)"
    [(others,)] = tx.rows(sql, event_id, pack([output]))
    if not others:
        tx.signal()


def take_root_events(tx: Transaction, limit: int, limit_bytes: int) -> list[Output]:
    """Remove the oldest root events and return them, in the order in which they were inserted.

    At most `limit` of them, and no further one once `limit_bytes` are reached.
    """
    oldest = "select number, id, length(records) as bytes from uncaused order by number, id limit ?"
    summed = f"select id, sum(bytes) over (order by number, id) - bytes as before_it from ({oldest}) as oldest"
    sql = f"delete from uncaused where id in (select id from ({summed}) as summed where before_it < ?)"
    taken = tx.rows(f"{sql} returning number, id, records", limit, limit_bytes)
    return [output for _, _, blob in sorted(taken) for output in unpack(blob)]


class DatabaseView(NamedTuple):
    """What the idle check reads."""

    checkpoints: dict[tuple[str, int], tuple[int, int, int, int | None]]
    """By partition; plain tuples, which are equal to a Partition and a Checkpoint, because it is read often."""
    waiting: bool
    """Whether root events wait to be published."""
    retries_ms: tuple[int, int] | None
    """When the first and the last parked records of all workers are due for a retry; None if none is parked."""
    deadlines: Sequence[tuple[int | None, int | None]] = ()
    """For each of the service's deadlines when the first one is over, and the last was set; None if none is set."""

    def went_back(self, before: DatabaseView) -> bool:
        """Return whether a checkpoint moved backwards or is gone: the database was replaced by another copy."""
        now = self.checkpoints
        return any(p not in now or any(map(lt, now[p][:3], then[:3])) for p, then in before.checkpoints.items())


NOTHING_SEEN = DatabaseView({}, waiting=False, retries_ms=None)


def poll_database(tx: Transaction, columns: Sequence[DueColumn] = ()) -> DatabaseView:
    """Return every checkpoint of the service, whether root events wait, and when parked records and deadlines are due.

    One statement, no lock. Raises Quarantined.
    """
    sql = f"select topic, partition, {CHECKPOINT}, exists (select 1 from uncaused),"
    sql += f" (select min(retry_at_ms) from fence), (select max(retry_at_ms) from fence), ({quarantine.OPEN})"
    sql += "".join(f", {deadlines.first(column)}, {deadlines.last_set(column)}" for column in columns)
    rows = tx.rows(f"{sql} from checkpoint")
    if not rows:
        return NOTHING_SEEN._replace(deadlines=[(None, None)] * len(columns))
    waiting, first_ms, last_ms, in_quarantine = rows[0][6:10]
    due = list(zip(rows[0][10::2], rows[0][11::2], strict=True))
    if in_quarantine is not None:
        quarantine.check(tx)
    retries_ms = None if first_ms is None else (first_ms, last_ms)
    return DatabaseView({row[:2]: row[2:6] for row in rows}, bool(waiting), retries_ms, due)
