"""What does not fit together is refused, loudly: going on would lose events or repeat effects."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.engine.recovery import recover
from eventbus.log import LogUnavailable, Partition, TopicMissing, UnsafeToContinue
from tests.chaos.proxy import LOSE_RESPONSE, Api, Proxy
from tests.support.brokers.kafka_node import Broker, OwnBroker
from tests.support.engines import CODEC, Playground, Worker, playground_of
from tests.support.engines.sample import Ping
from tests.support.saga.processes import PATIENCE

SOON = 10.0
"""Seconds. It takes about one; a machine of many tests is slower."""


def refusal(playground: Playground) -> str:
    """Start a worker, and return why it refuses to work."""
    playground.worker()
    with pytest.raises(UnsafeToContinue) as refused:
        playground.turn_until(lambda: False)
    return str(refused.value)


def stopped_after(playground: Playground, count: int) -> None:
    worker = playground.worker()
    playground.send(range(count))
    playground.settle(count)
    worker.engine.close()
    playground.workers.clear()


def test_an_empty_database_is_older_than_the_log(playground: Playground) -> None:
    """A cursor and no checkpoint: going on would swallow events or charge again."""
    stopped_after(playground, 50)
    playground.sql("delete from checkpoint")
    assert "no checkpoint" in refusal(playground)
    assert playground.tallied() == 50


def test_a_restored_database_is_older_than_the_log(playground: Playground) -> None:
    """The group's cursor is ahead of the checkpoint: the database is an old copy."""
    stopped_after(playground, 50)
    older = "update checkpoint set next_offset = next_offset - 10, position = position - 1 where next_offset > 10"
    playground.sql(older)
    assert "older than the log" in refusal(playground)


def test_a_database_that_lost_only_input_is_older_than_the_log(playground: Playground) -> None:
    """The same where only the offset tells, because nothing was published in between."""
    stopped_after(playground, 50)
    playground.sql("update checkpoint set next_offset = next_offset - 1 where next_offset > 10")
    assert "older than the log" in refusal(playground)


def test_another_clusters_database_is_refused(sqlite_playground: Playground) -> None:
    """A checkpoint says which cluster it was made for."""
    stopped_after(sqlite_playground, 10)
    sqlite_playground.sql("update checkpoint set cluster_id = 'another'")
    assert "belongs to the Kafka cluster 'another'" in refusal(sqlite_playground)


def test_a_recreated_topic_is_refused(playground: Playground) -> None:
    """Its offsets mean something else now, even if there are as many."""
    stopped_after(playground, 50)
    playground.recreate_topics()
    playground.send(range(60))
    assert "deleted and created again" in refusal(playground)
    assert playground.tallied() == 50
    playground.workers.pop().engine.close()
    playground.sql("delete from output_topic")
    follow_advice(playground)
    worker = playground.worker()
    playground.turn_until(lambda: worker.watch.handled >= 60)
    assert playground.tallied() == 110


def follow_advice(playground: Playground) -> None:
    """Run the statement that each refusal about a recreated topic ends with."""
    for _ in playground.topics:
        playground.workers.clear()
        worker = playground.worker()
        try:
            playground.turn_until(lambda worker=worker: worker.owns() == worker.ready() > 0)  # type: ignore[misc]
        except UnsafeToContinue as refused:
            [statement] = re.findall(r"update checkpoint set .*? where topic = '[^']+'", str(refused))
            playground.sql(statement)
        finally:
            worker.engine.close()
    playground.workers.clear()


def test_a_recreated_topic_of_more_partitions_is_refused_by_an_owner_of_only_the_new_ones(
    sqlite_playground: Playground,
) -> None:
    """A new partition has no checkpoint to tell by: those of the topic's other partitions do."""
    stopped_after(sqlite_playground, 50)
    sqlite_playground.admin.remove(sqlite_playground.topics)
    sqlite_playground.admin.create(sqlite_playground.topics, sqlite_playground.partitions + 4)
    new = [Partition(topic, sqlite_playground.partitions) for topic in ("ping", "pang")]
    owner = Worker(sqlite_playground, "two", sqlite_playground.service(), sqlite_playground.bootstrap, joins=False)
    with pytest.raises(UnsafeToContinue, match="deleted and created again"):
        recover(owner.log, owner.database, new, lambda _step: None, topics=["ping", "pang"], now_ms=0)
    assert sqlite_playground.sql("select max(partition) from checkpoint") == [(sqlite_playground.partitions - 1,)]


def test_a_log_truncated_below_the_checkpoint_is_refused(playground: Playground) -> None:
    """Records that were never handled are gone: no silent jump to the next that is there."""
    stopped_after(playground, 50)
    playground.send(range(100))
    delete_records(playground)
    assert "truncated" in refusal(playground)


def test_a_log_that_ends_below_the_checkpoint_is_refused(sqlite_playground: Playground) -> None:
    """It was cut, or its database is another one: what comes next would be waited for, or passed over."""
    stopped_after(sqlite_playground, 50)
    sqlite_playground.sql("update checkpoint set next_offset = 1000, leader_epoch = null where topic = 'ping'")
    assert "is 1000, but the log has 0 to" in refusal(sqlite_playground)


def test_no_worker_jumps_over_what_was_deleted_before_it_came(sqlite_playground: Playground) -> None:
    """auto.offset.reset: the client says that its place is gone, and goes nowhere by itself. Recovery refuses then."""
    stopped_after(sqlite_playground, 50)
    sqlite_playground.send(range(50))
    worker = sqlite_playground.worker()
    worker.at("before seek", lambda: delete_records(sqlite_playground))
    with pytest.raises(UnsafeToContinue, match="truncated"):
        sqlite_playground.turn_until(lambda: False)
    assert sqlite_playground.tallied() == 50


def delete_records(playground: Playground) -> None:
    admin = AdminClient({"bootstrap.servers": playground.bootstrap})
    for deleted in admin.delete_records([TopicPartition("ping", number, -1) for number in range(2)]).values():
        deleted.result()


def test_a_topic_deleted_under_a_running_worker_ends_it(sqlite_playground: Playground) -> None:
    """It says which topic, and which command makes it."""
    worker = sqlite_playground.worker(topic_metadata_refresh_interval_ms="1000")
    sqlite_playground.turn_until(lambda: worker.ready() == 4)
    sqlite_playground.admin.remove(["ping"])
    with pytest.raises((TopicMissing, UnsafeToContinue), match="ping"):
        sqlite_playground.turn_until(lambda: False)


def test_an_output_topic_deleted_under_a_running_worker_ends_it(sqlite_playground: Playground) -> None:
    """It is named too. Another one of its name is refused; what was decided is published when that was looked into."""
    worker = sqlite_playground.worker(topic_metadata_refresh_interval_ms="1000")
    sqlite_playground.send(range(10))
    sqlite_playground.settle(10)
    sqlite_playground.admin.remove(["pong"])
    sqlite_playground.send(range(20))
    with pytest.raises(TopicMissing, match="pong"):
        sqlite_playground.turn_until(lambda: False)
    sqlite_playground.abandon(worker)
    sqlite_playground.admin.create(["pong"], sqlite_playground.partitions)
    assert "the topic pong" in refusal(sqlite_playground)
    sqlite_playground.workers.pop().engine.close()
    sqlite_playground.sql("delete from output_topic where topic = 'pong'")
    sqlite_playground.worker()
    sqlite_playground.turn_until(lambda: len(sqlite_playground.pongs()) >= 20)
    assert sqlite_playground.tallied() == 30


def test_a_fenced_member_joins_again(sqlite_playground: Playground) -> None:
    """Being fenced proves no live twin, however often: only a lease of the instance name does. Nothing is lost."""
    worker = sqlite_playground.worker("twin")
    sqlite_playground.turn_until(lambda: worker.ready() == 4)

    def fenced(other: Worker) -> bool:
        try:
            other.engine.run_once()
            worker.engine.run_once()
        except LogUnavailable as error:
            return "fenced, joining again as 'twin'" in str(error)
        return False

    for _ in range(3):
        other = sqlite_playground.worker("twin")
        sqlite_playground.turn_until(lambda other=other: fenced(other), workers=[])  # type: ignore[misc]
        other.log._consumer.close()
        sqlite_playground.abandon(other)
    sqlite_playground.send(range(20))
    sqlite_playground.settle(20)
    sqlite_playground.assert_exactly_once(20)


def until_refused(playground: Playground, seconds: float = PATIENCE) -> list[str]:
    """Turn the workers until all have refused, as processes end: each leaves the group. Return why."""
    refused: list[str] = []

    def nobody_left() -> bool:
        for worker in list(playground.workers):
            try:
                worker.engine.run_once()
            except LogUnavailable:
                continue
            except UnsafeToContinue as error:
                refused.append(str(error))
                playground.workers.remove(worker)
                worker.engine.close()
        return not playground.workers

    playground.turn_until(nobody_left, seconds, workers=[])
    return refused


def two_workers(playground: Playground) -> tuple[Worker, Worker]:
    """Return two workers that have read everything, each with partitions of its own."""
    one, two = playground.worker("one"), playground.worker("two")
    playground.turn_until(lambda: one.ready() == two.ready() == 2)
    playground.send(range(50))
    playground.send(range(50), topic="pang")
    playground.settle(100)
    playground.turn_until(lambda: not one.watch.pending and not two.watch.pending)
    return one, two


@pytest.mark.parametrize("topic", ["ping", "pong"], ids=["read", "written"])
def test_a_worker_without_partitions_refuses_a_recreated_topic_too(playground: Playground, topic: str) -> None:
    """It need not wait until somebody's session is over and it is given some."""
    two_workers(playground)
    third = playground.worker("three")
    playground.turn_until(lambda: sorted(worker.ready() for worker in playground.workers) == [0, 2, 2])
    [idle] = [worker for worker in playground.workers if not worker.ready()]
    assert third in playground.workers
    playground.admin.remove([topic])
    playground.admin.create([topic], playground.partitions)
    with pytest.raises(UnsafeToContinue, match="was deleted and created again"):
        playground.turn_until(lambda: idle.ready() > 0, SOON, workers=[idle])


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "quiet"])
def test_a_topic_recreated_under_running_workers_is_refused(playground: Playground, busy: bool) -> None:
    """By each who has a partition of it, within seconds: nothing of the new one is decided, nor an old offset sent."""
    two_workers(playground)
    playground.admin.remove(["ping"])
    playground.admin.create(["ping"], playground.partitions)
    if busy:  # one of its partitions; the other stays empty. More than there were: every old offset is there again
        playground.send(range(300), partition=0)
    began = time.monotonic()
    refused = until_refused(playground)
    assert time.monotonic() - began < SOON
    assert len(refused) == 2
    assert all("ping" in why and "was deleted and created again" in why for why in refused)
    assert playground.tallied() == 100
    assert len(playground.pongs()) == 100
    for table in ("checkpoint", "outbox"):  # what it says to do
        playground.sql(f"delete from {table} where topic = 'ping'")
    playground.worker("three")
    playground.send(range(10), partition=1)
    playground.settle(410 if busy else 110)


def test_an_output_topic_recreated_under_running_workers_is_refused(playground: Playground) -> None:
    """Also by who is started afterwards, until a person has said in the database that it is so."""
    two_workers(playground)
    playground.admin.remove(["pong"])
    playground.admin.create(["pong"], playground.partitions)
    began = time.monotonic()
    refused = until_refused(playground)
    assert time.monotonic() - began < SOON
    assert len(refused) == 2
    assert all("the topic pong, to which this service publishes, was deleted and created again" in w for w in refused)
    playground.send(range(20))
    assert "the topic pong" in refusal(playground)
    assert playground.pongs() == []
    playground.workers.pop().engine.close()
    playground.sql("delete from output_topic where topic = 'pong'")  # what it says to do
    playground.worker("three")
    playground.turn_until(lambda: len(playground.pongs()) >= 20)
    assert playground.tallied() == 120


def test_nothing_is_decided_while_nobody_says_which_topic_it_is(broker: Broker, proxy: Proxy, tmp_path: object) -> None:
    """A broker that does not answer is asked again; what was read meanwhile is handled then, once."""
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        worker = playground.worker(bootstrap=proxy.bootstrap_servers, reconnect_backoff_max_ms="200")
        playground.turn_until(lambda: worker.ready() == 4)
        proxy.next(Api.METADATA, LOSE_RESPONSE, times=6)
        playground.send(range(100))
        playground.settle(100)
        playground.assert_exactly_once(100)


def a_log_that_loses_its_end(broker: OwnBroker, playground: Playground, *, restarts: int = 1) -> None:
    """Lose what was written last to `ping/0`: the broker's disk goes back to an earlier copy."""
    copy = broker.copy_of("ping-0")
    handled = playground.tallied()
    playground.send(range(10), partition=0)
    playground.settle(handled + 10)
    playground.turn_until(lambda: not any(worker.watch.pending for worker in playground.workers))
    broker.kill()
    broker.put_back("ping-0", copy)
    for _ in range(restarts):
        broker.restart()


@pytest.mark.parametrize("running", [True, False], ids=["running", "restarted"])
def test_a_log_that_lost_its_end_and_was_filled_again_is_refused(
    make_broker: Callable[..., OwnBroker], tmp_path: object, running: bool
) -> None:
    """An offset is not an identity: other events stand where handled ones stood, below the checkpoint."""
    broker = make_broker()
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        worker = playground.worker()
        playground.send(range(20))
        playground.settle(20)
        if not running:
            a_log_that_loses_its_end(broker, playground)
            playground.abandon(worker)
            playground.send(range(50), partition=0)
            playground.worker("two")
        else:
            a_log_that_loses_its_end(broker, playground)
            playground.send(range(50), partition=0)
        (why,) = until_refused(playground)
        assert "ping/0: the end of the log was lost" in why
        assert playground.tallied() == 30


def test_brokers_that_were_restarted_are_no_reason_to_refuse(
    make_broker: Callable[..., OwnBroker], tmp_path: object
) -> None:
    """Each restart raises the leader epochs, with markers and aborted records in between, read or skipped over."""
    broker = make_broker()
    with playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db") as playground:
        playground.worker()
        sent = 0
        for turn in range(3):
            transaction = open_transaction(broker, "ping", 3)
            broker.restart()
            if turn % 2:
                transaction.abort_transaction()
            else:
                transaction.commit_transaction()
                sent += 3
            playground.send(range(10))
            sent += 10
            settle_calmly(playground, sent)
            epochs = playground.sql("select count(*) from checkpoint where leader_epoch_offset = next_offset")
            assert epochs == [(4,)]
            broker.restart()
            if turn:
                playground.abandon(playground.workers[0])
                playground.worker(f"again-{turn}")
            playground.turn_until(lambda: turned(playground) and playground.workers[0].ready() == 4, workers=[])
        settle_calmly(playground, sent)
        playground.assert_exactly_once(sent, one_source=False)


def settle_calmly(playground: Playground, count: int) -> None:
    playground.turn_until(lambda: turned(playground) and playground.tallied() >= count, workers=[])
    playground.turn_until(lambda: turned(playground) and len(playground.pongs()) >= count, workers=[])


def turned(playground: Playground) -> bool:
    """Turn the workers once, as their loop does: a broker that is away, or a member that was fenced, comes back."""
    for worker in playground.workers:
        with contextlib.suppress(LogUnavailable):
            worker.engine.run_once()
    return True


def open_transaction(broker: OwnBroker, topic: str, records: int) -> Producer:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"t-{time.time_ns()}"})
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(records):
        producer.produce(topic, CODEC.encode(Ping("name-1", 1)), "name-1")
    assert producer.flush() == 0
    return producer
