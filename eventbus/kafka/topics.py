"""The checks of the topics before a worker starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource

from eventbus.deadletters.letter import ROOM_BYTES
from eventbus.kafka.causes import DENIED, Complaints, unanswered
from eventbus.kafka.config import LARGEST_DEAD_LETTER, Connection, client
from eventbus.kafka.diagnosis import diagnose
from eventbus.log import AuthenticationFailed, Limit, LogUnavailable, NoBrokerAnswers, TopicMissing, UnsafeToContinue
from eventbus.serde.codec import MAX_VALUE_BYTES

SECONDS = 5.0
LIMIT, OWN_LIMIT = "max.message.bytes", "message.max.bytes"
"""Kafka's names of the topic's setting and the client's."""


class ReachedCluster(NamedTuple):
    """The cluster that a worker is connected to."""

    id: str
    brokers: int
    partition_counts: dict[str, int]
    """How many partitions each existing topic has."""


def check_topics(
    connection: Connection,
    inputs: Iterable[str],
    outputs: Iterable[str],
    letters: Collection[str],
    warn: Callable[[str], None],
) -> ReachedCluster:
    """Return the cluster with all its topics.

    `letters` are the topics of dead letters and of operator actions; `warn` is called for topics whose size limit is
    below that of an event. Raises TopicMissing, UnsafeToContinue if a dead letter could be too large,
    AuthenticationFailed, or LogUnavailable.
    """
    inputs, outputs = list(inputs), list(outputs)
    wanted = {*inputs, *outputs, *letters}
    with asking(connection) as (admin, complaints):
        cluster = metadata(admin, complaints, SECONDS)
        existing = cluster.topics
        missing = sorted(wanted - set(existing))
        if denied := hidden(admin, missing, SECONDS):
            raise LogUnavailable(f"the topics {', '.join(denied)}: {DENIED[KafkaError.TOPIC_AUTHORIZATION_FAILED]}")
        if missing:
            raise TopicMissing(f"topics that do not exist: {', '.join(missing)}. {_how_to_create(connection)}")
        topic_limits = _topic_limits(admin, wanted)
    largest = max((topic_limits[topic] for topic in inputs if topic in topic_limits), default=0)
    limits = _with_own(topic_limits, connection)
    for topic in letters:
        if topic in limits and limits[topic].bytes < largest + ROOM_BYTES:
            raise UnsafeToContinue(
                f"{topic} accepts at most {limits[topic].bytes} bytes, an input topic {largest}: a dead letter needs"
                f" {ROOM_BYTES} bytes more than its record, and one that is too large would stop the worker. Set"
                f" {limits[topic].setting} to {largest + ROOM_BYTES}"
            )
    for topic in outputs:
        if topic in limits and limits[topic].bytes < MAX_VALUE_BYTES:
            warn(
                f"the topic {topic} accepts at most {limits[topic].bytes} bytes ({limits[topic].setting}), an event may"
                f" have {MAX_VALUE_BYTES}: the key of a larger one is blocked until that limit is raised"
            )
    partition_counts = {name: len(topic.partitions) for name, topic in existing.items()}
    return ReachedCluster(cluster.cluster_id or "", len(cluster.brokers), partition_counts)


def _how_to_create(connection: Connection) -> str:
    service, create = connection.group, f"saga topics create --bootstrap-servers {connection.bootstrap_servers}"
    return (
        f"Create them: {create}. Topics that it does not know, as of a service of your own: write its"
        f" `declaration` to {service}.json, then: saga flow --format topics {service}.json > {service}.yaml;"
        f" {create} --file {service}.yaml"
    )


def uneven(partitions: Mapping[str, int]) -> str | None:
    """Return a text about topics with different numbers of partitions; None if all have the same."""
    most, _ = max(Counter(partitions.values()).items(), key=lambda each: (each[1], each[0]), default=(0, 0))
    others = [f"{topic} has {count}" for topic, count in sorted(partitions.items()) if count != most]
    return f"{', '.join(others)}, the other topics have {most} partitions" if others else None


@contextmanager
def asking(connection: Connection) -> Iterator[tuple[AdminClient, Complaints]]:
    """Yield an admin client; diagnose its errors. Raises AuthenticationFailed if a setting is wrong, LogUnavailable."""
    complaints = Complaints()
    config = connection.common() | {"error_cb": complaints}
    admin = client(AdminClient, config, connection.logger)
    try:
        yield admin, complaints
    except KafkaException as error:
        admin.poll(0)
        found = diagnose(config, complaints.errors)
        if found is not None and found.ours:
            raise AuthenticationFailed(f"Kafka at {connection.bootstrap_servers}: {found.why}") from error
        raise NoBrokerAnswers(unanswered(error.args[0]) if found is None else found.why) from error


def metadata(admin: AdminClient, complaints: Complaints, seconds: float) -> Any:
    """Return the cluster's metadata, or raise KafkaException after `seconds`, or as soon as a broker rejected us.

    A single request could not be cancelled; so there are several, each with a longer timeout than the one before.
    """
    wait = min(1.0, seconds)
    while True:
        try:
            return admin.list_topics(timeout=wait)
        except KafkaException:
            admin.poll(0)
            seconds -= wait
            if seconds <= 0 or complaints.refused:
                raise
        wait = min(wait * 2, seconds)


def hidden(admin: AdminClient, topics: Iterable[str], seconds: float) -> list[str]:
    """Return which of these unlisted topics may exist: this user is not authorized to describe them."""
    missing = sorted(topics)
    if not missing:
        return []
    answers = admin.describe_topics(TopicCollection(missing), request_timeout=seconds)
    errors = {topic: answer.exception() for topic, answer in answers.items()}
    return [topic for topic, error in errors.items() if _code(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED]


def _code(error: BaseException | None) -> int | None:
    return error.args[0].code() if isinstance(error, KafkaException) else None


def limits_of(admin: AdminClient, topics: Iterable[str], connection: Connection) -> dict[str, Limit]:
    """Return the largest record that this worker can write to each topic; none if the broker does not tell.

    Raises KafkaException.
    """
    return _with_own(_topic_limits(admin, topics), connection)


def _with_own(topic_limits: Mapping[str, int], connection: Connection) -> dict[str, Limit]:
    own = Limit(int(connection.extra.get(OWN_LIMIT, LARGEST_DEAD_LETTER)), f"{OWN_LIMIT} of --kafka-config")
    return {topic: min(Limit(most, f"its {LIMIT}"), own) for topic, most in topic_limits.items()}


def _topic_limits(admin: AdminClient, topics: Iterable[str]) -> dict[str, int]:
    """Return the largest record batch each topic accepts; none if the broker does not tell (the embedded one)."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    limits = {}
    for resource, future in admin.describe_configs(resources, request_timeout=SECONDS).items():
        try:
            config: dict[str, Any] = future.result()
        except KafkaException as error:
            if error.args[0].code() in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.TOPIC_AUTHORIZATION_FAILED):  # noqa: SLF001
                continue
            raise
        limits[resource.name] = int(config[LIMIT].value)
    return limits
