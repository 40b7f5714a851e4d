"""The database port's guarantees that are specific to PostgreSQL: lost connections, waiting, deadlocks, privileges."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from decimal import Decimal
from itertools import product
from typing import Any

import psycopg
import pytest

from eventbus.database import (
    ConcurrentUpdate,
    Database,
    ReadOnlyOrFull,
    Scalar,
    Table,
    Unavailable,
    WrongDatabase,
    connect,
    postgresql,
)
from eventbus.database import (
    postgresql_sets as sets,
)
from tests.support.databases.postgres import PASSWORD, USER, Server
from tests.support.saga.processes import PATIENCE
from tests.support.things import SCHEMA, THINGS, everything, put, things


def test_services_share_a_postgresql_database_without_seeing_each_other(postgres_url: str) -> None:
    some, other = (connect(postgres_url, service=f"{name}-service", schema=SCHEMA) for name in ("some", "other"))
    with closing(some), closing(other):
        put(some, ("a", "apple", 1))
        assert everything(other) == []


def test_a_malformed_postgresql_url_is_refused() -> None:
    with pytest.raises(WrongDatabase, match="postgresql://"):
        everything(things("postgresql://host:port/x y?nonsense"))


def test_a_wrong_password_is_named_and_the_password_is_not(postgres_url: str) -> None:
    url = postgres_url.replace(PASSWORD, "not-the-password")
    with pytest.raises(WrongDatabase, match=r"refused the connection: .*check user, password") as error:
        everything(things(url))
    assert "not-the-password" not in str(error.value)


def test_a_user_that_may_not_create_the_schema_is_told_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"create role guest_of_{name} login password 'guest'".encode())
    url = postgres_url.replace(f"{USER}:{PASSWORD}", f"guest_of_{name}:guest")
    with pytest.raises(WrongDatabase, match="of some-service cannot be used: "):
        everything(things(url))


def test_a_read_only_database_is_unwritable_and_works_again_when_it_is_not(postgres_url: str) -> None:
    """Neither a transient outage nor a wrong setting: an operator has to act."""
    db = things(postgres_url)
    put(db, ("a", "apple", 1))
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        for read_only in ("on", "off"):
            admin.execute(f"alter database {name} set default_transaction_read_only = {read_only}".encode())
            db.close()
            if read_only == "on":
                assert everything(db) == [("a", "apple", 1)]
                with pytest.raises(
                    ReadOnlyOrFull, match=r"cannot write to PostgreSQL: .*: make it writable, and restart"
                ):
                    put(db, ("b", "bean", 1))
    put(db, ("b", "bean", 1))
    assert everything(db) == [("a", "apple", 1), ("b", "bean", 1)]
    db.close()


def test_load_is_in_key_order_whatever_the_collation_of_the_column(postgres_url: str) -> None:
    schema = SCHEMA.replace("id text primary key,", 'id text collate "und-x-icu" primary key,')
    with closing(connect(postgres_url, service="some-service", schema=schema)) as db:
        put(db, ("B", "x", 1), ("a", "y", 2))
        with db.transaction() as tx:
            assert [row[0] for row in tx.load(THINGS, ["a", "B"])] == ["B", "a"]


def test_a_lost_connection_is_unavailable_and_the_next_attempt_works(postgres_url: str) -> None:
    with closing(things(postgres_url)) as db:
        with db.transaction() as tx:
            ((pid,),) = tx.rows("select pg_backend_pid()")
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s, 60000)", (pid,))
        with pytest.raises(Unavailable):
            put(db, ("a", "apple", 1))
        put(db, ("a", "apple", 1))


def test_a_connection_lost_in_a_transaction_leaves_nothing_of_it(postgres_url: str) -> None:
    with closing(things(postgres_url)) as db:
        with pytest.raises(Unavailable), db.transaction() as tx:
            tx.insert(THINGS, [("a", "apple", 1)])
            ((pid,),) = tx.rows("select pg_backend_pid()")
            with psycopg.connect(postgres_url, autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s, 60000)", (pid,))
        assert everything(db) == []


def test_a_server_that_was_away_is_used_again_when_it_is_back(postgres: Server, postgres_url: str) -> None:
    with closing(things(postgres_url)) as db:
        put(db, ("a", "apple", 1))
        postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    everything(db)
        finally:
            postgres.start()
        with suppress(Unavailable):
            everything(db)
        assert everything(db) == [("a", "apple", 1)]


def test_a_worker_that_stands_still_in_a_transaction_does_not_keep_others_waiting(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = things(postgres_url)
    monkeypatch.setattr(postgresql, "IDLE_IN_TRANSACTION_MS", 1_000)  # of what is opened from now on
    stopped = things(postgres_url)
    with closing(stopped), closing(other):
        put(other, ("a", "apple", 1))
        with pytest.raises(Unavailable), stopped.transaction() as tx:
            tx.load(THINGS, ["a"])
            tx.update(THINGS, [("a", "apple", 2)])
            with other.transaction() as going_on:
                locked = going_on.load(THINGS, ["a"])
        assert locked == everything(stopped) == [("a", "apple", 1)]


def test_writes_are_sent_together_with_the_commit_and_not_one_by_one(postgres_url: str) -> None:
    """A round trip for each would be felt where the server is another host."""
    one, two = (things(postgres_url) for _ in range(2))
    with closing(one), closing(two):
        with pytest.raises(ConcurrentUpdate), one.transaction() as tx:
            tx.insert(THINGS, [("a", "apple", 1)])
            tx.executemany("update things set amount = ? where id = ?", [(2, "a")])
            put(two, ("a", "not waiting for the first", 3))
        assert everything(one) == [("a", "not waiting for the first", 3)]


def test_a_column_that_a_migration_makes_wider_takes_more_at_once(postgres_url: str) -> None:
    """Workers of the release before it go on with their connections."""
    pairs = Table("pairs", ("first", "second", "amount"), keys=2)
    with closing(things(postgres_url)) as db, psycopg.connect(postgres_url, autocommit=True) as admin:
        with db.transaction() as tx:
            tx.insert(pairs, [("a", 1, 1)])
        admin.execute("alter table some_service.pairs alter column second type bigint")
        with db.transaction() as tx:
            tx.insert(pairs, [("b", 2**40, 2)])
            assert tx.rows("select second from pairs order by first") == [(1,), (2**40,)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((number, 7) for number in ("smallint", "integer", "bigint", "numeric(9, 2)", "double precision")),
        *((text, "x\\y") for text in ("varchar(9)", "char(3)", "text")),
        *(("date", "2026-11-29"), ("timestamptz", "2026-11-29T12:00:00Z"), ("jsonb", '{"a": "\\"b"}')),
    ],
)
def test_a_column_may_have_any_type_that_takes_the_value(postgres_url: str, kind: str, value: Scalar) -> None:
    typed, ddl = Table("typed", ("id", "value")), f"create table typed (id text primary key, value {kind})"
    with closing(connect(postgres_url, service="some-service", schema=ddl)) as db:
        with db.transaction() as tx:
            tx.insert(typed, [("a", None), ("b", value)])
            tx.update(typed, [("a", value), ("b", None)])
        with db.snapshot() as tx:
            [(_, stored), (_, nothing)] = tx.rows("select id, cast(value as text) from typed order by id")
            assert tx.rows(f"select cast(cast(? as {kind}) as text)", value) == [(stored,)]
            assert nothing is None


def test_a_deadlock_is_a_lost_race(postgres_url: str) -> None:
    one, two = (things(postgres_url) for _ in range(2))
    locked = threading.Barrier(2)

    def lock(db: Database, first: str, second: str) -> str:
        try:
            with db.transaction() as tx:
                tx.load(THINGS, [first])
                locked.wait(PATIENCE)
                tx.load(THINGS, [second])
        except ConcurrentUpdate:
            return "lost"
        return "won"

    with closing(one), closing(two), ThreadPoolExecutor(2) as pool:
        put(one, ("a", "x", 1), ("b", "y", 2))
        ends = [pool.submit(lock, one, "a", "b"), pool.submit(lock, two, "b", "a")]
        assert sorted(end.result(timeout=PATIENCE) for end in ends) == ["lost", "won"]


def test_long_values_are_compressed_with_lz4_where_the_server_has_it(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        has_it = bool(connection.execute(postgresql.HAS_LZ4).fetchall())
    with closing(things(postgres_url)) as db:
        put(db, ("a", "apple " * 10_000, 1))
        with db.snapshot() as tx:
            assert tx.rows("select pg_column_compression(name) from things") == [("lz4" if has_it else "pglz",)]


def test_a_server_behind_a_pooler_that_does_not_know_the_compression_is_another_one(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was set for the server before it is refused there."""
    with closing(things(postgres_url)) as db:
        with monkeypatch.context() as before:
            before.setattr(postgresql, "LZ4", "set local default_toast_compression = unheard_of")
            before.setattr(postgresql, "HAS_LZ4", b"select 1")
            with pytest.raises(Unavailable, match="leads to another server"):
                everything(db)
        assert (everything(db), db.losses) == ([], 1)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"blob", float("nan"), float("inf"), Decimal(1)])
def test_a_value_that_is_no_scalar_is_refused_before_it_gets_into_another_row(postgres_url: str, value: Any) -> None:
    """An array's text is made of its elements, and a list would be several of them."""
    with closing(things(postgres_url)) as db:
        put(db, ("a", "apple", 1), ("b", "banana", 2))
        with pytest.raises(TypeError, match="not a text, a finite number"), db.transaction() as tx:
            tx.update(THINGS, [("a", value, 1), ("b", "B", 2)])
        assert everything(db) == [("a", "apple", 1), ("b", "banana", 2)]


def test_a_statement_that_failed_and_was_ignored_is_no_commit(postgres_url: str) -> None:
    """PostgreSQL then answers `commit` with ROLLBACK, and no error; and it is nobody's outage."""
    with closing(things(postgres_url)) as db:
        with pytest.raises(RuntimeError, match="nothing was committed"), db.transaction() as tx:
            tx.insert(THINGS, [("a", "apple", 1)])
            with suppress(psycopg.errors.UndefinedFunction):
                tx.rows("select no_such_function()")
        assert everything(db) == []
        with pytest.raises(psycopg.errors.InFailedSqlTransaction), db.transaction() as tx:
            with suppress(psycopg.errors.UndefinedFunction):
                tx.rows("select no_such_function()")
            tx.rows("select 1")
        assert db.losses == 0


def test_an_array_is_read_by_the_server_as_the_values_that_it_was_made_of(postgres_url: str) -> None:
    """Whichever characters are in a value, and whether the encoder of JSON had to escape one or not."""
    texts = list(
        map("".join, product(("{", "}", ",", '"', "\\", "null", " ", "'", "\n", "\x1f", "\x7f", "é", "🍏"), repeat=2))
    )
    assert any("\\" in sets.array([text]) for text in texts)
    assert any("\\" not in sets.array([text]) for text in texts)
    with psycopg.connect(postgres_url) as connection:
        for values in (*([text] for text in texts), [None, *texts, "", "NULL"], [None], []):
            assert connection.execute("select %s::text[]", (sets.array(values),)).fetchone() == (values,)
        numbers = [0, -(2**63), 2**63 - 1, None]
        assert connection.execute("select %s::bigint[]", (sets.array(numbers),)).fetchone() == (numbers,)
        blobs = [b"", bytes(range(256)), None, b"\0" * 1_000]
        connection.adapters.register_dumper(sets.Blobs, sets.BlobsDumper)
        assert connection.execute("select %s::bytea[]", (sets.Blobs(blobs),)).fetchone() == (blobs,)
