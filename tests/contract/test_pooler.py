"""The same guarantees through PgBouncer, whatever its pool_mode is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg
import pytest

from eventbus.database import Unavailable, WrongDatabase
from eventbus.database import connect as connect_to
from tests.conftest import do_without
from tests.contract.test_database import *  # noqa: F403 - these are the tests
from tests.contract.test_lease import (  # noqa: F401
    open_database,
    test_many_workers_that_start_at_the_same_moment_have_different_names,
)
from tests.contract.test_postgresql import (  # noqa: F401
    test_a_connection_lost_in_a_transaction_leaves_nothing_of_it,
    test_a_deadlock_is_a_lost_race,
    test_a_worker_that_stands_still_in_a_transaction_does_not_keep_others_waiting,
    test_a_wrong_password_is_named_and_the_password_is_not,
    test_services_share_a_postgresql_database_without_seeing_each_other,
)
from tests.support.databases import postgres as servers
from tests.support.databases.pgbouncer import Mode, NoPgBouncer, PgBouncer
from tests.support.things import SCHEMA, THINGS, everything, put, things


def pooler_before(server: servers.Server, mode: Mode) -> PgBouncer:
    try:
        return PgBouncer(server.port, mode)
    except NoPgBouncer as why:
        do_without("PgBouncer", why)


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, postgres: servers.Server) -> Iterator[PgBouncer]:
    with pooler_before(postgres, request.param) as pooler:
        yield pooler


@pytest.fixture
def postgres_url(pooler: PgBouncer, postgres: servers.Server) -> Iterator[str]:
    """A new empty database, through the pooler."""
    name = servers.create_database(postgres.port)
    yield pooler.url(name)
    servers.drop_database(postgres.port, name)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


def test_a_database_that_takes_another_ones_place_behind_the_pooler_is_noticed(
    postgres: servers.Server, postgres_url: str
) -> None:
    """A failover, a restored copy: the client's own connection may never break. So each transaction checks."""
    copy = servers.create_database(postgres.port)
    with closing(connect_to(servers.url(postgres.port, copy), service="some-service", schema=SCHEMA)) as direct:
        put(direct, ("a", "an old apple", 1))
    with pooler_before(postgres, "transaction") as pooler, closing(things(pooler.url("service"))) as db:
        pooler.lead("service", f"port={postgres.port} dbname={postgres_url.rpartition('/')[2]}")
        put(db, ("a", "apple", 1))
        before = db.losses
        pooler.lead("service", f"port={postgres.port} dbname={copy}")
        with pytest.raises(Unavailable, match="leads to another server, or to another copy"):
            for _ in range(1_000):
                everything(db)
        assert db.losses == before + 1
        assert everything(db) == [("a", "an old apple", 1)]
    servers.drop_database(postgres.port, copy)


def test_nothing_of_a_transaction_stays_on_the_servers_connection(postgres_url: str) -> None:
    """The next client of the pool gets the connection, and may belong to another application."""
    with closing(things(postgres_url)) as db:
        put(db, ("a", "apple", 1))
    with psycopg.connect(postgres_url) as other:
        asked = ("search_path", "lock_timeout", "idle_in_transaction_session_timeout", "client_min_messages")
        found = [other.execute(f"show {name}".encode()).fetchall()[0][0] for name in asked]
        assert found == ['"$user", public', "0", "0", "notice"]
        assert other.execute("select count(*) from pg_prepared_statements").fetchall() == [(0,)]


def test_a_statement_that_was_used_often_works_on_any_connection_of_the_pool(postgres_url: str) -> None:
    """What the driver prepares after five uses would exist on one connection only."""
    with closing(things(postgres_url)) as db, closing(things(postgres_url)) as other:
        for number in range(10):
            put(db, (f"a{number}", "apple", 1))
        with other.transaction() as tx:  # has the connection that was free, the last one used
            assert len(everything(db)) == 10
            with db.transaction() as beside:
                ((first,),), ((second,),) = (each.rows("select pg_backend_pid()") for each in (tx, beside))
                beside.insert(THINGS, [("b", "bean", 1)])
            assert first != second


def test_a_pooler_that_gives_each_statement_another_connection_is_refused(postgres: servers.Server) -> None:
    """Transactions are impossible there. A single such error may be an outage, and is retried."""
    with pooler_before(postgres, "statement") as pooler, closing(things(pooler.url("postgres"))) as db:
        with pytest.raises(Unavailable):
            everything(db)
        with pytest.raises(WrongDatabase, match=r"rejects transactions: .* pool_mode to transaction or session"):
            for _ in range(5):
                try:
                    everything(db)
                except Unavailable:
                    continue


def test_options_that_the_pooler_does_not_take_are_named(postgres_url: str) -> None:
    """They are not needed; if the URL has them, the message says why the connection is refused."""
    with pytest.raises(WrongDatabase, match=r"refused the connection: .*options"):
        everything(things(f"{postgres_url}?options=-c%20work_mem%3D64MB"))


def test_a_pooler_that_was_killed_is_used_again_when_it_is_back(pooler: PgBouncer, postgres_url: str) -> None:
    with closing(things(postgres_url)) as db:
        put(db, ("a", "apple", 1))
        pooler.kill()
        for _ in range(2):
            with pytest.raises(Unavailable):
                everything(db)
        pooler.start()
        assert everything(db) == [("a", "apple", 1)]


def test_a_connection_lost_while_nothing_is_done_is_the_poolers_matter(
    postgres: servers.Server, postgres_url: str
) -> None:
    """In session mode the client loses its own too; in transaction mode the next transaction uses another one."""
    with closing(things(postgres_url)) as db:
        with db.transaction() as tx:
            ((pid,),) = tx.rows("select pg_backend_pid()")
        with psycopg.connect(servers.url(postgres.port), autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s, 60000)", (pid,))
        with suppress(Unavailable):
            put(db, ("a", "apple", 1))
        put(db, ("b", "bean", 1))
        assert ("b", "bean", 1) in everything(db)


def test_a_server_that_starts_again_behind_the_pooler_is_another_one(
    pooler: PgBouncer, postgres: servers.Server, postgres_url: str
) -> None:
    """Its workers may remember more than it contains."""
    with closing(things(postgres_url)) as db:
        put(db, ("a", "apple", 1))
        before = db.losses
        postgres.stop()
        postgres.start()
        with suppress(Unavailable):
            everything(db)
        assert (everything(db), db.losses) == ([("a", "apple", 1)], before + 1)
