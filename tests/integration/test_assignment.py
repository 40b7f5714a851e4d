"""A partition is read from its checkpoint on, whatever librdkafka is still asking the broker about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import NoReturn

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from eventbus.kafka.config import Connection
from eventbus.kafka.log import KafkaLog
from eventbus.log import LogUnavailable, Partition
from tests.chaos.proxy import LOSE_REQUEST, LOSE_RESPONSE, Api, NetworkFault, Proxy
from tests.conftest import MakeTopics
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import Worker, playground_of


def test_no_late_answer_about_offsets_moves_a_partition_to_its_end(
    broker: Broker, proxy: Proxy, tmp_path: object
) -> None:
    """Slow answers to ListOffsets: a consumer that was assigned a logical offset would go there after the seek."""
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        for _ in range(20):  # batches of their own: one fetch takes only the first of each partition
            playground.send(range(20))
        worker = playground.worker(bootstrap=proxy.bootstrap_servers, fetch_message_max_bytes="100")
        proxy.next(Api.LIST_OFFSETS, NetworkFault(delay=1.5), times=4)
        playground.turn_until(lambda: worker.ready() == 4)
        playground.settle(400)
        playground.assert_exactly_once(400)


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_RESPONSE], ids=["request lost", "response lost"])
def test_a_lost_answer_about_offsets_is_no_answer(
    broker: Broker, proxy: Proxy, tmp_path: object, fault: NetworkFault
) -> None:
    """librdkafka reports the offset -1001 then, and no error: that is neither a log's end nor a place to read from."""
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        playground.send(range(100))
        proxy.next(Api.LIST_OFFSETS, fault, times=8)
        worker = playground.worker(bootstrap=proxy.bootstrap_servers, reconnect_backoff_max_ms="200")
        playground.turn_until(lambda: worker.ready() == 4)
        playground.settle(100)
        playground.assert_exactly_once(100)


def test_the_bounds_of_a_partition_are_never_guessed(broker: Broker, proxy: Proxy, make_topics: MakeTopics) -> None:
    """Where the connection breaks, the log is away; -1001 would look like a log that was truncated."""
    (topic,) = make_topics("bounds", partitions=2)
    log = KafkaLog(Connection(proxy.bootstrap_servers, topic, "1"), warn=lambda _why: None)
    partitions = [Partition(topic, 0), Partition(topic, 1)]
    try:
        assert [bounds[:2] for bounds in log.offset_range(partitions).values()] == [(0, 0)] * 2
        proxy.next(Api.LIST_OFFSETS, LOSE_RESPONSE)
        with pytest.raises(LogUnavailable, match="its beginning and end offsets"):
            log.offset_range(partitions)
    finally:
        log.close()


class NoController:
    """An admin client that was made while the broker was starting: it waits for a controller that it never hears of."""

    def describe_topics(self, *_: object, **__: object) -> NoReturn:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Failed while waiting for controller: Local: Timed out"))

    list_topics = list_offsets = describe_topics


def test_an_admin_client_that_knows_no_controller_is_replaced(broker: Broker, make_topics: MakeTopics) -> None:
    """Else recovery would wait for minutes on a broker that answers everybody else."""
    (topic,) = make_topics("controlled", partitions=1)
    log = KafkaLog(Connection(broker.bootstrap_servers, topic, "1"), warn=lambda _why: None)
    try:
        for ask in (lambda: log.identities([topic]), lambda: log.offset_range([Partition(topic, 0)])):
            log._admin = NoController()
            with pytest.raises(LogUnavailable, match="controller"):
                ask()
            assert ask()
    finally:
        log.close()


def test_a_worker_with_the_newer_group_protocol_waits_for_those_with_the_older_one(
    broker: Broker, tmp_path: object
) -> None:
    """Kafka does not take over a group whose assignments carry user data; what it says then is fatal to a consumer."""
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        with older_members(broker, playground.group):
            worker = playground.worker(group_protocol="consumer")
            with pytest.raises(LogUnavailable, match="the classic group protocol have not left"):
                playground.turn_until(lambda: False)
        playground.send(range(20))
        playground.turn_until(lambda: turned(worker) and worker.ready() == 4, workers=[])
        playground.settle(20)
        playground.assert_exactly_once(20)


def test_a_worker_waits_for_those_of_an_older_release_and_says_so(broker: Broker, tmp_path: object) -> None:
    """Members by another assignor cannot be in its group: one clear sentence now and then, and it goes on by itself."""
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        with older_members(broker, playground.group) as keep:
            worker = playground.worker()
            said: list[str] = []
            worker.log._warn = said.append
            playground.turn_until(lambda: keep() or len(said) > 2, workers=[worker])
            assert set(said) == {said[0]}
            assert said[0].startswith(f"waiting: the group {playground.group} has members with another assignor")
        playground.send(range(20))
        playground.settle(20)
        playground.assert_exactly_once(20)


def turned(worker: Worker) -> bool:
    try:
        worker.engine.run_once()
    except LogUnavailable:
        return False
    return True


@contextmanager
def older_members(broker: Broker, group: str) -> Iterator[Callable[[], None]]:
    """Two members by the classic protocol, after a rebalance: from the second one on, assignments carry user data."""
    config = {
        "bootstrap.servers": broker.bootstrap_servers,
        "group.id": group,
        "partition.assignment.strategy": "cooperative-sticky",
    }
    with closing(Consumer(config)) as first, closing(Consumer(config)) as second:
        first.subscribe(["ping"])
        while not first.assignment():
            first.poll(0.1)
        second.subscribe(["ping"])
        while not second.assignment():
            first.poll(0.1)
            second.poll(0.1)

        def keep() -> None:
            for member in (first, second):
                member.poll(0)

        yield keep
