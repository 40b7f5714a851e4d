"""The database port's guarantees that are specific to PostgreSQL: lost connections, waiting, deadlocks, privileges."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psycopg
import pytest

from eventbus.database import (
    ConcurrentUpdate,
    Database,
    ReadOnlyOrFull,
    Unavailable,
    WrongDatabase,
    connect,
    postgresql,
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
    stopped, other = (things(postgres_url) for _ in range(2))
    with closing(stopped), closing(other):
        put(other, ("a", "apple", 1))
        monkeypatch.setattr(postgresql, "IDLE_IN_TRANSACTION_MS", 1_000)  # of what begins from now on
        with pytest.raises(Unavailable), stopped.transaction() as tx:
            tx.load(THINGS, ["a"])
            with other.transaction() as going_on:
                assert going_on.load(THINGS, ["a"]) == [("a", "apple", 1)]
        assert everything(stopped) == [("a", "apple", 1)]


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
