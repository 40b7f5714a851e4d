"""Whether a database is older than the log: a fact about all of it, not about one partition.

A checkpoint is committed before the cursor and the witness that follow from it. A reader of those
first, and of the database then, finds no checkpoint behind them, in any partition of any worker; or the database is an
old copy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from eventbus.log import CommittedOffset, Partition, UnsafeToContinue

REMEDY = (
    "Going on would repeat effects. Point --database to the newest one, or restore the newest backup; where nothing"
    " newer is left, see `database accept-backup` (docs/operating.md, Our database was lost)"
)


class DatabaseTooOld(UnsafeToContinue):
    """The log has seen more of this database than is in it. It is to be put in quarantine, so that all workers stop."""


class Row(NamedTuple):
    """One row of the table checkpoint, as far as its age is concerned."""

    next_offset: int
    outbox_seq: int
    topic_id: str


class Evidence(NamedTuple):
    """What Kafka knows of a service's progress."""

    cursors: Mapping[Partition, CommittedOffset]
    """The group's offsets, those that are set by hand included."""
    witnesses: Mapping[Partition, CommittedOffset]
    """What the topic of progress says."""


def check_age(
    rows: Mapping[Partition, Row],
    database: str,
    evidence: Evidence,
    topics: Collection[str],
    topic_id: Callable[[str], str],
) -> None:
    """Raise DatabaseTooOld where the cursors or the witnesses know more than these rows of the database.

    A partition without a row counts where it is of one of these topics. A witness of a topic that was deleted and
    created again since says nothing; `topic_id` returns the id that a topic has now.
    """
    for partition, cursor in sorted(evidence.cursors.items()):
        if partition in rows:
            of_this = _without_old_offset(cursor, evidence.witnesses.get(partition), rows[partition])
            _check_ahead(partition, "the group's cursor", of_this, rows[partition])
        elif partition.topic in topics:
            raise DatabaseTooOld(
                f"{partition}: the group has committed offset {cursor.offset}, but the database has no checkpoint:"
                f" the database is older than the log (empty, restored, or the wrong one). {REMEDY}"
            )
    for partition, witness in sorted(evidence.witnesses.items()):
        row = rows.get(partition)
        if row is None and partition.topic not in topics:
            continue
        if witness.topic_id == (row.topic_id if row else topic_id(partition.topic)):
            _check_witness(partition, witness, row, database)


def _without_old_offset(cursor: CommittedOffset, witness: CommittedOffset | None, row: Row) -> CommittedOffset:
    """Return a cursor of the topic that this row is of; of one that was deleted since, only the position counts.

    Kafka forgets the offsets of a topic that is deleted, but a worker may have committed one before it noticed. The
    witness that was written together with it says of which topic it is.
    """
    is_old = witness is not None and witness.topic_id != row.topic_id and witness[:2] == cursor[:2]
    return cursor._replace(offset=0) if is_old else cursor


def _check_witness(partition: Partition, witness: CommittedOffset, row: Row | None, database: str) -> None:
    if row is None:
        raise DatabaseTooOld(
            f"{partition}: the topic of progress says that offset {witness.offset} was reached, but the database has no"
            f" checkpoint: the database is older than the log (empty, restored, or the wrong one). {REMEDY}"
        )
    if witness.database != database:
        raise DatabaseTooOld(
            f"{partition}: the topic of progress was last written from the database {witness.database}, and this one is"
            f" {database}: another copy has gone on since, and this one is not its continuation. {REMEDY}"
        )
    _check_ahead(partition, "the topic of progress", witness, row)


def is_ahead(cursor: CommittedOffset, row: Row) -> bool:
    """Return whether a cursor knows more than a row; one that was set by hand says nothing."""
    return cursor.outbox_seq is not None and (cursor.outbox_seq > row.outbox_seq or cursor.offset > row.next_offset)


def _check_ahead(partition: Partition, what: str, cursor: CommittedOffset, row: Row) -> None:
    if is_ahead(cursor, row):
        raise DatabaseTooOld(
            f"{partition}: {what} (offset {cursor.offset}, entry {cursor.outbox_seq}) is ahead of the database"
            f" (offset {row.next_offset}, entry {row.outbox_seq}): the database is older than the log (restored,"
            f" failed over, or one of two copies that are used at once). {REMEDY}"
        )


def latest(cursor: CommittedOffset | None, witness: CommittedOffset | None) -> CommittedOffset | None:
    """Return what is known to be published: a lost cursor, or one set by hand, is replaced by the witness.

    A witness that is older than the cursor is nothing special: workers of a release without witnesses write none.
    """
    if witness is None:
        return cursor
    if cursor is None or cursor.outbox_seq is None:
        return CommittedOffset(witness.offset, witness.outbox_seq)
    return CommittedOffset(max(cursor.offset, witness.offset), max(cursor.outbox_seq, witness.outbox_seq or 0))
