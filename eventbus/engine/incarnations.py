"""Whether topics are still the ones that checkpoints belong to and that were published to, or were created again.

What recovery saw can change under a running worker. So it is looked at again: the topics of a batch before it is
decided on (the question is sent when the records come, and answered while they are decoded), those of checkpoints that
go past markers, and all topics about every second, idle or busy, and before a publish that comes later than that. A
topic of progress that was created again has lost what it knew; each worker writes the cursors of its partitions once
more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from eventbus.database import Database
from eventbus.engine.batch import UNKNOWN, Owned
from eventbus.log import Identity, Log, Partition, Refused, TopicMissing
from eventbus.store import progress

LIMITS_SECONDS = 30.0
NEVER = float("-inf")


class Incarnations:
    """Raises Refused where a topic is another one than it was; LogUnavailable and TopicMissing as the log does."""

    def __init__(self, log: Log, database: Database, outputs: Collection[str], clock: Callable[[], float]) -> None:
        self._log, self._database, self._clock = log, database, clock
        self._outputs = sorted(set(outputs))
        self._watched = {*self._outputs} | ({log.witness_topic} if log.witness_topic else set())
        self._witness_id = ""
        self._published_to: dict[str, str] = {}
        self._looked_at = clock()
        self._limits_at = NEVER

    def recall(self) -> None:
        """Read to which topics this service has published, and note those to which it will for the first time."""
        actual = self._log.identities(self._watched)
        with self._database.transaction() as tx:
            known = progress.output_topics(tx)
            new = {topic: actual[topic].topic for topic in self._outputs if topic not in known}
            progress.add_output_topics(tx, new)
        self._published_to = known | new
        self._check_outputs(actual)
        self._witness_id = self._witness_id or self._witness_in(actual)

    def note_limits(self) -> None:
        """Tell those who place events how much the topics take, every now and then. Raises Unavailable, too."""
        if self._clock() - self._limits_at < LIMITS_SECONDS:
            return
        limits = self._log.largest(self._outputs)
        with self._database.transaction() as tx:
            progress.note_output_limits(tx, {topic: limit.bytes for topic, limit in limits.items()})
        self._limits_at = self._clock()

    def limits_changed(self) -> None:
        """Let the next `note_limits` ask."""
        self._limits_at = NEVER

    def ask(self, topics: Collection[str]) -> None:
        """Send the question that the next `check` of partitions of these topics waits for."""
        self._log.ask_identities(topics)

    def check(self, owned: Collection[Owned]) -> None:
        """Check the topics of these partitions."""
        if owned:
            self._check_inputs(owned, self._log.identities({each.partition.topic for each in owned}))

    def check_all(self, owned: Iterable[Owned], every: float) -> None:
        """Check the topics of all recovered partitions, and those published to, unless that was done just now."""
        known = [each for each in owned if each.known]
        if not known or self._clock() - self._looked_at < every:
            return
        actual = self._log.identities({*self._watched, *(each.partition.topic for each in known)})
        self._check_inputs(known, actual)
        self._check_outputs(actual)
        self._check_witness(known, actual)
        self._looked_at = self._clock()

    def check_stored(self, inputs: Collection[str]) -> None:
        """Check these topics, and those published to, by what the database says: for who has no partition.

        When a topic is deleted the group rebalances, and who refuses first is a member until its session is over: so
        long the others have no partition to find out by.
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
        """Have the cursors of these published again where the topic of progress is another one, and empty."""
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
                raise Refused(
                    f"the topic {topic}, to which this service publishes, was deleted and created again (its id was"
                    f" {known}, now it is {actual[topic].topic}): what was published to it is gone, and who read it"
                    " stands at an offset of the old one. Restore what is missing, or see to it that every reader"
                    " starts anew; then stop all workers of the service and delete the topic's row from its table"
                    " output_topic"
                )


def deleted(topic: str) -> Refused:
    """Return why nobody goes on with an input topic that was deleted under a running worker."""
    return Refused(
        f"{topic} was deleted while this worker ran. What is created under its name is another topic: its offsets mean"
        " something else. If every old event was handled, create it (`saga topics create`) and start a worker: it"
        " refuses too, and says how the topic is read from its start"
    )


def check_identities(stored: Mapping[Partition, Identity], actual: Mapping[str, Identity]) -> None:
    """Refuse checkpoints of another cluster, or of another incarnation of those topics whose identity is known.

    Every checkpoint counts: a partition that a new topic has more has none to tell by.
    """
    cluster = next((identity.cluster for identity in actual.values()), "")
    for partition, identity in sorted(stored.items()):
        check_identity(partition, identity, actual.get(partition.topic) or Identity(cluster, identity.topic))


def check_identity(partition: Partition, stored: Identity, actual: Identity) -> None:
    """Refuse a checkpoint of another cluster or of another incarnation of the topic."""
    if stored.cluster != actual.cluster:
        raise Refused(
            f"{partition}: the database's checkpoint belongs to the Kafka cluster {stored.cluster!r}, this one is"
            f" {actual.cluster!r}. Check --bootstrap-servers and --database; a new cluster needs a new database"
        )
    if stored.topic != actual.topic:
        raise Refused(
            f"{partition}: the topic was deleted and created again (its id was {stored.topic}, now it is"
            f" {actual.topic}); offsets mean something else now. If every old event was handled, stop all workers of"
            f" the service and let the topic be read from its start: update checkpoint set topic_id = '{actual.topic}',"
            f" next_offset = 0, leader_epoch = null where topic = '{partition.topic}'. What was decided before is"
            " published then; leave the table outbox as it is"
        )
