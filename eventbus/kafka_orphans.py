"""Partitions that a stable group has given to nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaException, TopicCollection

from eventbus.log import Partition

EVERY_SECONDS = 3.0
"""How often the group is looked at. What is nobody's twice in a row is an orphan."""
ANSWER_SECONDS = 320.0
"""How long an answer may take: longer than any socket.timeout.ms (300 s at most). librdkafka 2.16 ends the process (an
assertion; confluentinc/librdkafka#4605, #5397) when a request to a group's coordinator times out before the request to
its broker does: measured, 6 of 6 admin clients with 3 s, on a broker that stood still now and then.
"""
PATIENCE_SECONDS = 60.0
"""So long what was done about it may take: partitions that were added to a topic are everybody's news only later."""

Answers = dict[str, Any]
"""Futures by name."""


class Orphans:
    """Looks now and then at what the group gave to whom; never waits for the answer.

    A static member that dies while partitions are taken from it, and comes back under its name, gets its new assignment
    without a rebalance (KIP-345): nobody is told that those partitions are free, and the group is stable for ever
    (measured with bare clients: librdkafka 2.16, Kafka 4.3.1).
    """

    def __init__(self, group: str, instance: str, clock: Callable[[], float]) -> None:
        self._group, self._instance, self._clock = group, f"{group}.{instance}", clock
        self._asked_at = clock()
        self._admin: Any = None
        self._topics: Answers = {}
        self._group_is: Answers = {}
        self._before: set[Partition] = set()

    def found(self, topics: Sequence[str], admin: Callable[[], Any]) -> set[Partition]:
        """Return the orphans among the partitions of these topics, if it is this member's turn to see to them."""
        if not self._topics:
            if self._clock() - self._asked_at >= EVERY_SECONDS:
                self._ask(topics, admin())
        elif all(answer.done() for answer in (*self._topics.values(), *self._group_is.values())):
            return self._heard()
        return set()

    def _ask(self, topics: Sequence[str], admin: Any) -> None:
        """The topics first: the coordinator is asked only while brokers answer (ANSWER_SECONDS says why)."""
        self._asked_at, self._admin = self._clock(), admin  # kept: no answer comes from a client that is gone
        with suppress(KafkaException):
            self._topics = admin.describe_topics(TopicCollection(list(topics)), request_timeout=EVERY_SECONDS)

    def _heard(self) -> set[Partition]:
        try:
            described = {name: answer.result() for name, answer in self._topics.items()}
            if not self._group_is:
                self._group_is = self._admin.describe_consumer_groups([self._group], request_timeout=ANSWER_SECONDS)
                return set()
            nobodys = self._nobodys(self._group_is[self._group].result(), described)
        except KafkaException:
            nobodys = set()
        self._forget()
        orphans, self._before = nobodys & self._before, nobodys
        if orphans:
            self._asked_at, self._before = self._clock() + PATIENCE_SECONDS, set()
        return orphans

    def _forget(self) -> None:
        self._topics, self._group_is = {}, {}

    def _nobodys(self, group: Any, described: dict[str, Any]) -> set[Partition]:
        """The first of the members sees to it, so that they do not all at once."""
        names = sorted(member.group_instance_id or member.member_id for member in group.members)
        if group.state != ConsumerGroupState.STABLE or names[:1] != [self._instance]:
            return set()
        given = {
            Partition(place.topic, place.partition)
            for member in group.members
            for place in member.assignment.topic_partitions
        }
        return {Partition(t, p.id) for t, topic in described.items() for p in topic.partitions} - given
