"""Recovery: the one routine for assignment, for a lost race, and for any doubt.

Raise the checkpoint's epoch, read the cursor, then in one snapshot the checkpoint and the entries above the cursor;
what is above it is published before anything else. Whatever does not fit together is refused, because going on would
lose or repeat something.

The order is what makes two owners harmless. A publisher sends its cursor into its Kafka transaction first and looks at
the epoch then; a recovery raises the epoch first and reads the cursor then, which waits for undecided transactions. So
either the publisher sees the new epoch and aborts, or the recovery sees what the publisher committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from eventbus import progress
from eventbus.database import Database, LostRace
from eventbus.incarnations import check_identity
from eventbus.log import Bounds, Cursor, Identity, Log, Partition, Refused
from eventbus.progress import Checkpoint, Entry


class State(NamedTuple):
    """What is stored of one partition."""

    cursor: Cursor | None
    checkpoint: Checkpoint
    unpublished: list[Entry]
    identity: Identity


class NotYet(Exception):
    """What was read does not fit together because somebody else is still moving: read again."""


def recover(
    log: Log, database: Database, partitions: Iterable[Partition], at: Callable[[str], None]
) -> dict[Partition, State]:
    """Return where to go on for each partition, making the first checkpoint of those that have none.

    Raises Refused, NotYet, and what the log and the database raise when they are away.
    """
    wanted = sorted(partitions)
    actual = log.identities({partition.topic for partition in wanted})
    log.committed(wanted)  # who cannot read the cursors shall not unseat anybody
    at("claiming")
    epochs = _claim(database, wanted, actual)
    at("claimed")
    cursors = log.committed(wanted)
    with database.snapshot() as tx:
        stored = progress.checkpoints(tx, wanted)
        above = {p: cursor.position or 0 if (cursor := cursors[p]) else 0 for p in wanted}
        entries = progress.entries_above(tx, above)
    if epochs != {partition: checkpoint.epoch for partition, checkpoint in stored.items()}:
        raise NotYet("another worker is recovering the same partitions")
    missing = [partition for partition in wanted if partition not in stored]
    bounds = log.bounds(wanted)
    _refuse_cursors(missing, cursors)
    stored |= _first_checkpoints(database, {p: bounds[p] for p in missing}, actual)
    for partition in wanted:
        _check(partition, cursors[partition], stored[partition], bounds[partition])
        _check_entries(partition, cursors[partition], stored[partition], entries[partition])
    stored |= _with_leader_epochs(database, stored, bounds)
    return {p: State(cursors[p], stored[p], entries[p], actual[p.topic]) for p in wanted}


def _claim(database: Database, wanted: list[Partition], actual: Mapping[str, Identity]) -> dict[Partition, int]:
    with database.transaction() as tx:
        epochs = progress.claim(tx, wanted)
        for partition, identity in progress.identities(tx, wanted).items():
            check_identity(partition, identity, actual[partition.topic])
    return epochs


def _refuse_cursors(missing: Iterable[Partition], cursors: Mapping[Partition, Cursor | None]) -> None:
    for partition in missing:
        if (cursor := cursors[partition]) is not None:
            raise Refused(
                f"{partition}: the group has committed offset {cursor.offset}, but the database has no checkpoint:"
                " the database is older than the log (empty, restored, or the wrong one). Going on would repeat"
                " everything. Point --database to the right one, or restore the newest backup"
            )


def _first_checkpoints(
    database: Database, bounds: Mapping[Partition, Bounds], actual: Mapping[str, Identity]
) -> dict[Partition, Checkpoint]:
    if not bounds:
        return {}
    first = {partition: Checkpoint(at.start, 0, 1, at.leader_epoch) for partition, at in bounds.items()}
    try:
        with database.transaction() as tx:
            for partition, checkpoint in first.items():
                progress.create(tx, partition, checkpoint, actual[partition.topic])
    except LostRace as race:
        raise NotYet("another worker made the first checkpoint") from race
    return first


def _with_leader_epochs(
    database: Database, stored: Mapping[Partition, Checkpoint], bounds: Mapping[Partition, Bounds]
) -> dict[Partition, Checkpoint]:
    """Note the present leader epoch where none is known: of an older release's checkpoint, or one moved by hand.

    The log reaches that far in it, whoever wrote the record before: `_check` has seen that.
    """
    unknown = [p for p, checkpoint in stored.items() if checkpoint.leader_epoch is None]
    after = {p: stored[p]._replace(leader_epoch=bounds[p].leader_epoch) for p in unknown}
    after = {p: checkpoint for p, checkpoint in after.items() if checkpoint.leader_epoch is not None}
    if after:
        with database.transaction() as tx:
            if progress.checkpoints(tx, after) != {p: stored[p] for p in after}:
                raise NotYet("another worker is recovering the same partitions")
            progress.advance(tx, after)
    return after


def _check(partition: Partition, cursor: Cursor | None, checkpoint: Checkpoint, bounds: Bounds) -> None:
    if cursor is not None and cursor.position is not None:
        ahead = cursor.position > checkpoint.position or cursor.offset > checkpoint.next_offset
        if ahead:
            raise Refused(
                f"{partition}: the group's cursor (offset {cursor.offset}, entry {cursor.position}) is ahead of the"
                f" database (offset {checkpoint.next_offset}, entry {checkpoint.position}): the database is older than"
                " the log (restored, or failed over). Going on would repeat effects. Restore the newest backup"
            )
    start, end, _ = bounds
    if not start <= checkpoint.next_offset <= end:
        raise Refused(
            f"{partition}: the next offset to handle is {checkpoint.next_offset}, but the log has {start} to {end}:"
            " it was truncated or recreated, and events would be lost. Restore the topic, or, if nothing of it is"
            " needed, set next_offset in the table checkpoint by hand"
        )


def _check_entries(partition: Partition, cursor: Cursor | None, checkpoint: Checkpoint, entries: list[Entry]) -> None:
    """The entries end at the checkpoint's position and have no hole; after a cursor of ours they begin right there."""
    last = checkpoint.position
    first = last - len(entries) + 1
    whole = [entry.position for entry in entries] == list(range(first, last + 1))
    known = cursor is not None and cursor.position is not None
    if not whole or (known and cursor is not None and first != (cursor.position or 0) + 1):
        raise NotYet(f"{partition}: the outbox and the cursor do not fit together yet")
