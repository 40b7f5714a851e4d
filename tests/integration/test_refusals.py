"""What does not fit together is refused, loudly: going on would lose events or repeat effects."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.log import InstanceTaken, LogUnavailable, Refused, TopicMissing
from tests.support.engines import Playground, Worker


def refusal(playground: Playground) -> str:
    """Start a worker, and return why it refuses to work."""
    playground.worker()
    with pytest.raises(Refused) as refused:
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
    for table in ("checkpoint", "outbox"):  # what it says to do
        playground.sql(f"delete from {table}")
    worker = playground.worker()
    playground.turn_until(lambda: worker.watch.handled >= 60)
    assert playground.tallied() == 110


def test_a_log_truncated_below_the_checkpoint_is_refused(playground: Playground) -> None:
    """Records that were never handled are gone: no silent jump to the next that is there."""
    stopped_after(playground, 50)
    playground.send(range(100))
    admin = AdminClient({"bootstrap.servers": playground.bootstrap})
    for number in range(2):
        for deleted in admin.delete_records([TopicPartition("ping", number, -1)]).values():
            deleted.result()
    assert "truncated" in refusal(playground)


def test_a_topic_deleted_under_a_running_worker_ends_it(sqlite_playground: Playground) -> None:
    """It says which topic, and which command makes it."""
    worker = sqlite_playground.worker(topic_metadata_refresh_interval_ms="1000")
    sqlite_playground.turn_until(lambda: worker.ready() == 4)
    sqlite_playground.admin.remove(["ping"])
    with pytest.raises((TopicMissing, Refused), match="ping"):
        sqlite_playground.turn_until(lambda: False)


def test_an_output_topic_deleted_under_a_running_worker_ends_it(sqlite_playground: Playground) -> None:
    """It is named too; what was decided meanwhile is published when it is there again."""
    worker = sqlite_playground.worker(topic_metadata_refresh_interval_ms="1000")
    sqlite_playground.send(range(10))
    sqlite_playground.settle(10)
    sqlite_playground.admin.remove(["pong"])
    sqlite_playground.send(range(20))
    with pytest.raises(TopicMissing, match="pong"):
        sqlite_playground.turn_until(lambda: False)
    sqlite_playground.abandon(worker)
    sqlite_playground.admin.create(["pong"], sqlite_playground.partitions)
    sqlite_playground.worker()
    sqlite_playground.turn_until(lambda: len(sqlite_playground.pongs()) >= 20)
    assert sqlite_playground.tallied() == 30


def test_of_two_live_workers_with_one_instance_name_the_fenced_one_ends(sqlite_playground: Playground) -> None:
    """The newer one goes on; the older one, which is fenced twice, says why it ends."""
    older = sqlite_playground.worker("twin")
    sqlite_playground.turn_until(lambda: older.ready() == 4)
    newer = sqlite_playground.worker("twin")

    def turned(worker: Worker) -> bool:
        try:
            worker.engine.turn()
        except LogUnavailable:  # fenced for the first time
            return False
        except InstanceTaken as taken:
            return worker is older and "'twin'" in str(taken)
        return False

    sqlite_playground.turn_until(lambda: turned(newer) or turned(older), workers=[])
    sqlite_playground.abandon(older)
    sqlite_playground.send(range(20))
    sqlite_playground.settle(20)
    sqlite_playground.assert_exactly_once(20)
