"""Versions of the tables: what is refused, what an upgrade does, and that it is atomic."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from eventbus.database import Database, NotThere, Row, Unavailable, WrongDatabase, WrongVersion, connect, existing
from eventbus.database.schema_version import (
    RUNTIME,
    SERVICE,
    TABLE,
    MigrationStep,
    Schema,
    Version,
    number,
    runtime,
    schema_in,
    statements,
)
from eventbus.database.upgrade import status, upgrade
from tests.support.databases import frozen
from tests.support.databases.sqlstructure import structure
from tests.support.saga.processes import PATIENCE

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / name for name in ("eventbus/store", "order_service", "payment_service", "inventory_service")]
NAME = "some-service"
FIRST = Schema("create table things (id text primary key);")
STEP = MigrationStep(
    2, "0002_amount", "alter table things add column amount bigint not null default 0; -- with a default"
)
EXPANDED = Schema("create table things (id text primary key, amount bigint not null default 0);", (STEP,))
DROP = MigrationStep(3, "0003_contract", "-- oldest compatible: 2\ncreate table others (id text primary key);")
CONTRACTED = Schema(f"{EXPANDED.ddl} create table others (id text primary key);", (STEP, DROP))
BROKEN = Schema(
    EXPANDED.ddl, (STEP, MigrationStep(3, "0003_broken", "create table more (id text primary key); drop table nix;"))
)


def opened(url: str, schema: Schema) -> Database:
    return connect(url, service=NAME, schema=schema)


def use(url: str, schema: Schema, sql: str = "select id from things") -> list[Row]:
    with closing(opened(url, schema)) as database, database.transaction() as tx:
        return tx.rows(sql)


def made(url: str, schema: Schema = FIRST) -> None:
    with closing(opened(url, schema)) as database, database.transaction() as tx:
        tx.execute("insert into things (id) values ('a')")


def versions(url: str, schema: Schema) -> dict[str, Version]:
    return {component.name: component.here for component in status(url, NAME, schema)}


@contextmanager
def raw(url: str, service: str = NAME) -> Iterator[sqlite3.Connection | psycopg.Connection]:
    """The database itself, without the port."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            yield file
    else:
        options = f"-c search_path={service.replace('-', '_')}"
        with psycopg.connect(url, autocommit=True, options=options) as server:
            yield server


def test_a_new_database_has_the_newest_versions(database_url: str) -> None:
    made(database_url, CONTRACTED)
    newest = {RUNTIME: runtime().version, SERVICE: Version(3, 2)}
    assert versions(database_url, CONTRACTED) == newest
    assert [each.wrong for each in status(database_url, NAME, CONTRACTED)] == [None, None]


def test_an_older_database_is_refused_and_left_as_it_is(database_url: str) -> None:
    """One sentence: both versions, and what to do. Nothing is created silently."""
    made(database_url)
    with pytest.raises(WrongVersion, match=r"service's tables have version 1.*needs 2.*some-service database upgrade"):
        use(database_url, EXPANDED)
    with pytest.raises(WrongVersion), existing(database_url, service=NAME, schema=EXPANDED):
        pass
    assert versions(database_url, EXPANDED)[SERVICE] == Version(1, 1)
    assert use(database_url, FIRST) == [("a",)]


def test_a_database_that_lost_the_table_of_versions_is_of_the_first_release(database_url: str) -> None:
    """Release a2f560b created none. Tables that it lacks are not created while connecting."""
    made(database_url)
    with raw(database_url) as database:
        database.execute(f"drop table {TABLE}")
    before = structure(database_url, NAME)
    if runtime().version.version > 1:
        with pytest.raises(WrongVersion, match="the runtime's tables have version 1"):
            use(database_url, FIRST)
    assert structure(database_url, NAME) == before


def test_an_upgrade_keeps_the_rows_and_is_done_once(database_url: str) -> None:
    made(database_url)
    assert upgrade(database_url, NAME, EXPANDED)[SERVICE] == (STEP,)
    assert upgrade(database_url, NAME, EXPANDED)[SERVICE] == ()
    assert use(database_url, EXPANDED, "select id, amount from things") == [("a", 0)]
    assert versions(database_url, EXPANDED)[SERVICE] == Version(2, 1)


def test_older_programs_go_on_after_steps_that_expand_and_not_after_one_that_contracts(database_url: str) -> None:
    """Old and new workers side by side: one that is running, and one that starts."""
    made(database_url)
    with closing(opened(database_url, FIRST)) as running:
        with running.transaction() as tx:
            tx.execute("insert into things (id) values ('b')")
        upgrade(database_url, NAME, EXPANDED)
        with running.transaction() as tx:
            tx.execute("insert into things (id) values ('c')")
        assert use(database_url, FIRST) == [("a",), ("b",), ("c",)]
        upgrade(database_url, NAME, CONTRACTED)
        with pytest.raises(WrongVersion, match=r"version 3, which needs a release of version 2 or newer.*has 1"):
            use(database_url, FIRST)
    assert use(database_url, EXPANDED) == [("a",), ("b",), ("c",)]


def test_a_step_that_fails_leaves_nothing_behind(database_url: str) -> None:
    """Atomically: neither the steps before it nor half of it are applied."""
    made(database_url)
    before = structure(database_url, NAME)
    with pytest.raises(Exception, match="nix"):
        upgrade(database_url, NAME, BROKEN)
    assert structure(database_url, NAME) == before
    assert versions(database_url, BROKEN)[SERVICE] == Version(1, 1)


def test_of_upgrades_at_the_same_moment_one_does_it(database_url: str) -> None:
    made(database_url)
    barrier = threading.Barrier(4)

    def once(_number: int) -> int:
        barrier.wait(PATIENCE)
        return len(upgrade(database_url, NAME, CONTRACTED)[SERVICE])

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(once, range(4))) == [0, 0, 0, 2]


def test_an_upgrade_that_cannot_get_its_lock_says_so_and_changes_nothing(database_url: str) -> None:
    made(database_url)
    with closing(opened(database_url, FIRST)) as worker, worker.transaction() as tx:
        tx.execute("update things set id = 'b'")
        with pytest.raises(Unavailable):
            upgrade(database_url, NAME, EXPANDED)
    assert versions(database_url, EXPANDED)[SERVICE] == Version(1, 1)
    assert use(database_url, FIRST) == [("b",)]


def test_nothing_is_upgraded_where_nothing_is(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(NotThere if database_url.startswith("sqlite") else WrongDatabase):
        upgrade(database_url, NAME, FIRST)
    with pytest.raises(NotThere):
        status(f"sqlite:///{tmp_path}/nowhere.db", NAME, FIRST)


def test_another_services_database_is_not_upgraded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    made(url)
    with pytest.raises(WrongDatabase, match=NAME):
        upgrade(url, "other-service", EXPANDED)


@pytest.mark.parametrize("service", frozen.SERVICES)
def test_a_database_of_an_earlier_release_becomes_one_like_a_new_one_and_keeps_its_rows(
    service: str, database_url: str
) -> None:
    """Of release a2f560b, with rows in its tables."""
    schema = schema_in(ROOT / service.replace("-", "_"))
    with closing(connect(database_url, service=service, schema=schema)) as database, database.snapshot() as tx:
        newest = tx.tables()
    fresh = structure(database_url, service)
    forget(database_url, service)
    frozen.load(database_url, service)
    before = contents(database_url, service, newest)
    upgrade(database_url, service, schema)
    assert structure(database_url, service) == fresh
    after = contents(database_url, service, newest)
    assert {table: [row[: len(before[table][0])] for row in after[table]] for table in before if before[table]} == {
        table: rows for table, rows in before.items() if rows
    }


def forget(url: str, service: str) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
    else:
        with raw(url, service) as server:
            server.execute(f"drop schema {service.replace('-', '_')} cascade")


def contents(url: str, service: str, tables: set[str]) -> dict[str, list[Row]]:
    """Return the rows of those of these tables that exist, without the versions."""
    with raw(url, service) as database:
        there = {table for table, *_ in structure(url, service)["columns"]}
        return {
            table: sorted(map(tuple, database.execute(f"select * from {table}").fetchall()), key=repr)
            for table in tables & there - {TABLE}
        }


SLOW = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1e7) select count(*) from n;",
    "postgresql": "select pg_sleep(0.2);",
}
KILLED = """
import sys
from eventbus.database.schema_version import MigrationStep, Schema
from eventbus.database.upgrade import upgrade
url, ddl, first, slow = sys.argv[1:]
print("upgrading", flush=True)
steps = MigrationStep(2, "0002_amount", first), MigrationStep(3, "0003_slow", slow * 500)
upgrade(url, "some-service", Schema(ddl, steps))
"""


def test_an_upgrade_that_is_killed_in_the_middle_leaves_nothing_behind(database_url: str) -> None:
    """kill -9 between its steps; the next one completes it."""
    made(database_url)
    before = structure(database_url, NAME)
    arguments = (database_url, EXPANDED.ddl, STEP.sql, SLOW[frozen.kind_of(database_url)])
    upgrading = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=ROOT)
    try:
        wait_until(lambda: locked(database_url))
    finally:
        upgrading.kill()
        upgrading.wait()
    wait_until(lambda: not locked(database_url))
    assert structure(database_url, NAME) == before
    assert upgrade(database_url, NAME, EXPANDED)[SERVICE] == (STEP,)
    assert use(database_url, EXPANDED, "select id, amount from things") == [("a", 0)]


def locked(url: str) -> bool:
    """Return whether an upgrade is in progress, past its first step."""
    with raw(url) as database:
        try:
            if isinstance(database, sqlite3.Connection):
                database.execute("pragma busy_timeout = 0")
                database.execute("begin immediate")
            else:
                database.execute("set lock_timeout = 50")
                database.execute("select amount from things limit 0")
        except (sqlite3.OperationalError, psycopg.errors.LockNotAvailable):
            return True
        except psycopg.errors.UndefinedColumn:
            return False
    return False


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, "it was not so in time"
        time.sleep(0.01)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_steps_are_numbered_from_one_without_a_gap(folder: Path) -> None:
    numbers = [step.version for step in schema_in(folder).steps]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_steps_file_with_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="NNNN_name"):
        number(Path("2-more.sql"))


@pytest.mark.parametrize("folder", FOLDERS[1:], ids=lambda folder: folder.name)
def test_the_steps_lead_from_the_first_release_to_the_newest_schema(folder: Path, database_url: str) -> None:
    """Tables, columns with their types and defaults, constraints and indexes; in any order of the columns."""
    newest = schema_in(folder)
    with closing(opened(database_url, newest)) as database, database.snapshot():
        pass
    fresh = structure(database_url, NAME)
    with raw(database_url) as server:
        for table in sorted({table for table, *_ in fresh["columns"]}):
            server.execute(f"drop table {table}")
        for step in (runtime().steps[0], newest.steps[0]):
            for statement in statements(step.sql):
                server.execute(statement)
        server.execute(f"insert into service (name) values ('{NAME}')")
    applied = upgrade(database_url, NAME, newest)
    assert applied == {RUNTIME: runtime().steps[1:], SERVICE: newest.steps[1:]}
    assert structure(database_url, NAME) == fresh
