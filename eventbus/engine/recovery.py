"""Recovery: the one routine after an assignment, a concurrent update, or an unknown outcome.

Increment the checkpoint's epoch, read the committed offset, then in one snapshot the checkpoint and the outbox entries
above the committed outbox_seq; these are published before anything else. Inconsistent state is refused, because
continuing would lose or repeat something.

This sequence makes two owners harmless. A publisher first sends its offsets to its Kafka transaction and then checks
the epoch; a recovery first increments the epoch and then reads the committed offset, which waits for open transactions.
So either the publisher sees the new epoch and aborts, or the recovery sees what the publisher committed.

The age of the database is checked for all partitions, including those of other workers (see eventbus.store.age). The
progress topic contains the same as the committed offsets, and replaces those that are lost.
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
    """The stored state of one partition."""

    published: CommittedOffset | None
    """What is known to be published, from the group's committed offset or the progress topic."""
    checkpoint: Checkpoint
    unpublished: list[OutboxEntry]
    identity: Identity
    noted: int
    """The offset that both of them have; -1 if they differ and must be written again."""
    database: str
    """The id of the database, for records of the progress topic."""
    leader_epoch: int | None


class RecoveryConflict(Exception):
    """The values read are inconsistent because another worker is still changing them: read again."""


def judge(log: Log, database: Database, topics: Collection[str]) -> None:
    """Refuse a database before its worker joins the group and takes partitions from healthy workers.

    Recovery checks it again. Raises UnsafeToContinue (including DatabaseTooOld and Quarantined), TopicMissing, and what
    the log and the database raise when they are unavailable.
    """
    actual = log.identities(topics)
    with database.snapshot() as tx:
        quarantine.check(tx)
        stored = progress.identities(tx)
        check_identities(stored, actual)
    evidence = Evidence(log.group_offsets(topics, stored.keys()), log.witnesses(undecided=False) or {})
    _judge_age(database, evidence, topics, lambda topic: actual[topic].topic)


def judge_copies(log: Log, database: Database, topics: Collection[str]) -> None:
    """Refuse to continue on one copy of a database while another worker publishes from another copy.

    For a running worker: the progress topic contains what the others have published, and its own database must contain
    that too, or it is another copy. Raises DatabaseTooOld, TopicMissing, and what the log and the database raise when
    they are unavailable.
    """
    witnesses = log.witnesses(undecided=False)
    if witnesses:
        _judge_age(database, Evidence({}, witnesses), topics, lambda topic: log.identities({topic})[topic].topic)


def _judge_age(database: Database, evidence: Evidence, topics: Collection[str], topic_id: Callable[[str], str]) -> None:
    """Check the age of the database against evidence that was read before it."""
    with database.snapshot() as tx:
        rows, this = progress.every_row(tx), quarantine.incarnation(tx)
    check_age(rows, this, evidence, topics, topic_id)


def recover(  # noqa: PLR0913 - the last two are keyword-only
    log: Log,
    database: Database,
    partitions: Iterable[Partition],
    failpoint: Callable[[str], None],
    *,
    topics: Collection[str],
    now_ms: int,
) -> dict[Partition, RecoveredState]:
    """Return the state of each partition to resume from; create the first checkpoint of those that have none.

    `topics` are all that the service reads, `now_ms` is the time of day. Raises UnsafeToContinue (including
    DatabaseTooOld and Quarantined), RecoveryConflict, and what log and database raise when they are unavailable.
    """
    wanted = sorted(partitions)
    actual = log.identities({partition.topic for partition in wanted})
    log.committed(wanted)  # a worker that cannot read the offsets must not fence another one
    failpoint("claiming")
    epochs, known = _claim(database, wanted, actual, now_ms)
    failpoint("claimed")
    committed = log.committed(wanted)
    evidence, noted = _evidence(log, committed, topics, known)
    with database.snapshot() as tx:
        stored = progress.checkpoints(tx, wanted)
        known_by = {p: (committed[p], evidence.witnesses.get(p)) for p in wanted}
        published = {p: _published(*known_by[p], stored.get(p), actual[p.topic]) for p in wanted}
        above = {p: (last.outbox_seq or 0) if (last := published[p]) else 0 for p in wanted}
        entries = progress.entries_above(tx, above)
        rows, this = progress.every_row(tx), quarantine.incarnation(tx)
    if epochs != {partition: checkpoint.epoch for partition, checkpoint in stored.items()}:
        raise RecoveryConflict("another worker is recovering the same partitions")
    check_age(rows, this, evidence, topics, lambda topic: (actual.get(topic) or log.identities({topic})[topic]).topic)
    missing = [partition for partition in wanted if partition not in stored]
    ranges = log.offset_range(wanted)
    stored |= _first_checkpoints(database, {p: ranges[p] for p in missing}, actual)
    for partition in wanted:
        _check(partition, stored[partition], ranges[partition])
        _check_entries(partition, committed[partition], published[partition], stored[partition], entries[partition])
    stored |= _with_leader_epochs(database, stored, ranges)
    rest = {p: (noted.get(p, -1), this, ranges[p].leader_epoch) for p in wanted}
    return {p: RecoveredState(published[p], stored[p], entries[p], actual[p.topic], *rest[p]) for p in wanted}


def _published(
    committed: CommittedOffset | None, witness: CommittedOffset | None, stored: Checkpoint | None, actual: Identity
) -> CommittedOffset | None:
    """Return what is known to be published.

    If outbox_seq restarts with the checkpoint of a recreated topic, a witness of the old topic does not apply.
    """
    if witness is not None and witness.topic_id != actual.topic:
        restarted = stored is None or (witness.outbox_seq or 0) > stored.outbox_seq
        witness = None if restarted else witness
    return latest(committed, witness)


def _evidence(
    log: Log,
    committed: Mapping[Partition, CommittedOffset | None],
    topics: Collection[str],
    known: Collection[Partition],
) -> tuple[Evidence, dict[Partition, int]]:
    """Return what Kafka knows of the whole group, and the offsets of these partitions that need not be written again.

    `known` have a checkpoint; a worker of a newer or an older release may read other topics.

    If a committed offset is lost the progress topic decides, so its open transactions are waited for. Otherwise not:
    one worker that was killed in a transaction would delay every recovery of the service.
    """
    ours = {p: offset for p, offset in committed.items() if offset is not None}
    lost = len(ours) < len(committed) or any(offset.outbox_seq is None for offset in ours.values())
    offsets = log.group_offsets(topics, known) | ours
    witnesses = log.witnesses(undecided=lost)
    noted = {p: offset for p, offset in ours.items() if offset.outbox_seq is not None}
    if witnesses is not None:
        noted = {p: c for p, c in noted.items() if p in witnesses and witnesses[p][:2] == c[:2]}
    return Evidence(offsets, witnesses or {}), {p: each.offset for p, each in noted.items()}


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
    database: Database, ranges: Mapping[Partition, OffsetRange], actual: Mapping[str, Identity]
) -> dict[Partition, Checkpoint]:
    if not ranges:
        return {}
    first = {partition: Checkpoint(at.start, 0, 1, at.leader_epoch) for partition, at in ranges.items()}
    try:
        with database.transaction() as tx:
            for partition, checkpoint in first.items():
                progress.create(tx, partition, checkpoint, actual[partition.topic])
    except ConcurrentUpdate as race:
        raise RecoveryConflict("another worker created the first checkpoint") from race
    return first


def _with_leader_epochs(
    database: Database, stored: Mapping[Partition, Checkpoint], ranges: Mapping[Partition, OffsetRange]
) -> dict[Partition, Checkpoint]:
    """Store the present leader epoch where none is known: of an older release's checkpoint, or one moved by hand.

    The log reaches the checkpoint in this epoch, whichever leader wrote the record before it: `_check` has verified it.
    """
    unknown = [p for p, checkpoint in stored.items() if checkpoint.leader_epoch is None]
    after = {p: stored[p]._replace(leader_epoch=ranges[p].leader_epoch) for p in unknown}
    after = {p: checkpoint for p, checkpoint in after.items() if checkpoint.leader_epoch is not None}
    if after:
        with database.transaction() as tx:
            if progress.checkpoints(tx, after) != {p: stored[p] for p in after}:
                raise RecoveryConflict("another worker is recovering the same partitions")
            progress.advance(tx, after)
    return after


def _check(partition: Partition, checkpoint: Checkpoint, offsets: OffsetRange) -> None:
    start, end, _ = offsets
    if not start <= checkpoint.next_offset <= end:
        raise UnsafeToContinue(
            f"{partition}: the next offset to handle is {checkpoint.next_offset}, but the log has {start} to {end}:"
            " it was truncated or recreated, and events would be lost. Restore the topic, or, if its lost records are"
            " not needed, set next_offset in the table checkpoint by hand"
        )


def _check_entries(
    partition: Partition,
    committed: CommittedOffset | None,
    known: CommittedOffset | None,
    checkpoint: Checkpoint,
    entries: list[OutboxEntry],
) -> None:
    """The entries end at the checkpoint's outbox_seq without a gap, and follow a committed outbox_seq directly.

    If the committed offset is lost and the witness replaces it, they may begin later: a worker without witnesses (an
    older release, or at-least-once) may have published since, and deleted what it published.
    """
    last = checkpoint.outbox_seq
    first = last - len(entries) + 1
    whole = [entry.outbox_seq for entry in entries] == list(range(first, last + 1))
    ours = committed is not None and committed.outbox_seq is not None
    if not whole or (ours and known is not None and first != (known.outbox_seq or 0) + 1):
        raise RecoveryConflict(f"{partition}: the outbox does not match the committed offset yet")
