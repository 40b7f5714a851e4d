"""Detects a database that is older than the log: a property of the whole database, not of one partition.

A checkpoint is committed before the committed offset and the witness that result from it. So if those are read first
and the database afterwards, no checkpoint of any partition of any worker is behind them, unless the database is an old
copy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from eventbus.log import CommittedOffset, Partition, UnsafeToContinue

REMEDY = (
    "Continuing would repeat effects. Point --database to the newest database, or restore the newest backup; if there"
    " is nothing newer, see `database accept-backup` (docs/operating.md, Our database was lost)"
)


class DatabaseTooOld(UnsafeToContinue):
    """The log contains more than the database has decided. It must be quarantined, so that all workers stop."""


class Row(NamedTuple):
    """The columns of one row of the table checkpoint that show its age."""

    next_offset: int
    outbox_seq: int
    topic_id: str


class Evidence(NamedTuple):
    """What Kafka knows of a service's progress."""

    committed: Mapping[Partition, CommittedOffset]
    """The group's committed offsets, including those that were set by hand."""
    witnesses: Mapping[Partition, CommittedOffset]
    """The records of the progress topic."""


def check_age(
    rows: Mapping[Partition, Row],
    database: str,
    evidence: Evidence,
    topics: Collection[str],
    topic_id: Callable[[str], str],
) -> None:
    """Raise DatabaseTooOld if the committed offsets or the witnesses are ahead of these rows of the database.

    A partition without a row counts if it is of one of these topics. A witness of a topic that was deleted and
    recreated since is ignored; `topic_id` returns the id that a topic has now.
    """
    for partition, committed in sorted(evidence.committed.items()):
        if partition in rows:
            of_this = _without_old_offset(committed, evidence.witnesses.get(partition), rows[partition])
            _check_ahead(partition, "the group's committed offset", of_this, rows[partition])
        elif partition.topic in topics:
            raise DatabaseTooOld(
                f"{partition}: the group has committed offset {committed.offset}, but the database has no checkpoint:"
                f" the database is older than the log (empty, restored, or the wrong one). {REMEDY}"
            )
    for partition, witness in sorted(evidence.witnesses.items()):
        row = rows.get(partition)
        if row is None and partition.topic not in topics:
            continue
        if witness.topic_id == (row.topic_id if row else topic_id(partition.topic)):
            _check_witness(partition, witness, row, database)


def _without_old_offset(committed: CommittedOffset, witness: CommittedOffset | None, row: Row) -> CommittedOffset:
    """Return an offset of this row's topic; of one committed for a topic deleted since, only outbox_seq counts.

    Kafka deletes the offsets of a deleted topic, but a worker may have committed one before it noticed. The witness
    that was written together with it has the id of its topic.
    """
    is_old = witness is not None and witness.topic_id != row.topic_id and witness[:2] == committed[:2]
    return committed._replace(offset=0) if is_old else committed


def _check_witness(partition: Partition, witness: CommittedOffset, row: Row | None, database: str) -> None:
    if row is None:
        raise DatabaseTooOld(
            f"{partition}: the progress topic has offset {witness.offset}, but the database has no checkpoint:"
            f" the database is older than the log (empty, restored, or the wrong one). {REMEDY}"
        )
    if witness.database != database:
        raise DatabaseTooOld(
            f"{partition}: the progress topic was last written from the database {witness.database}, but this is the"
            f" database {database}: another copy has been used since, and this one lacks its changes. {REMEDY}"
        )
    _check_ahead(partition, "the progress topic", witness, row)


def is_ahead(committed: CommittedOffset, row: Row) -> bool:
    """Return whether a committed offset is ahead of a row; one that was set by hand never is."""
    if committed.outbox_seq is None:
        return False
    return committed.outbox_seq > row.outbox_seq or committed.offset > row.next_offset


def _check_ahead(partition: Partition, what: str, committed: CommittedOffset, row: Row) -> None:
    if is_ahead(committed, row):
        raise DatabaseTooOld(
            f"{partition}: {what} (offset {committed.offset}, outbox_seq {committed.outbox_seq}) is ahead of the"
            f" database (offset {row.next_offset}, outbox_seq {row.outbox_seq}): the database is older than the log"
            f" (restored, failed over, or one of two copies that are used at once). {REMEDY}"
        )


def latest(committed: CommittedOffset | None, witness: CommittedOffset | None) -> CommittedOffset | None:
    """Return what is known to be published: the witness replaces a committed offset that is lost or was set by hand.

    A witness that is older than the committed offset is normal: workers of a release without witnesses write none.
    """
    if witness is None:
        return committed
    if committed is None or committed.outbox_seq is None:
        return CommittedOffset(witness.offset, witness.outbox_seq)
    return CommittedOffset(max(committed.offset, witness.offset), max(committed.outbox_seq, witness.outbox_seq or 0))
