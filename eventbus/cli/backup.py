"""Going on with a backup where nothing newer is left: cursors and witnesses are written down to the database's state.

What the log knows and the backup does not is then handled a second time. Only while no worker runs.
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

    cursors: dict[Partition, CommittedOffset]
    """What is published by the backup's account."""
    again: dict[str, int]
    """By topic: so many offsets that were handled before are handled again (markers of transactions count, too)."""
    gone: dict[Partition, int]
    """So many offsets are to be handled again that the log no longer has."""
    new: dict[Partition, tuple[OffsetRange, Identity]]
    """Partitions of which the backup knows nothing: they are read from their start."""


class Backup:
    """The database of one service as the backup has it, and its group on Kafka."""

    def __init__(self, service: type[Service[Any]], database: Database, connection: Connection) -> None:
        self._service, self._database, self._connection = service, database, connection
        self._log = KafkaLog(connection, warn=lambda _what: None)

    def close(self) -> None:
        """Let go of the clients."""
        self._log.close()

    def plan(self) -> RestorePlan:
        """Compare. Raises NotAccepted while workers run, or where the database is not older than the log; Refused."""
        with asking(self._connection) as (admin, complaints):
            metadata(admin, complaints, SECONDS)  # who is not let in hears why
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
        known = {p: cursor for p, cursor in known.items() if p in rows or p.topic in self._service.subscriptions()}
        plan = self._compared(known, rows)
        if not plan.again and not plan.new and all(w.database == this for w in witnesses.values()):
            raise NotAccepted(
                f"the database is not older than what Kafka knows of {self._service.name}: there is nothing to accept."
                " If it is in quarantine, `database release` ends that"
            )
        return plan

    def accept(self, plan: RestorePlan, by: str, reason: str, now_ms: int) -> str:
        """Do it, and return the database's new id. When it is interrupted, do it again from the plan on."""
        with self._database.transaction() as tx:
            for partition, (bounds, identity) in sorted(plan.new.items()):
                progress.create(tx, partition, Checkpoint(bounds.start, 0, 1, bounds.leader_epoch), identity)
        drawn = quarantine.new_incarnation()
        self._write(plan, drawn)
        with self._database.transaction() as tx:
            quarantine.renew(tx, drawn, now_ms, by, reason)
            quarantine.release(tx, now_ms, by, reason)
        return drawn

    def _compared(
        self, known: Mapping[Partition, CommittedOffset | None], rows: Mapping[Partition, age.Row]
    ) -> RestorePlan:
        bounds = self._log.offset_range(sorted(known)) if known else {}
        plan, again = RestorePlan({}, {}, {}, {}), Counter[str]()
        for partition, cursor in sorted(known.items()):
            start, identity = bounds[partition].start, self._identity(partition)
            if partition not in rows:
                plan.new[partition] = (bounds[partition], identity)
            row = rows.get(partition) or age.Row(start, 0, identity.topic)
            if cursor is None or cursor.outbox_seq is None:
                continue
            again[partition.topic] += max(0, cursor.offset - row.next_offset)
            if row.next_offset < start:
                plan.gone[partition] = start - row.next_offset
            offset, outbox_seq = min(cursor.offset, row.next_offset), min(cursor.outbox_seq, row.outbox_seq)
            plan.cursors[partition] = CommittedOffset(offset, outbox_seq, topic_id=identity.topic)
        return plan._replace(again={topic: count for topic, count in again.items() if count})

    def _identity(self, partition: Partition) -> Identity:
        return self._log.identities({partition.topic})[partition.topic]

    def _write(self, plan: RestorePlan, database: str) -> None:
        """In one transaction. The broker takes offsets of who has not joined the group only while nobody has."""
        topic = self._service.progress()
        offsets = [TopicPartition(*p, cursor.offset, str(cursor.outbox_seq)) for p, cursor in plan.cursors.items()]
        witnesses = [Witness(topic, *encode(p, c._replace(database=database))) for p, c in plan.cursors.items()]
        config = without_group(self._connection)
        outsider = client(self._connection.clients.consumer, config, self._connection.logger)
        producers = Producers(self._connection, _nowhere, bool)
        try:
            producers.transaction([], offsets, outsider.consumer_group_metadata(), witnesses=witnesses)
        finally:
            producers.close()
            outsider.close()

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
                f"workers of {group} run: {', '.join(members)}. Stop them first; one that was stopped or killed is a"
                " member until its session ends (10 s)"
            )


_nowhere: Callable[[str], None] = lambda _step: None  # noqa: E731 - nobody crashes here
