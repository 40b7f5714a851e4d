"""Who consumes in a service's group, and how far behind the log: from the brokers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from saga.kafka.cluster import Unreachable
from saga.kafka.event_topics import EventTopics
from saga.kafka.records import TopicAndPartition, records
from saga.kafka.target import KafkaTarget

MOST_COUNTED = 10_000
"""Up to so many offsets behind, the records there are read and counted: markers of transactions take offsets, too."""


class GroupMember(NamedTuple):
    """One worker in a group; `name` is its instance name."""

    name: str
    host: str
    partitions: frozenset[TopicAndPartition]


class GroupLag(NamedTuple):
    """The members of a group, and how many records each partition has that the group has not handled."""

    members: list[GroupMember]
    behind: Mapping[TopicAndPartition, int]
    is_exact: bool
    """False: more than MOST_COUNTED offsets; they are counted instead of the records, which are fewer."""


def group_lag(target: KafkaTarget, group: str, topics: Sequence[str]) -> GroupLag:
    """Return who is in a group and how far behind it is. Raises Unreachable, TopicsMissing, LogMoved."""
    cluster = target.cluster()
    places = EventTopics(cluster, topics)
    starts, committed = places.starts(), _committed(target, group, places)
    ends = places.ends()
    open_offsets = {tp: (max(starts[tp], committed.get(tp, starts[tp])), end) for tp, end in ends.items()}
    waiting = {tp: span for tp, span in open_offsets.items() if span[0] < span[1]}
    behind = {tp: end - start for tp, (start, end) in waiting.items()}
    is_exact = sum(behind.values()) <= MOST_COUNTED
    if is_exact and behind:
        behind = dict.fromkeys(behind, 0)
        begins, until = ({tp: span[side] for tp, span in waiting.items()} for side in (0, 1))
        for message in records(target.client_config(), begins, until, lambda _tp, _batch: None):
            behind[message.topic(), message.partition()] += 1
    return GroupLag(_members(target, group), behind, is_exact)


def _committed(target: KafkaTarget, group: str, places: EventTopics) -> dict[TopicAndPartition, int]:
    config = {**target.client_config(), "group.id": group, "isolation.level": "read_uncommitted"}
    asked = [TopicPartition(*tp) for tp in places.starts()]
    with closing(Consumer({**config, "enable.auto.commit": False})) as consumer:
        try:
            answers = consumer.committed(asked, timeout=target.cluster().answer_seconds)
        except KafkaException as error:
            raise target.cluster().unreachable(error) from error
    refused = [answer.error for answer in answers if answer.error is not None]
    if refused:
        raise Unreachable(f"the committed offsets of {group} cannot be read: {refused[0].str()}")
    return {(answer.topic, answer.partition): answer.offset for answer in answers if answer.offset >= 0}


def _members(target: KafkaTarget, group: str) -> list[GroupMember]:
    cluster = target.cluster()

    def question() -> list[GroupMember]:
        described = cluster.admin.describe_consumer_groups([group], request_timeout=cluster.answer_seconds)[group]
        try:
            members = described.result().members
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            raise
        return [_member(member) for member in members]

    return sorted(cluster.ask(question))


def _member(member: object) -> GroupMember:
    assigned = getattr(getattr(member, "assignment", None), "topic_partitions", None) or []
    partitions = frozenset((each.topic, each.partition) for each in assigned)
    return GroupMember(str(member.client_id), str(member.host).lstrip("/"), partitions)  # type: ignore[attr-defined]
