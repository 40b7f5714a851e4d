"""What cannot be decompressed pauses its partition, loses nothing before it, and is passed by only on record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from eventbus.log import RESOLUTIONS, Partition
from saga.__main__ import main
from saga.kafka.reader import Reader
from tests.chaos import unreadable
from tests.chaos.unreadable import RECORDS, write_unreadable
from tests.conftest import MakeTopics
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import Playground, Worker

CORRUPT = range(3, 73)
"""The offsets of the batch."""
WHO = ("--by", "ana", "--reason", "corrupt, INC-9")


@pytest.fixture
def stuck(playground: Playground) -> tuple[Playground, Worker]:
    """Three good pings, a batch that cannot be decompressed, and two good ones, all in ping/0; three more in ping/1."""
    return made_stuck(playground)


@pytest.fixture
def stuck_on_sqlite(sqlite_playground: Playground) -> tuple[Playground, Worker]:
    """The same where the database makes no difference."""
    return made_stuck(sqlite_playground)


def made_stuck(playground: Playground) -> tuple[Playground, Worker]:
    playground.send(range(3), partition=0)
    assert write_unreadable({"bootstrap.servers": playground.bootstrap}, Partition("ping", 0)) == CORRUPT
    playground.send(range(2), partition=0)
    playground.send(range(3), partition=1)
    worker = playground.worker()
    playground.turn_until(lambda: len(worker.watch.paused_at) == 1 and len(playground.pongs()) == 6)
    return playground, worker


def skip(playground: Playground, offset: int, *more: str, partition: int = 0) -> Result:
    where = ("--group", playground.group, "--database", playground.url, *more)
    arguments = ["deadletters", "skip", "ping", str(partition), str(offset), *where, *WHO]
    return CliRunner().invoke(main, arguments, env={"KAFKA_BOOTSTRAP_SERVERS": playground.bootstrap}, prog_name="saga")


def test_what_is_before_it_is_handled_and_what_is_behind_it_once_it_is_skipped(
    stuck: tuple[Playground, Worker],
) -> None:
    """The whole batch, nothing else; who skipped it and why stands on the group's topic of resolutions, once."""
    playground, worker = stuck
    [(where, why)] = worker.watch.paused_at
    assert where == "ping/0"
    assert why.startswith("unreadable: ping/0 cannot be read at offset 3: ")
    assert f"saga deadletters skip ping 0 3 --group {playground.group}" in why
    done = skip(playground, 3)
    assert (done.exit_code, done.stdout) == (0, f"skipped ping/0/3 to {CORRUPT.stop} for {playground.group}\n"), done
    playground.turn_until(lambda: len(playground.pongs()) == 8)
    [record] = playground.admin.read(f"{playground.group}{RESOLUTIONS}")
    said = dict(record.headers())
    assert (said["dlq_topic"], said["dlq_partition"], said["dlq_offset"]) == (b"ping", b"0", b"3")
    assert (said["dlq_action"], said["dlq_by"], said["dlq_why"]) == (b"skip", b"ana", b"corrupt, INC-9")
    assert said["dlq_skipped_to"] == b"%d" % CORRUPT.stop
    assert playground.admin.read(f"{playground.group}.dead-letters") == []
    again = skip(playground, 3)
    assert again.exit_code == 1
    assert "there is nothing to skip at 3" in again.stderr
    playground.assert_exactly_once(8)


class SlowProducer(Producer):
    """One that takes its time in the middle of a batch."""

    made = 0

    def produce(self, *arguments: Any, **more: Any) -> None:
        self.made += 1
        if self.made == RECORDS // 2:
            time.sleep(1)
        super().produce(*arguments, **more)


def test_what_nobody_can_read_is_one_batch_however_slow_its_writer(
    broker: Broker, make_topics: MakeTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two halves each could be read."""
    monkeypatch.setattr(unreadable, "Producer", SlowProducer)
    (topic,) = make_topics("halves", partitions=1)
    batch = write_unreadable({"bootstrap.servers": broker.bootstrap_servers}, Partition(topic, 0))
    with Reader(broker.bootstrap_servers, [topic]) as reader:
        while not reader.at_end:
            assert reader.read(0.5) == []
        assert reader.unreadable == [(Partition(topic, 0), batch)]


def test_only_what_cannot_be_read_is_skipped(stuck_on_sqlite: tuple[Playground, Worker], tmp_path: Path) -> None:
    """Another offset, a partition that can be read, another database: a clear error, and nothing moves."""
    playground, _ = stuck_on_sqlite
    empty = tmp_path / "empty.db"
    empty.touch()
    refused = {
        "begins at 3, not 5": skip(playground, 5),
        "ping/1 can be read at 3": skip(playground, 3, partition=1),
        "the partition ping/7 does not exist": skip(playground, 3, partition=7),
        "is not at sqlite:///nowhere.db": skip(playground, 3, "--database", "sqlite:///nowhere.db"),
        "the database is empty": skip(playground, 3, "--database", f"sqlite:///{empty}"),
        "is the database of": skip(playground, 3, "--group", "others"),
    }
    for why, result in refused.items():
        assert (result.exit_code, why in result.stderr) == (1, True), result.stderr
    [[next_offset]] = playground.sql("select next_offset from checkpoint where topic = 'ping' and partition = 0")
    assert next_offset == 3


def test_who_only_looks_goes_on_behind_it_and_says_so(stuck_on_sqlite: tuple[Playground, Worker]) -> None:
    """One batch that cannot be read must not end the tools with which it is looked for."""
    playground, _ = stuck_on_sqlite
    with Reader(playground.bootstrap, ["ping"]) as reader:
        read = []
        while not reader.at_end:
            read += reader.read(0.5)
        assert reader.unreadable == [(Partition("ping", 0), CORRUPT)]
    offsets = {number: sorted(r.offset for r in read if r.partition.number == number) for number in (0, 1)}
    assert offsets == {0: [0, 1, 2, CORRUPT.stop, CORRUPT.stop + 1], 1: [0, 1, 2]}
    tail = ["tail", "ping", "--no-follow"]
    shown = CliRunner().invoke(main, tail, env={"KAFKA_BOOTSTRAP_SERVERS": playground.bootstrap}, prog_name="saga")
    assert (shown.exit_code, len(shown.stdout.splitlines())) == (0, len(read)), shown
    assert shown.stderr == "ping/0: offsets 3 to 72 cannot be decompressed\n"
