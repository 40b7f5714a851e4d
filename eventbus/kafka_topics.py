"""What must be true of the topics before a worker starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from eventbus.dead_letters import ROOM_BYTES
from eventbus.kafka_config import Connection, client
from eventbus.log import LogUnavailable, Refused, TopicMissing

SECONDS = 5.0
LIMIT = "max.message.bytes"


def check_topics(
    connection: Connection, inputs: Iterable[str], outputs: Iterable[str], dead_letters: str, resolutions: str
) -> frozenset[str]:
    """Return all topics that are there.

    Raises TopicMissing, Refused when a dead letter could be too large for its topics, or LogUnavailable.
    """
    admin = client(AdminClient, connection.common(), connection.logger)
    inputs = list(inputs)
    wanted = {*inputs, *outputs, dead_letters, resolutions}
    try:
        there = admin.list_topics(timeout=SECONDS).topics
        missing = sorted(wanted - set(there))
        if missing:
            raise TopicMissing(
                f"topics that do not exist: {', '.join(missing)}."
                f" Make them: saga topics create --bootstrap-servers {connection.bootstrap_servers}"
            )
        limits = _limits(admin, {*inputs, dead_letters, resolutions})
    except KafkaException as error:
        raise LogUnavailable(f"no broker answers at {connection.bootstrap_servers}: {error.args[0].str()}") from error
    largest = max((limits[topic] for topic in inputs if topic in limits), default=0)
    for topic in (dead_letters, resolutions):
        if topic in limits and limits[topic] < largest + ROOM_BYTES:
            raise Refused(
                f"{topic} takes at most {limits[topic]} bytes, an input topic takes {largest}: a"
                f" dead letter needs {ROOM_BYTES} more, or one too large would stop everything. Set its {LIMIT} to"
                f" {largest + ROOM_BYTES}"
            )
    return frozenset(there)


def _limits(admin: AdminClient, topics: Iterable[str]) -> Mapping[str, int]:
    """Return the largest record batch each topic takes; nothing where the broker does not say (the embedded one)."""
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
