"""The broker of the demo: its own, or a real one, which is left as it was found."""

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
from saga.kafka.target import KafkaTarget
from saga.kafka.topics import BROKERS_DEFAULT, FAILED, create, extents
from saga.kafka.topics_file import Topic, counts, read_topics

PARTITIONS = 4
MEMBERS_SECONDS = 20.0
"""A stopped worker stays in its group, as a static member, for its session timeout of 10 s."""
UNUSED = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
EAGER = {"fetch.wait.max.ms": "10"}
"""The embedded broker answers an empty fetch only after the fetch's maximum wait, so that has to be short."""


class InUse(RuntimeError):
    """The broker has orders or workers already; the demo would interfere with them."""


@dataclass(frozen=True, slots=True)
class DemoPlace(KafkaTarget):
    """A broker with the saga's topics, empty."""

    delivery: str

    def options(self, folder: Path) -> list[str]:
        """Return the options that make a command use this broker; secrets are in a file in the folder."""
        config = write_properties(folder, self.kafka_config)
        return ["--bootstrap-servers", self.bootstrap_servers, "--delivery", self.delivery, *config]


@contextmanager
def embedded() -> Iterator[DemoPlace]:
    """Run a broker inside this process."""
    with EmbeddedBroker(counts(read_topics(), PARTITIONS)) as broker:
        yield DemoPlace(broker.bootstrap_servers, EAGER, "at-least-once")


@contextmanager
def real(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> Iterator[DemoPlace]:
    """Use a running broker; raises InUse unless the saga's topics are empty or missing and have no consumers.

    At the end the topics are deleted, and created again if they existed: workers would refuse topics whose committed
    offsets belong to databases that no longer exist. The declarations of other workers are kept.
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
        raise InUse(f"the topic {failed[0].topic} cannot be created: {failed[0].detail}")
    try:
        yield DemoPlace(bootstrap_servers, kafka_config, "exactly-once")
    finally:
        wait_for(cluster.admin.delete_topics([topic.name for topic in topics], operation_timeout=ANSWER_SECONDS))
        if found:
            wait_for(cluster.admin.create_topics(found, operation_timeout=ANSWER_SECONDS))


def _used(cluster: Cluster) -> dict[str, int]:
    """Return the number of offsets used in each topic that is not empty."""
    found = extents(cluster, [topic.name for topic in read_topics()])
    taken = {name: sum(part.end - part.start for part in parts) for name, parts in found.items()}
    return {name: offsets for name, offsets in taken.items() if offsets}


def _refuse_orders(topics: list[Topic], used: Mapping[str, int]) -> None:
    for topic in topics:
        if offsets := used.get(topic.name):
            raise InUse(
                f"the topic {topic.name} is not empty ({offsets} offsets used): the demo needs a broker without orders"
            )


def _refuse_workers(cluster: Cluster) -> None:
    until = time.monotonic() + MEMBERS_SECONDS
    while members := _members(cluster):
        if time.monotonic() > until:
            raise InUse(f"workers of {', '.join(members)} run on this broker: stop them first")
        time.sleep(ASK_AGAIN_SECONDS)


def _members(cluster: Cluster) -> list[str]:
    """Return the groups of the services that have members.

    Not by describe_consumer_groups: if it times out before its underlying request does, librdkafka 2.16 aborts the
    process later, when a broker disconnects (an assertion, confluentinc/librdkafka#4605; seen in `make chaos`).
    """

    def question() -> list[str]:
        found = cluster.admin.list_consumer_groups(request_timeout=cluster.answer_seconds).result()
        if found.errors:
            raise KafkaException(found.errors[0])
        return [each.group_id for each in found.valid if each.group_id in MODULES and each.state not in UNUSED]

    return cluster.ask(question)


def described(cluster: Cluster, names: list[str]) -> list[NewTopic]:
    """Return specifications to create these topics again exactly as they are."""
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
    """Wait until all of them are done. Raises KafkaException."""
    for future in futures.values():
        future.result()
