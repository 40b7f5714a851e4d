"""A database exchanged under running workers: a SQLite file replaced or deleted, a server that is another one."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from eventbus.log import UnsafeToContinue
from tests.support.brokers.kafka_node import Broker
from tests.support.databases.postgres import LocalServer, _binaries, create_database, url
from tests.support.engines import Playground, Worker, playground_of

SOON = 10
"""Seconds: everybody looks about every second, idle or busy."""


def path_of(playground: Playground) -> Path:
    return Path(playground.url.removeprefix("sqlite:///"))


def backup(playground: Playground) -> Path:
    """A copy made while everybody works, as `sqlite3 FILE .backup` makes it."""
    copy = path_of(playground).with_suffix(".backup")
    with closing(sqlite3.connect(path_of(playground))) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def two_workers(playground: Playground) -> tuple[Worker, Worker]:
    one, other = playground.worker("one"), playground.worker("other")
    playground.turn_until(lambda: one.ready() == other.ready() == 2)
    return one, other


def send(playground: Playground, first: int) -> None:
    """Send 50 events, to the partitions of either worker: which those are differs."""
    playground.send(range(first, first + 25))
    playground.send(range(first + 25, first + 50), topic="pang")


def noticed(*workers: Worker) -> bool:
    return all(worker.database.losses == 1 for worker in workers)


@pytest.mark.parametrize(
    "step", ["compared", "before database commit", "after database commit", "begun", "offsets sent"]
)
def test_a_file_that_is_exchanged_at_a_step_is_noticed_by_every_worker(
    sqlite_playground: Playground, step: str
) -> None:
    """What was decided in the old file and not published yet is not published; it is decided again, in the new one."""
    playground = sqlite_playground
    one, other = two_workers(playground)
    send(playground, 0)
    playground.settle(50)
    copy = backup(playground)
    old = path_of(playground).with_suffix(".old")

    def exchange() -> None:
        path_of(playground).rename(old)
        copy.rename(path_of(playground))

    one.at(step, exchange)
    send(playground, 50)
    # Not the other one: what it published by now would make the copy an older one, rightly refused.
    playground.turn_until(lambda: not copy.exists(), workers=[one])
    playground.turn_until(lambda: noticed(one, other))
    playground.settle(100)
    playground.assert_exactly_once(100, one_source=False)
    playground.turn_until(lambda: one.ready() == other.ready() == 2)
    with closing(sqlite3.connect(path_of(playground))) as file, closing(sqlite3.connect(old)) as before:
        assert file.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert before.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert before.execute("select sum(times) from tally").fetchone()[0] >= 50, "it has what its log had"


def test_a_file_that_is_exchanged_for_an_older_one_is_refused_by_every_worker(sqlite_playground: Playground) -> None:
    """Nothing is handled on it, nothing more is written into the old one, and the log gets no further answer."""
    playground = sqlite_playground
    one, other = two_workers(playground)
    copy = backup(playground)
    send(playground, 0)
    send(playground, 50)
    playground.settle(100)
    copy.rename(path_of(playground))
    send(playground, 100)
    for worker in (one, other):
        with pytest.raises(UnsafeToContinue, match="older than the log"):
            playground.turn_until(lambda: False, workers=[worker])
        assert noticed(worker)
    assert playground.tallied() == 0
    assert len(playground.pongs()) == 100


@pytest.mark.parametrize("busy", [True, False])
def test_two_copies_that_are_used_at_once_are_refused_by_every_worker(
    sqlite_playground: Playground, busy: bool
) -> None:
    """Neither recovers anything; each finds in the topic of progress what the other one published."""
    playground = sqlite_playground
    tuning = replace(playground.tuning, judge_after=0.5)
    playground.tuning = replace(tuning, judge_after=600)
    one, other = two_workers(playground)
    send(playground, 0)
    playground.settle(50)
    other.engine.close()
    playground.workers.remove(other)
    playground.turn_until(lambda: one.ready() == 4)
    copy, first = backup(playground), playground.url
    playground.url = f"sqlite:///{copy}"
    other = playground.worker("other")
    playground.turn_until(lambda: one.ready() == other.ready() == 2)
    before = one.watch.handled + other.watch.handled
    send(playground, 50)
    playground.turn_until(
        lambda: one.watch.handled + other.watch.handled == before + 50 and len(playground.pongs()) == 100
    )
    for worker in (one, other):
        worker.engine._housekeeping._config = tuning
        with pytest.raises(UnsafeToContinue, match="two copies that are used at once"):
            playground.turn_until(lambda: busy and send(playground, 100), SOON, workers=[worker])
    for playground.url in (first, f"sqlite:///{copy}"):
        assert playground.sql("select count(*) from quarantine") == [(1,)]


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_who_has_a_file_open_that_lost_its_log_or_index_stops(sqlite_playground: Playground, suffix: str) -> None:
    """It would go on in files that nobody else can find. What it had committed stays."""
    playground = sqlite_playground
    one, other = two_workers(playground)
    send(playground, 0)
    playground.settle(50)
    Path(f"{path_of(playground)}{suffix}").unlink()
    send(playground, 50)
    for worker in (one, other):
        with pytest.raises(UnsafeToContinue, match=f"{suffix} was deleted while .* was open"):
            playground.turn_until(lambda: False, SOON, workers=[worker])
    playground.close()
    playground.workers.clear()
    two_workers(playground)
    playground.settle(100)
    playground.assert_exactly_once(100, one_source=False)


def test_a_file_that_is_deleted_is_waited_for_and_not_made_anew(sqlite_playground: Playground) -> None:
    playground = sqlite_playground
    one, other = two_workers(playground)
    send(playground, 0)
    playground.settle(50)
    away = path_of(playground).with_suffix(".away")
    path_of(playground).rename(away)
    playground.turn_until(lambda: noticed(one, other))
    send(playground, 50)
    playground.turn_until(lambda: any("was deleted: restore it" in doubt for doubt in other.watch.doubts))
    assert not path_of(playground).exists()
    assert len(playground.pongs()) == 50
    away.rename(path_of(playground))
    playground.settle(100)
    playground.assert_exactly_once(100, one_source=False)


def epochs(playground: Playground) -> dict[tuple[str, int], int]:
    rows = playground.sql("select topic, partition, epoch from checkpoint")
    return {(topic, number): epoch for topic, number, epoch in rows}


def test_every_partition_is_recovered_when_the_connection_was_lost(playground: Playground) -> None:
    """Also those of which nothing was under way: what the next connection leads to may be an older copy."""
    worker = playground.worker("one")
    playground.turn_until(lambda: worker.ready() == 4)
    before = epochs(playground)

    def lose() -> None:
        if playground.url.startswith("sqlite"):
            backup(playground).rename(path_of(playground))
            return
        with psycopg.connect(playground.url, autocommit=True) as server:
            others = "select pg_terminate_backend(pid) from pg_stat_activity"
            server.execute(f"{others} where datname = current_database() and pid <> pg_backend_pid()")

    worker.at("taken", lose)
    playground.send([1], partition=0)
    playground.turn_until(lambda: worker.database.losses == 1)
    playground.settle(1)
    playground.turn_until(lambda: worker.ready() == 4)
    after = epochs(playground)
    assert {place for place in before if after[place] > before[place]} == set(before)
    playground.assert_exactly_once(1)


@pytest.fixture
def own_server() -> Iterator[LocalServer]:
    """A PostgreSQL whose data can be exchanged."""
    if (binaries := _binaries()) is None:
        pytest.skip("no PostgreSQL binaries of this machine")
    server = LocalServer(binaries)
    server.start()
    yield server
    server.remove()


def test_a_server_that_is_an_older_copy_is_refused_by_every_worker(broker: Broker, own_server: LocalServer) -> None:
    """A restored base backup has the same system identifier and the same timeline: only recovery tells."""
    folder = own_server._folder
    with playground_of(broker.bootstrap_servers, url(own_server.port, create_database(own_server.port))) as playground:
        one, other = two_workers(playground)
        own_server.stop()
        subprocess.run(["cp", "-a", folder / "data", folder / "backup"], check=True)
        own_server.start()
        send(playground, 0)
        send(playground, 50)
        playground.settle(100)
        own_server.stop()
        (folder / "data").rename(folder / "old")
        (folder / "backup").rename(folder / "data")
        own_server.start()
        for worker in (one, other):
            with pytest.raises(UnsafeToContinue, match="older than the log"):
                playground.turn_until(lambda: False, workers=[worker])
        assert playground.tallied() == 0
        assert len(playground.pongs()) == 100
