"""Detects topics that were deleted and recreated since their checkpoints were written or since they were published to.

A topic can be recreated while a worker runs. So topic ids are checked again: those of a batch before it is decided on
(the request is sent when the records arrive, and answered while they are decoded), those of checkpoints that move past
markers, and all of them about every second, idle or busy, and before a publish that comes later than that. A recreated
progress topic is empty: each worker commits the offsets of its partitions again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from eventbus.database import Database
from eventbus.engine.assignment import UNKNOWN, Owned
from eventbus.log import Identity, Log, Partition, TopicMissing, UnsafeToContinue
from eventbus.store import progress

LIMITS_SECONDS = 30.0
NEVER = float("-inf")


class Incarnations:
    """Raises UnsafeToContinue if a topic was recreated.

    Raises LogUnavailable and TopicMissing as the log does.
    """

    def __init__(self, log: Log, database: Database, outputs: Collection[str], clock: Callable[[], float]) -> None:
        self._log, self._database, self._clock = log, database, clock
        self._outputs = sorted(set(outputs))
        self._watched = {*self._outputs} | ({log.witness_topic} if log.witness_topic else set())
        self._witness_id = ""
        self._published_to: dict[str, str] = {}
        self._looked_at = clock()
        self._limits_at = NEVER

    def recall(self) -> None:
        """Load the ids of the topics that this service has published to, and store those of its new output topics."""
        actual = self._log.identities(self._watched)
        with self._database.transaction() as tx:
            known = progress.output_topics(tx)
            new = {topic: actual[topic].topic for topic in self._outputs if topic not in known}
            progress.add_output_topics(tx, new)
        self._published_to = known | new
        self._check_outputs(actual)
        self._witness_id = self._witness_id or self._witness_in(actual)

    def note_limits(self) -> None:
        """Store the topics' size limits for commands that publish events, every 30 s. Raises Unavailable, too."""
        if self._clock() - self._limits_at < LIMITS_SECONDS:
            return
        limits = self._log.largest(self._outputs)
        with self._database.transaction() as tx:
            progress.note_output_limits(tx, {topic: limit.bytes for topic, limit in limits.items()})
        self._limits_at = self._clock()

    def limits_changed(self) -> None:
        """Make the next `note_limits` ask the broker again."""
        self._limits_at = NEVER

    def ask(self, topics: Collection[str]) -> None:
        """Send the request whose response the next `check` of partitions of these topics waits for."""
        self._log.ask_identities(topics)

    def check(self, owned: Collection[Owned]) -> None:
        """Check the topics of these partitions."""
        if owned:
            self._check_inputs(owned, self._log.identities({each.partition.topic for each in owned}))

    def check_all(self, owned: Iterable[Owned], every: float) -> None:
        """Check the topics of all recovered partitions and the output topics, unless checked in the last `every` s."""
        known = [each for each in owned if each.recovered]
        if not known or self._clock() - self._looked_at < every:
            return
        actual = self._log.identities({*self._watched, *(each.partition.topic for each in known)})
        self._check_inputs(known, actual)
        self._check_outputs(actual)
        self._check_witness(known, actual)
        self._looked_at = self._clock()

    def check_stored(self, inputs: Collection[str]) -> None:
        """Check these topics and the output topics against the database, for a worker without partitions.

        When a topic is deleted the group rebalances, and the first worker that stops remains a member until its session
        expires: until then the other workers have no partition of the topic to check.
        """
        with self._database.snapshot() as tx:
            stored, self._published_to = progress.identities(tx), progress.output_topics(tx)
        here = {partition: known for partition, known in stored.items() if partition.topic in inputs}
        with suppress(TopicMissing):
            actual = self._log.identities({*self._outputs, *(partition.topic for partition in here)})
            check_identities(here, actual)
            self._check_outputs(actual)

    def _witness_in(self, actual: dict[str, Identity]) -> str:
        return actual[self._log.witness_topic].topic if self._log.witness_topic else ""

    def _check_witness(self, known: Iterable[Owned], actual: dict[str, Identity]) -> None:
        """Have the offsets of these partitions committed again if the progress topic was recreated and is empty."""
        found = self._witness_in(actual)
        if found != self._witness_id:
            self._witness_id = found
            for each in known:
                each.committed = UNKNOWN

    @staticmethod
    def _check_inputs(owned: Iterable[Owned], actual: dict[str, Identity]) -> None:
        for each in owned:
            check_identity(each.partition, each.identity, actual[each.partition.topic])

    def _check_outputs(self, actual: dict[str, Identity]) -> None:
        for topic in self._outputs:
            known = self._published_to.get(topic, actual[topic].topic)
            if known != actual[topic].topic:
                raise UnsafeToContinue(
                    f"the topic {topic}, to which this service publishes, was deleted and created again (its id was"
                    f" {known}, now it is {actual[topic].topic}): the records published to it are gone, and the"
                    " committed offsets of its consumers belong to the old topic. Restore the missing records, or"
                    " make every consumer read the topic from its start; then stop all workers of the service and"
                    " delete the topic's row from its table output_topic"
                )


def deleted(topic: str) -> UnsafeToContinue:
    """Return the error for an input topic that was deleted while the worker ran."""
    return UnsafeToContinue(
        f"{topic} was deleted while this worker ran. A new topic of the same name has other offsets. If every old"
        " event was handled, create it (`saga topics create`) and start a worker: it also stops, and its message says"
        " how to read the topic from its start"
    )


def with_warning(missing: TopicMissing, database: Database) -> TopicMissing:
    """Return the error for topics that are missing at start; it warns if the database has read topics before."""
    with database.snapshot() as tx:
        clusters = sorted({identity.cluster for identity in progress.identities(tx).values()})
    if not clusters:
        return missing
    return TopicMissing(
        f"{missing}. But this database has checkpoints of the Kafka cluster {', '.join(clusters)}: topics that are made"
        " anew there, or in another cluster, are refused then (exit code 3), because their offsets are others",
        missing.topic,
    )


def check_identities(stored: Mapping[Partition, Identity], actual: Mapping[str, Identity]) -> None:
    """Refuse checkpoints of another cluster, or of another incarnation of those topics whose identity is known.

    Checks all checkpoints: a partition that only the recreated topic has, has no checkpoint to compare with.
    """
    cluster = next((identity.cluster for identity in actual.values()), "")
    for partition, identity in sorted(stored.items()):
        check_identity(partition, identity, actual.get(partition.topic) or Identity(cluster, identity.topic))


def check_identity(partition: Partition, stored: Identity, actual: Identity) -> None:
    """Refuse a checkpoint of another cluster or of another incarnation of the topic."""
    if stored.cluster != actual.cluster:
        raise UnsafeToContinue(
            f"{partition}: the database's checkpoint belongs to the Kafka cluster {stored.cluster!r}, but this cluster"
            f" is {actual.cluster!r}. Check --bootstrap-servers and --database; a new cluster needs a new database"
        )
    if stored.topic != actual.topic:
        raise UnsafeToContinue(
            f"{partition}: the topic was deleted and created again (its id was {stored.topic}, now it is"
            f" {actual.topic}), so the stored offsets are not valid. If every old event was handled, stop all workers"
            " of the service and have the topic read from its start: update checkpoint set topic_id ="
            f" '{actual.topic}', next_offset = 0, leader_epoch = null where topic = '{partition.topic}'. Outputs that"
            " were decided before are published then; leave the table outbox as it is"
        )
