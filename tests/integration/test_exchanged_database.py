"""A database exchanged under running workers: a SQLite file replaced or deleted, a server that is another one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.log import Refused
from tests.support.engines import Playground, Worker


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
    playground.send(range(50))
    playground.settle(50)
    copy = backup(playground)
    old = path_of(playground).with_suffix(".old")

    def exchange() -> None:
        path_of(playground).rename(old)
        copy.rename(path_of(playground))

    one.at(step, exchange)
    playground.send(range(50, 100))
    playground.turn_until(lambda: noticed(one, other))
    playground.settle(100)
    playground.assert_exactly_once(100)
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
    playground.send(range(100))
    playground.settle(100)
    copy.rename(path_of(playground))
    playground.send(range(100, 200))
    for worker in (one, other):
        with pytest.raises(Refused, match="older than the log"):
            playground.turn_until(lambda: False, workers=[worker])
        assert noticed(worker)
    assert playground.tallied() == 0
    assert len(playground.pongs()) == 100


def test_a_file_that_is_deleted_is_waited_for_and_not_made_anew(sqlite_playground: Playground) -> None:
    playground = sqlite_playground
    one, other = two_workers(playground)
    playground.send(range(50))
    playground.settle(50)
    away = path_of(playground).with_suffix(".away")
    path_of(playground).rename(away)
    playground.turn_until(lambda: noticed(one, other))
    playground.send(range(50, 100))
    playground.turn_until(lambda: any("is gone: put it back" in doubt for doubt in other.watch.doubts))
    assert not path_of(playground).exists()
    assert len(playground.pongs()) == 50
    away.rename(path_of(playground))
    playground.settle(100)
    playground.assert_exactly_once(100)
