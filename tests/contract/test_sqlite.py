"""The database port's guarantees that are specific to SQLite: which files it accepts."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.database import ReadOnlyOrFull, Unavailable, WrongDatabase, connect
from tests.support.things import SCHEMA, THINGS, everything, put, things


def test_another_services_database_is_refused_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    everything(things(url))
    with pytest.raises(WrongDatabase, match="some-service"):
        everything(connect(url, service="other-service", schema=SCHEMA))


@pytest.mark.parametrize(
    "content", [b"not a database, whatever its name says\n" * 50, b"SQLite format 3\0" + b"\xff" * 500]
)
def test_a_file_that_is_not_sqlite_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(content)
    with pytest.raises(WrongDatabase, match=r"letter\.db"):
        everything(things(f"sqlite:///{path}"))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "ddl",
    ["create table customers (id integer)", "create table service (port integer)", "create table service (name text)"],
)
def test_somebody_elses_sqlite_file_is_refused_and_left_as_it_is(tmp_path: Path, ddl: str) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute(ddl)
    before = path.read_bytes()
    with pytest.raises(WrongDatabase, match=r"theirs\.db"):
        everything(things(f"sqlite:///{path}"))
    assert path.read_bytes() == before


def test_a_sqlite_file_that_cannot_be_opened_is_unavailable_and_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"missing/one\.db"):
        everything(things(f"sqlite:///{tmp_path}/missing/one.db"))


def test_a_full_database_is_unwritable_and_works_again_when_there_is_room(tmp_path: Path) -> None:
    """What did not fit is rolled back; SQLite's own page limit simulates a full disk."""
    db = things(f"sqlite:///{tmp_path}/one.db")
    put(db, ("a", "apple", 1))
    with db.transaction() as tx:
        [(pages,)] = tx.rows("pragma page_count")
        tx.rows(f"pragma max_page_count = {pages}")
    with (
        pytest.raises(ReadOnlyOrFull, match=r"cannot write to .*one\.db: database or disk is full"),
        db.transaction() as tx,
    ):
        tx.insert(THINGS, [(f"b{number}", "x" * 500, 1) for number in range(200)])
    assert everything(db) == [("a", "apple", 1)]
    db.close()
    put(db, ("b", "bean", 2))
    db.close()


def test_a_limit_on_the_size_of_files_is_no_outage_either(tmp_path: Path) -> None:
    """A quota: SQLite reports an I/O error. In a process of its own, to which the limit applies."""
    db = things(f"sqlite:///{tmp_path}/one.db")
    put(db, ("a", "apple", 1))
    db.close()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, f"sqlite:///{tmp_path}/one.db"], capture_output=True, text=True, check=False
    )
    assert "ReadOnlyOrFull" in done.stdout, done
    assert everything(db) == [("a", "apple", 1)]
    db.close()


LIMITED = """
import resource, sys
from eventbus.database import ReadOnlyOrFull
from tests.support.things import THINGS, things
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with things(sys.argv[1]).transaction() as tx:
        tx.insert(THINGS, [(f"b{number}", "x" * 500, 1) for number in range(2000)])
except ReadOnlyOrFull as error:
    print("ReadOnlyOrFull", error)
"""


def test_a_read_only_file_is_unwritable(tmp_path: Path) -> None:
    """Byte 18 of the file says which versions of SQLite may write it, for root too (sqlite.org/fileformat)."""
    url, path = f"sqlite:///{tmp_path}/one.db", tmp_path / "one.db"
    db = things(url)
    put(db, ("a", "apple", 1))
    db.close()
    for version in (3, 2):
        with path.open("r+b") as file:
            file.seek(18)
            file.write(bytes([version]))
        if version == 3:
            with pytest.raises(
                ReadOnlyOrFull, match=r"cannot write to .*one\.db: attempt to write a readonly database"
            ):
                put(db, ("b", "bean", 2))
            db.close()
    put(db, ("b", "bean", 2))
    db.close()


def test_a_file_that_was_overwritten_while_it_was_open_is_damaged_and_no_records_fault(tmp_path: Path) -> None:
    """If SQLite detects it; it does not always."""
    path = tmp_path / "one.db"
    db = things(f"sqlite:///{path}")
    put(db, *((f"a{number:04}", "x" * 500, 1) for number in range(500)))
    db.close()
    with path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * (path.stat().st_size - 8_192))
    with pytest.raises(WrongDatabase, match=r"one\.db is damaged.*restore a backup"):
        everything(things(f"sqlite:///{path}"))


def test_a_file_that_takes_its_place_is_read_without_the_old_ones_log(tmp_path: Path) -> None:
    """The old one is complete, wherever it is; the new one is unchanged; the first use reports what happened."""
    path, old, other = tmp_path / "one.db", tmp_path / "old.db", tmp_path / "two.db"
    db = things(f"sqlite:///{path}")
    with closing(things(f"sqlite:///{other}")) as two:
        put(two, ("b", "of the other", 2))
    put(db, ("a", "only in the log", 1))
    assert path.with_name("one.db-wal").stat().st_size
    path.rename(old)
    other.rename(path)
    with pytest.raises(Unavailable, match=r"one\.db was replaced or deleted"):
        everything(db)
    assert (everything(db), db.losses) == ([("b", "of the other", 2)], 1)
    assert everything(things(f"sqlite:///{old}")) == [("a", "only in the log", 1)]


def test_a_second_connection_lets_go_without_touching_the_new_files_log(tmp_path: Path) -> None:
    path, other = tmp_path / "one.db", tmp_path / "two.db"
    first, second = (things(f"sqlite:///{path}") for _ in range(2))
    put(first, ("a", "apple", 1))
    everything(second)
    with closing(things(f"sqlite:///{other}")) as two:
        everything(two)
    other.rename(path)
    with pytest.raises(Unavailable):
        everything(first)
    put(first, ("b", "in the new one's log", 2))
    with pytest.raises(Unavailable):
        everything(second)
    assert everything(second) == everything(first) == [("b", "in the new one's log", 2)]
    put(second, ("c", "cherry", 3))
    assert [row[0] for row in everything(first)] == ["b", "c"]
