"""Creating topics, and inspecting them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic, OffsetSpec

from eventbus.kafka.causes import explained
from eventbus.text.plural import plural
from saga.kafka.cluster import ANSWER_SECONDS, Cluster, offsets_of
from saga.kafka.topics_file import Topic, counts

CREATED, EXISTS, DIFFERS, FAILED = "created", "exists", "differs", "failed"
RETENTION_MS, RETENTION_BYTES, CLEANUP_POLICY = "retention.ms", "retention.bytes", "cleanup.policy"
BROKERS_DEFAULT = -1
"""The replication factor that selects the broker's default (KIP-464)."""


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """The result for one topic: `created`, `exists`, `differs` or `failed`, and the details."""

    topic: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class Extent:
    """The offsets of one partition: the first one, and the one after the last. Markers take offsets, too."""

    partition: int
    start: int
    end: int


def create(cluster: Cluster, wanted: Iterable[Topic], partitions: int, replication: int) -> list[TopicOutcome]:
    """Create missing topics, compare existing ones; no existing topic is changed. Raises Unreachable."""
    wanted = list(wanted)
    numbers = counts(wanted, partitions)
    there = cluster.partitions()
    made = _make(cluster, [topic for topic in wanted if topic.name not in there], numbers, replication)
    there = cluster.partitions()
    compared = [topic for topic in wanted if topic.name not in made]
    configs = _configs(cluster, [topic.name for topic in compared])
    for topic in compared:
        found = there.get(topic.name, {})
        differences = [
            *_compare_partitions(found, numbers[topic.name], replication),
            *_compare_config(configs[topic.name], topic.config),
        ]
        status = DIFFERS if differences else EXISTS
        made[topic.name] = TopicOutcome(topic.name, status, "; ".join(differences) or plural(len(found), "partition"))
    return [made[topic.name] for topic in wanted]


def extents(cluster: Cluster, topics: Iterable[str]) -> dict[str, list[Extent]]:
    """Return the extents of these topics; missing topics are omitted. Raises Unreachable."""
    there = cluster.partitions()
    places = [TopicPartition(name, number) for name in topics for number in there.get(name, ())]
    starts, ends = _offsets(cluster, places, OffsetSpec.earliest()), _offsets(cluster, places, OffsetSpec.latest())
    found: dict[str, list[Extent]] = {}
    for place in places:
        at = (place.topic, place.partition)
        found.setdefault(place.topic, []).append(Extent(place.partition, starts[at], ends[at]))
    return found


def short_retention(cluster: Cluster, wanted: Iterable[Topic]) -> dict[str, dict[str, str]]:
    """Return the properties that make topics delete records earlier than the file sets, by topic.

    Missing topics, and brokers that do not support DescribeConfigs, have none. Raises Unreachable.
    """
    there = cluster.partitions()
    keeping = [topic for topic in wanted if topic.name in there and RETENTION_MS in topic.config]
    configs = _configs(cluster, [topic.name for topic in keeping])
    found: dict[str, dict[str, str]] = {}
    for topic in keeping:
        config = configs[topic.name] or {}
        limits = {RETENTION_MS: topic.config[RETENTION_MS], RETENTION_BYTES: topic.config.get(RETENTION_BYTES, "-1")}
        shorter = {name: config[name] for name, limit in limits.items() if _is_less(config.get(name), limit)}
        if "delete" in config.get(CLEANUP_POLICY, "delete") and shorter:
            found[topic.name] = shorter
    return found


def _is_less(found: str | None, wanted: str) -> bool:
    """Return whether a limit is tighter than the other; -1 is none."""
    return found is not None and int(found) >= 0 and (int(wanted) < 0 or int(found) < int(wanted))


def _make(
    cluster: Cluster, topics: list[Topic], numbers: Mapping[str, int], replication: int
) -> dict[str, TopicOutcome]:
    new = [NewTopic(topic.name, numbers[topic.name], replication, config=dict(topic.config)) for topic in topics]
    made = {}
    futures = cluster.admin.create_topics(new, operation_timeout=ANSWER_SECONDS) if new else {}
    for name, future in futures.items():
        try:
            future.result()
            made[name] = TopicOutcome(name, CREATED, plural(numbers[name], "partition"))
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                made[name] = TopicOutcome(name, FAILED, _why_not(error))
    return made


def _why_not(error: KafkaError) -> str:
    if error.code() == KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001 - that is how the client spells it
        return "this broker does not support creating topics (`saga broker` has its own)"
    return explained(error)


def _compare_partitions(found: Mapping[int, Any], partitions: int, replication: int) -> list[str]:
    differences = [] if len(found) == partitions else [f"it has {plural(len(found), 'partition')}, not {partitions}"]
    factors = {len(partition.replicas) for partition in found.values()}
    if replication != BROKERS_DEFAULT and factors != {replication}:
        differences.append(f"its replication factor is {max(factors, default=0)}, not {replication}")
    return differences


def _compare_config(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> list[str]:
    if found is None:
        return []
    return [f"{name} is {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]


def _configs(cluster: Cluster, names: list[str]) -> dict[str, dict[str, str] | None]:
    """Return the properties of these topics; None on a broker that does not support DescribeConfigs."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str] | None] = {}
    futures = cluster.admin.describe_configs(resources, request_timeout=ANSWER_SECONDS) if resources else {}
    for resource, future in futures.items():
        try:
            configs[resource.name] = {name: entry.value for name, entry in future.result().items()}
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001 - the client spells it so
                raise cluster.unreachable(failure) from failure
            configs[resource.name] = None
    return configs


def _offsets(cluster: Cluster, places: list[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
    if not places:
        return {}

    def question() -> dict[tuple[str, int], int]:
        futures = cluster.admin.list_offsets(dict.fromkeys(places, which), request_timeout=cluster.answer_seconds)
        return offsets_of(futures)

    return cluster.ask(question)
