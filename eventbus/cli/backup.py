"""Accepting a restored backup when nothing newer is left: resets committed offsets and witnesses to its state.

Records that were handled after the backup are then handled a second time. Only while no worker runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.database import Database
from eventbus.engine.incarnations import check_identity
from eventbus.kafka.causes import explained
from eventbus.kafka.config import Connection, client
from eventbus.kafka.log import KafkaLog
from eventbus.kafka.producer import Producers, Witness
from eventbus.kafka.progress_topic import without_group
from eventbus.kafka.topics import asking, metadata
from eventbus.kafka.witness import encode
from eventbus.log import CommittedOffset, Identity, LogUnavailable, OffsetRange, Partition
from eventbus.service import Service
from eventbus.store import age, progress, quarantine
from eventbus.store.age import latest
from eventbus.store.progress import Checkpoint

SECONDS = 10.0


class NotAccepted(Exception):
    """The backup cannot be accepted; the message says why and what to do."""


class RestorePlan(NamedTuple):
    """What would be written, and what follows from it."""

    committed: dict[Partition, CommittedOffset]
    """The offsets to commit: how far each partition is published according to the backup."""
    again: dict[str, int]
    """By topic: how many offsets that were handled will be handled again (transaction markers count, too)."""
    gone: dict[Partition, int]
    """How many offsets that should be handled again are no longer in the log."""
    new: dict[Partition, tuple[OffsetRange, Identity]]
    """Partitions that are not in the backup: they are consumed from their beginning offset."""


class Backup:
    """A service's database, restored from a backup, and its consumer group."""

    def __init__(self, service: type[Service[Any]], database: Database, connection: Connection) -> None:
        self._service, self._database, self._connection = service, database, connection
        self._log = KafkaLog(connection, warn=lambda _what: None)

    def close(self) -> None:
        """Close the clients."""
        self._log.close()

    def plan(self) -> RestorePlan:
        """Compare. Raises NotAccepted if workers run or the database is not older than the log; UnsafeToContinue."""
        with asking(self._connection) as (admin, complaints):
            metadata(admin, complaints, SECONDS)  # raises AuthenticationFailed, with the reason
        self._check_no_members()
        with self._database.snapshot() as tx:
            rows, this = progress.every_row(tx), quarantine.incarnation(tx)
            identities = progress.identities(tx)
        committed = self._log.group_offsets(self._service.subscriptions(), rows)
        witnesses = self._log.witnesses(undecided=True) or {}
        for partition, identity in identities.items():
            check_identity(partition, identity, self._identity(partition))
        witnesses = {p: w for p, w in witnesses.items() if w.topic_id == self._identity(p).topic}
        known = {p: latest(committed.get(p), witnesses.get(p)) for p in {*committed, *witnesses, *rows}}
        known = {p: offset for p, offset in known.items() if p in rows or p.topic in self._service.subscriptions()}
        plan = self._compared(known, rows)
        if not plan.again and not plan.new and all(w.database == this for w in witnesses.values()):
            raise NotAccepted(
                f"the database is not behind the committed offsets of the group {self._service.name}: there is"
                " nothing to accept. If it is in quarantine, release it with `database release`"
            )
        return plan

    def accept(self, plan: RestorePlan, by: str, reason: str, now_ms: int) -> str:
        """Carry out the plan; return the database's new id. If it is interrupted, repeat it, beginning with `plan`."""
        with self._database.transaction() as tx:
            for partition, (bounds, identity) in sorted(plan.new.items()):
                progress.create(tx, partition, Checkpoint(bounds.start, 0, 1, bounds.leader_epoch), identity)
        new_id = quarantine.new_incarnation()
        self._write(plan, new_id)
        with self._database.transaction() as tx:
            quarantine.renew(tx, new_id, now_ms, by, reason)
            quarantine.release(tx, now_ms, by, reason)
        return new_id

    def _compared(
        self, known: Mapping[Partition, CommittedOffset | None], rows: Mapping[Partition, age.Row]
    ) -> RestorePlan:
        bounds = self._log.offset_range(sorted(known)) if known else {}
        plan, again = RestorePlan({}, {}, {}, {}), Counter[str]()
        for partition, committed in sorted(known.items()):
            start, identity = bounds[partition].start, self._identity(partition)
            if partition not in rows:
                plan.new[partition] = (bounds[partition], identity)
            row = rows.get(partition) or age.Row(start, 0, identity.topic)
            if committed is None or committed.outbox_seq is None:
                continue
            again[partition.topic] += max(0, committed.offset - row.next_offset)
            if row.next_offset < start:
                plan.gone[partition] = start - row.next_offset
            offset, outbox_seq = min(committed.offset, row.next_offset), min(committed.outbox_seq, row.outbox_seq)
            plan.committed[partition] = CommittedOffset(offset, outbox_seq, topic_id=identity.topic)
        return plan._replace(again={topic: count for topic, count in again.items() if count})

    def _identity(self, partition: Partition) -> Identity:
        return self._log.identities({partition.topic})[partition.topic]

    def _write(self, plan: RestorePlan, database: str) -> None:
        """Write in one transaction. The broker accepts offsets from a non-member only while the group is empty."""
        topic = self._service.progress()
        offsets = [TopicPartition(*p, c.offset, str(c.outbox_seq)) for p, c in plan.committed.items()]
        witnesses = [Witness(topic, *encode(p, c._replace(database=database))) for p, c in plan.committed.items()]
        config = without_group(self._connection)
        non_member = client(self._connection.clients.consumer, config, self._connection.logger)
        producers = Producers(self._connection, _no_failpoint, bool)
        try:
            producers.transaction([], offsets, non_member.consumer_group_metadata(), witnesses=witnesses)
        finally:
            producers.close()
            non_member.close()

    def _check_no_members(self) -> None:
        group = self._service.name
        admin = client(AdminClient, self._connection.common(), self._connection.logger)
        try:
            described = admin.describe_consumer_groups([group], request_timeout=SECONDS)[group].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            raise LogUnavailable(f"the group {group}: {explained(error.args[0])}") from error
        if members := sorted(f"{m.group_instance_id or m.member_id} on {m.host}" for m in described.members):
            raise NotAccepted(
                f"workers of {group} are running: {', '.join(members)}. Stop them first; one that was stopped or killed"
                " stays a member until its session times out (10 s)"
            )


_no_failpoint: Callable[[str], None] = lambda _step: None  # noqa: E731 - no failpoints here
