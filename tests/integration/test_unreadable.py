"""What cannot be decompressed pauses its partition, loses nothing before it, and is passed by only on record."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from choreography.__main__ import main
from eventbus.resolutions import RESOLUTIONS
from tests.support.engines import Playground, Worker

BATCH = 70
"""Records of 900 kB in one batch: more than librdkafka decompresses, a few kB on the broker."""
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
    config = {"compression.type": "zstd", "linger.ms": 500, "batch.size": 100_000_000, "message.max.bytes": 100_000_000}
    producer = Producer({"bootstrap.servers": playground.bootstrap} | config)
    for _ in range(BATCH):
        producer.produce("ping", b"\0" * 900_000, b"bomb", 0)
    assert producer.flush(60) == 0
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
    assert (done.exit_code, done.stdout) == (0, f"skipped ping/0/3 to {3 + BATCH} for {playground.group}\n"), done
    playground.turn_until(lambda: len(playground.pongs()) == 8)
    [record] = playground.admin.read(f"{playground.group}{RESOLUTIONS}")
    said = dict(record.headers())
    assert (said["dlq_topic"], said["dlq_partition"], said["dlq_offset"]) == (b"ping", b"0", b"3")
    assert (said["dlq_action"], said["dlq_by"], said["dlq_why"]) == (b"skip", b"ana", b"corrupt, INC-9")
    assert said["dlq_skipped_to"] == b"%d" % (3 + BATCH)
    assert playground.admin.read(f"{playground.group}.dead-letters") == []
    again = skip(playground, 3)
    assert again.exit_code == 1
    assert "nothing is to be skipped at 3" in again.stderr
    playground.assert_exactly_once(8)


def test_only_what_cannot_be_read_is_skipped(stuck_on_sqlite: tuple[Playground, Worker], tmp_path: Path) -> None:
    """Another offset, a partition that can be read, another database: a clear error, and nothing moves."""
    playground, _ = stuck_on_sqlite
    empty = tmp_path / "empty.db"
    empty.touch()
    refused = {
        "begins at 3, not 5": skip(playground, 5),
        "ping/1 can be read at 3": skip(playground, 3, partition=1),
        "there is no partition ping/7": skip(playground, 3, partition=7),
        "is not at sqlite:///nowhere.db": skip(playground, 3, "--database", "sqlite:///nowhere.db"),
        "the database is empty": skip(playground, 3, "--database", f"sqlite:///{empty}"),
        "is the database of": skip(playground, 3, "--group", "others"),
    }
    for why, result in refused.items():
        assert (result.exit_code, why in result.stderr) == (1, True), result.stderr
    [[next_offset]] = playground.sql("select next_offset from checkpoint where topic = 'ping' and partition = 0")
    assert next_offset == 3
