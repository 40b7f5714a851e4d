"""Topics and groups of a broker, and what lies in its topics."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from eventbus.log import Headers, Output

PATIENCE = 60.0
"""Seconds for one answer of the broker: a slow machine is no failure."""


class Admin:
    """What tests ask of a broker, waiting until it is so."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})

    def topics(self) -> set[str]:
        """Return the names of all topics that are not Kafka's own."""
        return {name for name in self._client.list_topics(timeout=PATIENCE).topics if not name.startswith("__")}

    def groups(self) -> set[str]:
        """Return the names of all consumer groups."""
        return {group.group_id for group in self._client.list_consumer_groups().result().valid}

    def members(self, group: str) -> int:
        """Return how many members a consumer group has."""
        described = self._client.describe_consumer_groups([group])
        return len(described[group].result().members)

    def shares(self, group: str) -> dict[str, Counter[str]]:
        """Return how many partitions of each topic each member has."""
        shares: dict[str, Counter[str]] = defaultdict(Counter)
        for member in self._client.describe_consumer_groups([group])[group].result().members:
            for place in member.assignment.topic_partitions:
                shares[place.topic][member.client_id] += 1
        return dict(shares)

    def everything(self) -> frozenset[str]:
        """Return the names of all topics and groups."""
        return frozenset(self.topics() | self.groups())

    def create(self, topics: Iterable[str], partitions: int = 4, config: Mapping[str, str] | None = None) -> None:
        """Create topics, and wait until clients can see them and their partitions have leaders."""
        names = list(topics)
        made = [
            NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {})) for name in names
        ]
        for created in self._client.create_topics(made).values():
            created.result()
        self._until(lambda: set(names) <= self.topics(), f"{names} cannot be seen")
        places = [TopicPartition(name, number) for name in names for number in range(partitions)]
        self._until(lambda: self._led(places), f"{names} have partitions without a leader")

    def limit(self, topic: str, size: int) -> None:
        """Set how large a record of a topic may be, and wait until the broker says so."""
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for done in self._client.incremental_alter_configs([asked]).values():
            done.result()

        def is_so() -> bool:
            [answer] = self._client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
            return int(answer.result()["max.message.bytes"].value) == size

        self._until(is_so, f"the limit of {topic} is not {size}")

    def grow(self, topics: Iterable[str], partitions: int) -> None:
        """Give topics more partitions, so many in all, and wait until these have leaders."""
        names = list(topics)
        for grown in self._client.create_partitions([NewPartitions(name, partitions) for name in names]).values():
            grown.result()
        self._until(lambda: all(len(self._numbers(name)) == partitions for name in names), f"{names} did not grow")
        places = [TopicPartition(name, number) for name in names for number in range(partitions)]
        self._until(lambda: self._led(places), f"{names} have partitions without a leader")

    def remove(self, names: Iterable[str]) -> None:
        """Delete the topics and groups of these names. A group must be empty by now, or become so in time."""
        wanted = set(names)
        if topics := wanted & self.topics():
            for deleted in self._client.delete_topics(list(topics)).values():
                deleted.result()
            self._until(lambda: not topics & self.topics(), f"{topics} can still be seen")
        if groups := wanted & self.groups():
            self._until(lambda: self._deleted(groups), f"{groups} still have members")

    def read(self, topic: str, committed: bool = True) -> list[Message]:
        """Return every record of a topic, partition by partition, at most up to its present end."""
        config: dict[str, Any] = {
            "bootstrap.servers": self._servers,
            "group.id": "tests-read-only",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 5,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
        places = [TopicPartition(topic, number) for number in self._numbers(topic)]
        self._until(lambda: self._led(places), f"{topic} has partitions without a leader")
        consumer = Consumer(config)
        try:
            return _all_of(consumer, places)
        finally:
            consumer.close()

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None, partition: int = -1
    ) -> str:
        """Write one record as anybody could, and return where it lies: topic/partition/offset."""
        return self.produce_many([Output(topic, key, value, headers or [])], partition)[0]

    def produce_many(self, outputs: Iterable[Output], partition: int = -1) -> list[str]:
        """Write records at once, so that who reads them gets them at once; return where they lie."""
        where: list[str] = []

        def delivered(error: Any, record: Message) -> None:
            assert error is None, error
            where.append(f"{record.topic()}/{record.partition()}/{record.offset()}")

        config = {"bootstrap.servers": self._servers, "partitioner": "murmur2_random", "message.max.bytes": 2_000_000}
        producer = Producer(config | {"queue.buffering.max.messages": 2_000_000})
        for topic, key, value, headers in outputs:
            producer.produce(topic, value, key, partition=partition, headers=headers, on_delivery=delivered)
        assert producer.flush(120) == 0
        return where

    def _numbers(self, topic: str) -> list[int]:
        return sorted(self._client.list_topics(topic, timeout=PATIENCE).topics[topic].partitions)

    def _led(self, places: list[TopicPartition]) -> bool:
        """Return whether the leaders answer: who asks right after a creation may hear NOT_LEADER_FOR_PARTITION."""
        earliest: Any = OffsetSpec.earliest()
        answers = self._client.list_offsets(dict.fromkeys(places, earliest), request_timeout=PATIENCE)
        return not any(answer.exception() for answer in answers.values())

    def _deleted(self, groups: set[str]) -> bool:
        for deleted in self._client.delete_consumer_groups(list(groups)).values():
            deleted.exception()
        return not groups & self.groups()

    def _until(self, so: Callable[[], bool], otherwise: str, seconds: float = 2 * PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not so():
            if time.monotonic() > deadline:
                raise TimeoutError(otherwise)
            time.sleep(0.05)


def _all_of(consumer: Consumer, places: list[TopicPartition]) -> list[Message]:
    """Read all partitions at once: one after the other took half a second each."""
    starts = [consumer.get_watermark_offsets(place, timeout=PATIENCE)[0] for place in places]
    consumer.assign([TopicPartition(p.topic, p.partition, at) for p, at in zip(places, starts, strict=True)])
    found: dict[int, list[Message]] = {place.partition: [] for place in places}
    unread = set(found)
    while unread:
        message = consumer.poll(PATIENCE)
        if message is None:
            raise TimeoutError(f"{places[0].topic}/{sorted(unread)} did not come to their end")
        error, number = message.error(), message.partition()
        assert number is not None
        if error is None:
            found[number].append(message)
        elif error.name() == "_PARTITION_EOF":
            unread.discard(number)
        else:
            raise RuntimeError(f"{message.topic()}/{number}: {error}")
    return [record for number in sorted(found) for record in found[number]]
