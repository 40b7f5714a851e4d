"""The contract of the database port, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from eventbus.database import (
    NO_RECORDS_FAULT,
    RACES,
    ConcurrentUpdate,
    Database,
    Row,
    Table,
    Transaction,
    Unavailable,
    WrongDatabase,
    WrongVersion,
    postgresql,
    retry_on_conflict,
    sqlite,
)
from eventbus.database.postgresql import PostgreSQL
from tests.support.saga.processes import PATIENCE
from tests.support.things import THINGS, everything, put, things

Open = Callable[[], Database]


@pytest.fixture
def connect(database_url: str) -> Iterator[Open]:
    """Return a function that opens one connection more to the same database."""
    opened: list[Database] = []

    def another() -> Database:
        opened.append(things(database_url))
        return opened[-1]

    yield another
    for one in opened:
        one.close()


@pytest.fixture
def db(connect: Open) -> Database:
    return connect()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections opened from now on wait 0.2 s for a lock."""
    for adapter in (sqlite, postgresql):
        monkeypatch.setattr(adapter, "LOCK_WAIT_MS", 200)


def test_what_a_transaction_wrote_is_there_for_others_when_it_has_ended(db: Database, connect: Open) -> None:
    other = connect()
    with db.transaction() as tx:
        tx.insert(THINGS, [("a", "apple", 1)])
        assert everything(other) == []
    assert everything(other) == [("a", "apple", 1)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_transaction_that_ends_with_an_exception_has_never_been(db: Database, error: type[BaseException]) -> None:
    with pytest.raises(error), db.transaction() as tx:
        tx.insert(THINGS, [("a", "apple", 1)])
        raise error
    assert everything(db) == []
    put(db, ("b", "still works", 2))


def test_load_returns_the_rows_that_exist_in_key_order_each_once(db: Database) -> None:
    put(db, ("B", "x", 1), ("a", "y", 2), ("é", "z", 3), ("Z", "w", 4), ("other", "v", 5))
    with db.transaction() as tx:
        loaded = tx.load(THINGS, ["é", "a", "Z", "a", "nobody", "B"])
    assert [row[0] for row in loaded] == sorted(["B", "a", "é", "Z"])


def test_load_of_no_keys_returns_no_rows(db: Database) -> None:
    put(db, ("a", "apple", 1))
    with db.transaction() as tx:
        assert tx.load(THINGS, []) == []


def test_insert_and_update_of_no_rows_do_nothing(db: Database) -> None:
    with db.transaction() as tx:
        tx.insert(THINGS, [])
        tx.update(THINGS, [])
        tx.executemany("insert into things (id) values (?)", [])
    assert everything(db) == []


def test_a_key_that_is_there_already_is_a_lost_race_and_nothing_of_the_set_stays(db: Database) -> None:
    put(db, ("b", "first", 1))
    with pytest.raises(ConcurrentUpdate):
        put(db, ("a", "new", 2), ("b", "second", 3))
    assert everything(db) == [("b", "first", 1)]


def test_a_violated_check_is_no_lost_race(db: Database) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        put(db, ("a", "unlucky", 13))
    assert everything(db) == []


def test_a_mistake_in_a_statement_is_not_taken_for_an_outage(db: Database) -> None:
    with pytest.raises((sqlite3.Error, psycopg.ProgrammingError)), db.transaction() as tx:
        tx.execute("update things sat name = 1")


@pytest.mark.parametrize("unknown", ["select 1 from no_table", "select no_column from things"])
def test_a_table_or_column_that_is_not_there_is_the_databases_version_and_no_records_fault(
    db: Database, unknown: str
) -> None:
    """A migration step removed it, or never created it."""
    with pytest.raises(WrongVersion, match=r"no_(table|column)") as refused, db.transaction() as tx:
        tx.rows(unknown)
    assert isinstance(refused.value, NO_RECORDS_FAULT)


def test_update_writes_all_columns_of_the_rows_with_these_keys_and_no_others(db: Database) -> None:
    put(db, ("a", "apple", 1), ("b", "banana", 2), ("c", "cherry", 3))
    with db.transaction() as tx:
        tx.update(THINGS, [("a", None, 10), ("c", "cranberry", 30)])
    assert everything(db) == [("a", None, 10), ("b", "banana", 2), ("c", "cranberry", 30)]


@pytest.mark.parametrize("count", [1, sqlite.SET_ROWS - 1, sqlite.SET_ROWS, 2 * sqlite.SET_ROWS + 7])
def test_a_set_of_any_size_is_inserted_updated_and_loaded_whole(db: Database, count: int) -> None:
    rows: list[Row] = [(f"{number:04}", f"thing {number}", 1_000 + number) for number in range(count)]
    put(db, *rows)
    assert everything(db) == rows
    changed: list[Row] = [(key, None, amount + 1) for key, _, amount in rows]
    with db.transaction() as tx:
        tx.update(THINGS, changed)
        assert tx.load(THINGS, [key for key, _, _ in reversed(rows)]) == changed


@pytest.mark.parametrize("at", [0, sqlite.SET_ROWS - 1, sqlite.SET_ROWS, 2 * sqlite.SET_ROWS + 6])
def test_one_row_that_cannot_be_written_refuses_the_whole_set_wherever_it_stands(db: Database, at: int) -> None:
    rows = [(f"{number:04}", "", 1_000) for number in range(2 * sqlite.SET_ROWS + 7)]
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        put(db, *rows[:at], (rows[at][0], "unlucky", 13), *rows[at + 1 :])
    put(db, rows[at])
    with pytest.raises(ConcurrentUpdate):
        put(db, *rows)
    assert everything(db) == [rows[at]]


def test_a_row_is_found_by_a_key_with_any_character(db: Database) -> None:
    """SQLite's json_each ends a text at NUL; PostgreSQL stores none."""
    keys = ["a", "a\x01b", "a\\", 'a"', "é", "🍏"] + ["a\0b", "\0"] * (not isinstance(db, PostgreSQL))
    rows: list[Row] = [(key, "thing", 1) for key in sorted(keys)]
    put(db, *rows)
    with db.transaction() as tx:
        assert tx.load(THINGS, keys) == rows
        for key in keys:
            assert [found for found, *_ in tx.load(THINGS, [key])] == [key]


def test_a_row_with_a_key_of_several_columns_is_found_by_all_of_them(db: Database) -> None:
    pairs = Table("pairs", ("first", "second", "amount"), keys=2)
    with db.transaction() as tx:
        tx.insert(pairs, [("a", 1, 10), ("a", 2, 20), ("b", 1, None)])
        tx.update(pairs, [("a", 1, None), ("b", 1, 30), ("b", 2, 40)])
        rows = tx.rows("select first, second, amount from pairs order by first, second")
    assert rows == [("a", 1, None), ("a", 2, 20), ("b", 1, 30)]


def test_a_write_that_failed_is_reported_even_if_the_caller_rolls_back(db: Database) -> None:
    """So a dry run finds out, on which row the database fails: the answer to a write may be read at the end only."""
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)), db.transaction() as tx:
        tx.insert(THINGS, [("a", "unlucky", 13)])
        raise LookupError
    with pytest.raises(LookupError), db.transaction() as tx:
        tx.insert(THINGS, [("a", "lucky", 12)])
        raise LookupError
    assert everything(db) == []


def test_what_was_written_is_read_in_the_same_transaction(db: Database) -> None:
    with db.transaction() as tx:
        tx.insert(THINGS, [("a", "apple", 1), ("b", "banana", 2)])
        tx.update(THINGS, [("a", "apricot", 3)])
        tx.executemany("update things set amount = ? where id = ?", [(4, "b")])
        assert tx.load(THINGS, ["a", "b"]) == [("a", "apricot", 3), ("b", "banana", 4)]
        tx.insert(THINGS, [("c", "cherry", 5)])
        assert tx.execute("delete from things where amount > ?", 3) == 2
    assert everything(db) == [("a", "apricot", 3)]


VALUES = [
    ("quotes ' \" and \\ backslash", "it's \"quoted\" -- '; drop table things; --", 0),
    ("unicode 漢字 🍏 é", "\u202e line\nbreak\ttab \x01", -1),
    ("largest", "percent %s ? {x} $1", 2**63 - 1),
    ("smallest", "", -(2**63)),
    ("nothing", None, None),
    ("array", r"{NULL,null,\"} \N \x41 \\\\", 0),
    ("controls \x1f\x7f\x80", "\b\f\r\v\\u0041", 0),
]


@pytest.mark.parametrize("row", VALUES, ids=[row[0].split()[0] for row in VALUES])
def test_every_value_comes_back_as_it_was_whichever_way_it_went_in(db: Database, row: Row) -> None:
    put(db, row)
    with db.transaction() as tx:
        tx.execute("delete from things where id = ?", row[0])
        assert tx.execute("insert into things (id, name, amount) values (?, ?, ?)", *row) == 1
        tx.update(THINGS, [row])
        assert tx.load(THINGS, [row[0]]) == [row]
        assert tx.rows("select id, name, amount from things where id = ?", row[0]) == [row]


def test_bytes_come_back_as_they_were(db: Database) -> None:
    content = bytes(range(256)) * 4
    with db.transaction() as tx:
        tx.execute("insert into blobs (id, content) values (?, ?)", "a", content)
        tx.executemany("insert into blobs (id, content) values (?, ?)", [("b", b""), ("c", b"\x00")])
        assert tx.rows("delete from blobs where id = ? returning content", "a") == [(content,)]
        assert tx.rows("select content from blobs order by id") == [(b"",), (b"\x00",)]


def test_a_set_of_rows_may_hold_bytes(db: Database) -> None:
    blobs = Table("blobs", ("id", "content"))
    rows: list[Row] = [("a", b""), ("b", bytes(range(256))), ("c", b'\\x41,{}"')]
    with db.transaction() as tx:
        tx.insert(blobs, rows)
        tx.update(blobs, [("a", b"\xff" * 100_000)])
    with db.snapshot() as tx:
        assert tx.rows("select id, content from blobs order by id") == [("a", b"\xff" * 100_000), *rows[1:]]


def test_execute_says_how_many_rows_it_changed(db: Database) -> None:
    put(db, ("a", "x", 1), ("b", "x", 2), ("c", "y", 3))
    with db.transaction() as tx:
        assert tx.execute("update things set amount = 0 where name = ?", "x") == 2
        assert tx.execute("delete from things where name = ?", "nobody") == 0


def test_a_snapshot_sees_one_moment_whatever_others_commit_meanwhile(db: Database, connect: Open) -> None:
    other = connect()
    put(db, ("a", "apple", 1))
    with db.snapshot() as tx:
        assert tx.load(THINGS, ["a"]) == [("a", "apple", 1)]
        with other.transaction() as writing:
            writing.update(THINGS, [("a", "changed", 2)])
        put(other, ("b", "new", 3))
        assert tx.load(THINGS, ["a", "b"]) == [("a", "apple", 1)]
    assert everything(db) == [("a", "changed", 2), ("b", "new", 3)]


def test_a_second_writer_waits_and_then_sees_what_the_first_one_wrote(db: Database, connect: Open) -> None:
    put(db, ("a", "apple", 1))
    second, asked = connect(), threading.Event()

    def add() -> None:
        asked.set()
        with second.transaction() as tx:
            ((key, name, amount),) = tx.load(THINGS, ["a"])
            tx.update(THINGS, [(key, name, amount + 1)])

    with ThreadPoolExecutor() as pool:
        with db.transaction() as tx:
            ((key, name, amount),) = tx.load(THINGS, ["a"])
            adding = pool.submit(add)
            asked.wait(PATIENCE)
            with pytest.raises(TimeoutError):
                adding.result(timeout=0.2)
            tx.update(THINGS, [(key, name, amount + 1)])
        adding.result(timeout=PATIENCE)
    assert everything(db) == [("a", "apple", 3)]


def test_a_writer_that_waits_too_long_is_told_so_and_can_try_again(
    db: Database, impatient: None, connect: Open
) -> None:
    put(db, ("a", "apple", 1))
    second = connect()
    with db.transaction() as tx:
        tx.load(THINGS, ["a"])
        with pytest.raises(Unavailable), second.transaction() as late:
            late.load(THINGS, ["a"])
    with second.transaction() as tx:
        assert tx.load(THINGS, ["a"]) == [("a", "apple", 1)]


def test_of_two_that_insert_the_same_key_at_once_one_loses_the_race(db: Database, connect: Open) -> None:
    first, second = db, connect()
    assert everything(second) == everything(first) == []
    barrier = threading.Barrier(2)

    def insert(one: Database) -> str:
        barrier.wait(PATIENCE)
        try:
            with one.transaction() as tx:
                assert tx.load(THINGS, ["a"]) in ([], [("a", "same", 1)])
                tx.insert(THINGS, [("a", "same", 1)])
        except ConcurrentUpdate:
            return "lost"
        return "won"

    with ThreadPoolExecutor() as pool:
        assert sorted(pool.map(insert, [first, second])) == ["lost", "won"]


@pytest.mark.parametrize(("lost", "wins"), [(RACES - 1, True), (RACES, False)])
def test_who_loses_a_race_does_it_again_and_gives_up_in_the_end(db: Database, lost: int, wins: bool) -> None:
    """Nothing of a lost transaction stays."""
    put(db, ("b", "there before", 0))
    tries = []

    def act(tx: Transaction) -> int:
        tries.append(len(tries))
        tx.insert(THINGS, [("a" * len(tries), "new", len(tries))])
        if len(tries) <= lost:
            tx.insert(THINGS, [("b", "second", 1)])
        return len(tries)

    if wins:
        assert retry_on_conflict(db, act) == RACES
        assert everything(db) == [("a" * RACES, "new", RACES), ("b", "there before", 0)]
        return
    with pytest.raises(ConcurrentUpdate):
        retry_on_conflict(db, act)
    assert (len(tries), everything(db)) == (RACES, [("b", "there before", 0)])


def test_workers_that_start_at_the_same_moment_agree_on_one_new_database(connect: Open) -> None:
    starting = [connect() for _ in range(6)]
    barrier = threading.Barrier(len(starting))

    def use(one: Database) -> list[Row]:
        barrier.wait(PATIENCE)
        return everything(one)

    with ThreadPoolExecutor(len(starting)) as pool:
        assert list(pool.map(use, starting)) == [[]] * len(starting)


def test_it_can_be_used_again_after_close(db: Database) -> None:
    put(db, ("a", "apple", 1))
    db.close()
    db.close()
    assert everything(db) == [("a", "apple", 1)]


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://x.db", "sqlite:///", "", "order.db"])
def test_a_url_of_neither_kind_is_refused(url: str) -> None:
    with pytest.raises(WrongDatabase, match="neither"):
        things(url)


def test_a_password_is_not_shown_when_the_url_is_wrong() -> None:
    """A rejected URL is named, without its secrets."""
    with pytest.raises(WrongDatabase, match="neither sqlite") as refused:
        things("mysql://saga:secret@db.example/saga")
    assert "secret" not in str(refused.value)
