"""`saga deadletters skip`: skipping an unreadable batch, on record."""

from __future__ import annotations

from contextlib import closing

import click

from eventbus.database import ConcurrentUpdate, Database
from eventbus.deadletters.resolutions import AuditNote, skipping
from eventbus.log import Partition
from eventbus.store import progress
from eventbus.store.progress import Checkpoint, OutboxEntry
from saga.deadletters.letters import LetterTarget
from saga.services import SERVICES


def reader_of(topic: str) -> str:
    """Return the one of the saga's services that reads a topic. Raises UsageError if it is none of them, or several."""
    readers = [service.name for service in SERVICES if topic in service.subscriptions()]
    if len(readers) == 1:
        return readers[0]
    if readers:
        raise click.UsageError(f"{' and '.join(readers)} read {topic}: select one of them with --group")
    names = ", ".join(service.name for service in SERVICES)
    raise click.UsageError(f"none of {names} reads {topic}: name the service with --group")


class NothingToSkip(LookupError):
    """There is no unreadable batch at this offset, or the group is past it; nothing was changed."""


def skip(
    where: LetterTarget, database: Database, group: str, place: tuple[Partition, int], statement: AuditNote
) -> int:
    """Move the checkpoint past the batch at this place, with a record of it in the outbox; return the new offset.

    The owner of the partition then detects the concurrent update, recovers, publishes the record together with its
    committed offset, and continues after the batch. Raises NothingToSkip, ConcurrentUpdate, Unreachable.
    """
    partition, offset = place
    with database.snapshot() as tx:
        before = progress.checkpoints(tx, [partition]).get(partition)
    if before is None:
        raise NothingToSkip(f"the database of {group} has no checkpoint of {partition}")
    next_offset = _behind(where, partition, offset, before)
    with database.transaction() as tx:
        if progress.checkpoints(tx, [partition]).get(partition) != before:
            raise ConcurrentUpdate(f"{group} has moved on in {partition}: try again if it is still paused")
        after = Checkpoint(next_offset, before.outbox_seq + 1, before.epoch)
        progress.advance(tx, {partition: after})
        record = skipping(group, partition, (offset, next_offset), statement)
        progress.add(tx, {partition: OutboxEntry(after.outbox_seq, [record])})
    return next_offset


def _behind(where: LetterTarget, partition: Partition, offset: int, checkpoint: Checkpoint) -> int:
    if checkpoint.next_offset > offset:
        raise NothingToSkip(
            f"{partition} is handled up to {checkpoint.next_offset}: there is nothing to skip at {offset}"
        )
    with closing(where.probe(partition)) as probe:
        found = probe.first(checkpoint.next_offset)
        if found.why is None:
            raise NothingToSkip(f"{partition} can be read at {found.offset}, the next offset: nothing to skip")
        if found.offset != offset:
            raise NothingToSkip(
                f"the unreadable batch of {partition} begins at {found.offset}, not {offset}: {found.why}"
            )
        return probe.end_of(offset)
