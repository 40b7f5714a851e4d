"""Recovery: the one routine for assignment, for a lost race, and for any doubt.

Raise the checkpoint's epoch, read the cursor, then in one snapshot the checkpoint and the entries above the cursor;
what is above it is published before anything else. Whatever does not fit together is refused, because going on would
lose or repeat something.

The order is what makes two owners harmless. A publisher sends its cursor into its Kafka transaction first and looks at
the epoch then; a recovery raises the epoch first and reads the cursor then, which waits for undecided transactions. So
either the publisher sees the new epoch and aborts, or the recovery sees what the publisher committed.

Whether the database is old is judged for all of it, also for what other workers own (see eventbus.store.age). The topic
of progress says the same as the cursors, and stands in for those that are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from eventbus.database import ConcurrentUpdate, Database
from eventbus.engine.incarnations import check_identities
from eventbus.log import CommittedOffset, Identity, Log, OffsetRange, Partition, UnsafeToContinue
from eventbus.store import progress, quarantine
from eventbus.store.age import Evidence, check_age, latest
from eventbus.store.progress import Checkpoint, OutboxEntry


class RecoveredState(NamedTuple):
    """What is stored of one partition."""

    cursor: CommittedOffset | None
    """What is known to be published, by the group's offset or by the topic of progress."""
    checkpoint: Checkpoint
    unpublished: list[OutboxEntry]
    identity: Identity
    noted: int
    """The offset that both of them have; -1 where they have not the same one, and are to be written again."""
    database: str
    """The id of the database, for what is written to the topic of progress."""
    leader_epoch: int | None


class RecoveryConflict(Exception):
    """What was read does not fit together because somebody else is still moving: read again."""


def judge(log: Log, database: Database, topics: Collection[str]) -> None:
    """Refuse a database before the group gives its worker partitions, which it would take from those who work.

    Recovery judges it again. Raises UnsafeToContinue (DatabaseTooOld and Quarantined among it), TopicMissing, and what
    the log and the database raise when they are away.
    """
    actual = log.identities(topics)
    with database.snapshot() as tx:
        quarantine.check(tx)
        stored = progress.identities(tx)
        check_identities(stored, actual)
    evidence = Evidence(log.group_cursors(topics, stored.keys()), log.witnesses(undecided=False) or {})
    _judge_age(database, evidence, topics, lambda topic: actual[topic].topic)


def judge_copies(log: Log, database: Database, topics: Collection[str]) -> None:
    """Refuse to go on in one copy of a database while another worker publishes from another copy.

    For a worker under way: the topic of progress tells it what the others have published, and its own database has that
    too, or is not theirs. Raises DatabaseTooOld, TopicMissing, and what the log and the database raise when they are
    away.
    """
    witnesses = log.witnesses(undecided=False)
    if witnesses:
        _judge_age(database, Evidence({}, witnesses), topics, lambda topic: log.identities({topic})[topic].topic)


def _judge_age(database: Database, evidence: Evidence, topics: Collection[str], topic_id: Callable[[str], str]) -> None:
    """Check the age of the database by evidence that was read before."""
    with database.snapshot() as tx:
        rows, this = progress.every_row(tx), quarantine.incarnation(tx)
    check_age(rows, this, evidence, topics, topic_id)


def recover(  # noqa: PLR0913 - what is asked, and of whom; the rest by its name
    log: Log,
    database: Database,
    partitions: Iterable[Partition],
    failpoint: Callable[[str], None],
    *,
    topics: Collection[str],
    now_ms: int,
) -> dict[Partition, RecoveredState]:
    """Return where to go on for each partition, making the first checkpoint of those that have none.

    `topics` are all that the service reads, `now_ms` is the time of day. Raises UnsafeToContinue (DatabaseTooOld and
    Quarantined among it), RecoveryConflict, and what the log and the database raise when they are away.
    """
    wanted = sorted(partitions)
    actual = log.identities({partition.topic for partition in wanted})
    log.committed(wanted)  # who cannot read the cursors shall not unseat anybody
    failpoint("claiming")
    epochs, known = _claim(database, wanted, actual, now_ms)
    failpoint("claimed")
    committed = log.committed(wanted)
    evidence, noted = _evidence(log, committed, topics, known)
    with database.snapshot() as tx:
        stored = progress.checkpoints(tx, wanted)
        cursors = {p: _known(committed[p], evidence.witnesses.get(p), stored.get(p), actual[p.topic]) for p in wanted}
        above = {p: cursor.outbox_seq or 0 if (cursor := cursors[p]) else 0 for p in wanted}
        entries = progress.entries_above(tx, above)
        rows, this = progress.every_row(tx), quarantine.incarnation(tx)
    if epochs != {partition: checkpoint.epoch for partition, checkpoint in stored.items()}:
        raise RecoveryConflict("another worker is recovering the same partitions")
    check_age(rows, this, evidence, topics, lambda topic: (actual.get(topic) or log.identities({topic})[topic]).topic)
    missing = [partition for partition in wanted if partition not in stored]
    bounds = log.offset_range(wanted)
    stored |= _first_checkpoints(database, {p: bounds[p] for p in missing}, actual)
    for partition in wanted:
        _check(partition, stored[partition], bounds[partition])
        _check_entries(partition, committed[partition], cursors[partition], stored[partition], entries[partition])
    stored |= _with_leader_epochs(database, stored, bounds)
    rest = {p: (noted.get(p, -1), this, bounds[p].leader_epoch) for p in wanted}
    return {p: RecoveredState(cursors[p], stored[p], entries[p], actual[p.topic], *rest[p]) for p in wanted}


def _known(
    cursor: CommittedOffset | None, witness: CommittedOffset | None, stored: Checkpoint | None, actual: Identity
) -> CommittedOffset | None:
    """Return what is known to be published.

    Where the checkpoint of a new topic begins its numbers anew, a witness of the old topic says nothing about them.
    """
    if witness is not None and witness.topic_id != actual.topic:
        numbered_anew = stored is None or (witness.outbox_seq or 0) > stored.outbox_seq
        witness = None if numbered_anew else witness
    return latest(cursor, witness)


def _evidence(
    log: Log,
    committed: Mapping[Partition, CommittedOffset | None],
    topics: Collection[str],
    known: Collection[Partition],
) -> tuple[Evidence, dict[Partition, int]]:
    """Return what Kafka knows of the whole group, and the offsets of these partitions that nothing is to be told about.

    `known` have a checkpoint; a worker of a newer or an older release may read other topics.

    Where a cursor is lost the topic of progress decides, so what is undecided there is waited for. Else not: it would
    hold up every recovery of the service for one worker that was killed in a transaction.
    """
    ours = {p: cursor for p, cursor in committed.items() if cursor is not None}
    lost = len(ours) < len(committed) or any(cursor.outbox_seq is None for cursor in ours.values())
    cursors = log.group_cursors(topics, known) | ours
    witnesses = log.witnesses(undecided=lost)
    noted = {p: cursor for p, cursor in ours.items() if cursor.outbox_seq is not None}
    if witnesses is not None:
        noted = {p: c for p, c in noted.items() if p in witnesses and witnesses[p][:2] == c[:2]}
    return Evidence(cursors, witnesses or {}), {p: cursor.offset for p, cursor in noted.items()}


def _claim(
    database: Database, wanted: list[Partition], actual: Mapping[str, Identity], now_ms: int
) -> tuple[dict[Partition, int], Collection[Partition]]:
    """Return the new epochs, and every partition that has a checkpoint."""
    with database.transaction() as tx:
        quarantine.check(tx)
        quarantine.identify(tx, now_ms)
        epochs = progress.claim(tx, wanted)
        identities = progress.identities(tx)
        check_identities(identities, actual)
    return epochs, identities.keys()


def _first_checkpoints(
    database: Database, bounds: Mapping[Partition, OffsetRange], actual: Mapping[str, Identity]
) -> dict[Partition, Checkpoint]:
    if not bounds:
        return {}
    first = {partition: Checkpoint(at.start, 0, 1, at.leader_epoch) for partition, at in bounds.items()}
    try:
        with database.transaction() as tx:
            for partition, checkpoint in first.items():
                progress.create(tx, partition, checkpoint, actual[partition.topic])
    except ConcurrentUpdate as race:
        raise RecoveryConflict("another worker made the first checkpoint") from race
    return first


def _with_leader_epochs(
    database: Database, stored: Mapping[Partition, Checkpoint], bounds: Mapping[Partition, OffsetRange]
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
                raise RecoveryConflict("another worker is recovering the same partitions")
            progress.advance(tx, after)
    return after


def _check(partition: Partition, checkpoint: Checkpoint, bounds: OffsetRange) -> None:
    start, end, _ = bounds
    if not start <= checkpoint.next_offset <= end:
        raise UnsafeToContinue(
            f"{partition}: the next offset to handle is {checkpoint.next_offset}, but the log has {start} to {end}:"
            " it was truncated or recreated, and events would be lost. Restore the topic, or, if nothing of it is"
            " needed, set next_offset in the table checkpoint by hand"
        )


def _check_entries(
    partition: Partition,
    committed: CommittedOffset | None,
    known: CommittedOffset | None,
    checkpoint: Checkpoint,
    entries: list[OutboxEntry],
) -> None:
    """The entries end at the checkpoint's position and have no hole; after a cursor of ours they begin right there.

    Where the cursor is lost and the witness stands in for it, they may begin later: a worker without witnesses (an
    older release, or at least once) may have published since, and deleted what it published.
    """
    last = checkpoint.outbox_seq
    first = last - len(entries) + 1
    whole = [entry.outbox_seq for entry in entries] == list(range(first, last + 1))
    ours = committed is not None and committed.outbox_seq is not None
    if not whole or (ours and known is not None and first != (known.outbox_seq or 0) + 1):
        raise RecoveryConflict(f"{partition}: the outbox and the cursor do not fit together yet")
