"""Where the demo takes place: a broker of its own, or a real one, which is left as it was found."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import ConfigResource, ConfigSource, NewTopic

from eventbus.kafka.embedded import EmbeddedBroker
from eventbus.text.secret_files import write_properties
from saga.demo.workers import MODULES
from saga.kafka.cluster import ANSWER_SECONDS, ASK_AGAIN_SECONDS, Cluster
from saga.kafka.topics import BROKERS_DEFAULT, FAILED, create, extents
from saga.kafka.topics_file import Topic, counts, read_topics

PARTITIONS = 4
MEMBERS_SECONDS = 20.0
"""A worker that was stopped is still expected back, as a static member, for its session timeout of 10 s."""
UNUSED = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
EAGER = {"fetch.wait.max.ms": "10"}
"""The embedded broker answers a fetch that found nothing only when its time is over, so that time has to be short."""


class InUse(RuntimeError):
    """The broker has orders or workers of its own; the demo would get mixed up with them."""


@dataclass(frozen=True, slots=True)
class DemoPlace:
    """A broker with the saga's topics, empty."""

    bootstrap_servers: str
    delivery: str
    kafka_config: Mapping[str, str]

    def options(self, folder: Path) -> list[str]:
        """Return how a command is told to use this broker; what is secret stands in a file in the folder."""
        config = write_properties(folder, self.kafka_config)
        return ["--bootstrap-servers", self.bootstrap_servers, "--delivery", self.delivery, *config]


@contextmanager
def embedded() -> Iterator[DemoPlace]:
    """Run a broker inside this process."""
    with EmbeddedBroker(counts(read_topics(), PARTITIONS)) as broker:
        yield DemoPlace(broker.bootstrap_servers, "at-least-once", EAGER)


@contextmanager
def real(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> Iterator[DemoPlace]:
    """Use a broker that runs already; raises InUse unless the saga's topics are empty or missing and nobody reads them.

    At the end the topics are deleted, and made again if they were there: workers would refuse topics whose cursors
    belong to databases that are gone. What other workers have declared about themselves stays.
    """
    cluster = Cluster(bootstrap_servers, kafka_config)
    used = _used(cluster)
    topics = [topic for topic in read_topics() if topic.kind != "declarations" or topic.name not in used]
    _refuse_orders(topics, used)
    _refuse_workers(cluster)
    there = cluster.partitions()
    found = described(cluster, [topic.name for topic in topics if topic.name in there])
    failed = [finding for finding in create(cluster, topics, PARTITIONS, BROKERS_DEFAULT) if finding.status == FAILED]
    if failed:
        raise InUse(f"the topic {failed[0].topic} cannot be made: {failed[0].detail}")
    try:
        yield DemoPlace(bootstrap_servers, "exactly-once", kafka_config)
    finally:
        wait_for(cluster.admin.delete_topics([topic.name for topic in topics], operation_timeout=ANSWER_SECONDS))
        if found:
            wait_for(cluster.admin.create_topics(found, operation_timeout=ANSWER_SECONDS))


def _used(cluster: Cluster) -> dict[str, int]:
    """Return how many offsets are taken in the topics that are not empty."""
    found = extents(cluster, [topic.name for topic in read_topics()])
    taken = {name: sum(part.end - part.start for part in parts) for name, parts in found.items()}
    return {name: offsets for name, offsets in taken.items() if offsets}


def _refuse_orders(topics: list[Topic], used: Mapping[str, int]) -> None:
    for topic in topics:
        if offsets := used.get(topic.name):
            raise InUse(
                f"the topic {topic.name} is not empty ({offsets} offsets taken): the demo wants a broker without orders"
            )


def _refuse_workers(cluster: Cluster) -> None:
    until = time.monotonic() + MEMBERS_SECONDS
    while members := _members(cluster):
        if time.monotonic() > until:
            raise InUse(f"workers of {', '.join(members)} run on this broker: stop them first")
        time.sleep(ASK_AGAIN_SECONDS)


def _members(cluster: Cluster) -> list[str]:
    """Return the groups of the services that have members.

    Not by describe_consumer_groups: where it times out before the request under it does, librdkafka 2.16 ends the
    process later, when a broker goes away (an assertion, confluentinc/librdkafka#4605; seen in `make chaos`).
    """

    def question() -> list[str]:
        found = cluster.admin.list_consumer_groups(request_timeout=cluster.answer_seconds).result()
        if found.errors:
            raise KafkaException(found.errors[0])
        return [each.group_id for each in found.valid if each.group_id in MODULES and each.state not in UNUSED]

    return cluster.ask(question)


def described(cluster: Cluster, names: list[str]) -> list[NewTopic]:
    """Return what it takes to make these topics once more, just as they are."""
    there = cluster.partitions()
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    configs = cluster.admin.describe_configs(resources, request_timeout=ANSWER_SECONDS) if resources else {}
    new = []
    for resource, future in configs.items():
        own = {n: e.value for n, e in future.result().items() if e.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value}
        parts = there[resource.name]
        new.append(NewTopic(resource.name, len(parts), len(parts[0].replicas), config=own))
    return new


def wait_for(futures: Mapping[str, Any]) -> None:
    """Return when all of it is done. Raises KafkaException."""
    for future in futures.values():
        future.result()
