"""Every topic is spread evenly over the workers of a group, and every partition is read, added ones too."""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest

from eventbus.kafka.config import Connection
from eventbus.kafka.log import KafkaLog
from eventbus.log import Partition
from inventory_service.service import InventoryService
from order_service.service import OrderService
from payment_service.service import PaymentService
from tests.conftest import MakeTopics
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker
from tests.support.saga.processes import PATIENCE

PARTITIONS = 12
NAMES = "abcd"
CLASSIC = {"heartbeat.interval.ms": "100"}
CONSUMER = {"group.protocol": "consumer"}
SOON_SECONDS = 10
SERVICES = {service.name: service for service in (OrderService, PaymentService, InventoryService)}


class Member:
    """A worker's log, and what it was assigned."""

    def __init__(self, broker: Broker, group: str, name: str, topics: list[str], config: dict[str, str]) -> None:
        self.owned: set[Partition] = set()
        self.log = KafkaLog(Connection(broker.bootstrap_servers, group, name, extra=config), warn=lambda _why: None)
        self.log.subscribe(topics, self)

    def assigned(self, partitions: Iterable[Partition]) -> None:
        self.owned |= set(partitions)

    def revoked(self, partitions: Iterable[Partition]) -> None:
        self.owned -= set(partitions)

    lost = revoked

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        raise AssertionError(why)


class Group:
    """The members of one group, polled by hand; workers of other tests never meet them."""

    def __init__(self, broker: Broker, topics: Sequence[str], config: dict[str, str]) -> None:
        self.members: dict[str, Member] = {}
        self._broker, self._topics, self._config = broker, list(topics), config
        self._name = f"shares-{uuid.uuid4().hex[:8]}"

    def start(self, name: str, config: dict[str, str] | None = None) -> None:
        self.members[name] = Member(self._broker, self._name, name, self._topics, config or self._config)

    def stop(self, name: str) -> None:
        """Stop this one; the group expects a static member back until its session is over."""
        self.members.pop(name).log.close()

    def poll(self) -> None:
        for member in self.members.values():
            member.log.poll(100, 0)

    def is_even(self, partitions: int = PARTITIONS) -> bool:
        """Whether each partition has one owner, and no worker has two partitions of a topic more than another one."""
        owned = [partition for member in self.members.values() for partition in member.owned]
        if len(owned) != len(set(owned)) or len(owned) != partitions * len(self._topics):
            return False
        counts = [Counter(partition.topic for partition in member.owned) for member in self.members.values()]
        return all(max(c[t] for c in counts) - min(c[t] for c in counts) <= 1 for t in self._topics)

    def close(self) -> None:
        for member in self.members.values():
            member.log.close()


def poll_until(groups: Sequence[Group], so: Callable[[Group], bool], seconds: float = PATIENCE) -> float:
    """Poll all groups until it is so of each; return how long that took."""
    started = time.monotonic()
    while waiting := [group for group in groups if not so(group)]:
        took = time.monotonic() - started
        assert took < seconds, [{n: sorted(m.owned) for n, m in group.members.items()} for group in waiting]
        for group in groups:
            group.poll()
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("config", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
def test_each_topic_is_spread_evenly_over_one_to_four_workers(
    broker: Broker, make_topics: MakeTopics, service: str, config: dict[str, str]
) -> None:
    """In every order of start. By the newer protocol the broker sorts by ids that are drawn: names change nothing."""
    topics = make_topics(*SERVICES[service].subscriptions(), partitions=PARTITIONS)
    orders = list(itertools.permutations(NAMES)) if config is CLASSIC else [tuple(NAMES)] * 3
    groups = [Group(broker, topics, config) for _ in orders]
    try:
        for number in range(len(NAMES)):
            for group, order in zip(groups, orders, strict=True):
                group.start(order[number])
            poll_until(groups, Group.is_even)
    finally:
        for group in groups:
            group.close()


def test_workers_of_both_group_protocols_share_evenly(broker: Broker, make_topics: MakeTopics) -> None:
    """So a service can be rolled from one to the other: the broker converts the group as they come and go."""
    group = Group(broker, make_topics("one", "other", partitions=PARTITIONS), CLASSIC)
    try:
        for name, config in zip(NAMES, (CLASSIC, CLASSIC, CONSUMER, CONSUMER), strict=True):
            group.start(name, config)
            poll_until([group], Group.is_even)
        for name in "ab":
            group.stop(name)
        poll_until([group], Group.is_even)
        group.start("a", CLASSIC)
        poll_until([group], Group.is_even)
    finally:
        group.close()


@pytest.mark.parametrize("config", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
def test_added_partitions_are_assigned_within_ten_seconds(
    broker: Broker, make_topics: MakeTopics, config: dict[str, str]
) -> None:
    """To workers that run: they ask for their topics every five seconds, or the broker tells them."""
    topics = make_topics("one", "other", partitions=2)
    group = Group(broker, topics, config)
    try:
        for name in "ab":
            group.start(name)
        poll_until([group], lambda group: group.is_even(2))
        Admin(broker.bootstrap_servers).grow(topics, 5)
        assert poll_until([group], lambda group: group.is_even(5)) < SOON_SECONDS
    finally:
        group.close()


@pytest.mark.parametrize("away", ["a", "b"])
def test_partitions_added_while_a_worker_was_away_are_assigned_when_it_is_back(
    broker: Broker, make_topics: MakeTopics, away: str
) -> None:
    """Also where it leads its group: nobody else could start a rebalance, and it has not seen the topics grow."""
    topics = make_topics("one", "other", partitions=2)
    group = Group(broker, topics, CLASSIC)
    try:
        for name in "ab":
            group.start(name)
        poll_until([group], lambda group: group.is_even(2))
        group.stop(away)
        Admin(broker.bootstrap_servers).grow(topics, 5)
        group.start(away)
        assert poll_until([group], lambda group: group.is_even(5)) < SOON_SECONDS
    finally:
        group.close()
