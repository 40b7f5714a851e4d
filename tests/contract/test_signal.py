"""A connection learns cheaply that another one has something for it. It is a hint: nothing may depend on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from eventbus.database import Database
from eventbus.log import Output
from eventbus.store import progress
from eventbus.worker.root_events import QUERY_SECONDS, RootEventSignal
from tests.conftest import do_without
from tests.support.databases import postgres as servers
from tests.support.databases.pgbouncer import NoPgBouncer, PgBouncer
from tests.support.saga.processes import PATIENCE
from tests.support.things import THINGS, everything, put, things

OUTPUT = Output("order.created", b"key", b"value", [])


@pytest.fixture
def waiting(database_url: str) -> Iterator[Database]:
    """A connection that has asked before, so that it would hear a signal."""
    with closing(things(database_url)) as db:
        everything(db)
        db.changed()
        assert db.changed() is False
        yield db


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    with closing(things(database_url)) as db:
        everything(db)
        yield db


def signal(db: Database, key: str = "a") -> None:
    with db.transaction() as tx:
        tx.insert(THINGS, [(key, "apple", 1)])
        tx.signal()


def heard(db: Database) -> bool:
    """Return whether a signal arrives, in time."""
    deadline = time.monotonic() + PATIENCE
    while not (changed := db.changed()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(changed)


def test_a_committed_signal_is_heard_once(waiting: Database, other: Database) -> None:
    for key in ("a", "b"):
        signal(other, key)
        assert heard(waiting)
        assert waiting.changed() is False


def test_what_is_rolled_back_signals_nothing(waiting: Database, other: Database) -> None:
    with pytest.raises(ValueError, match="no"), other.transaction() as tx:
        tx.insert(THINGS, [("a", "apple", 1)])
        tx.signal()
        raise ValueError("no")
    time.sleep(0.1)
    assert waiting.changed() is False


def test_a_signal_during_a_transaction_of_ones_own_is_heard_after_it(waiting: Database, other: Database) -> None:
    with waiting.snapshot() as tx:
        tx.rows("select count(*) from things")
        signal(other)
        assert tx.rows("select count(*) from things") == [(0,)]
    assert everything(waiting)
    assert heard(waiting)


def test_who_is_not_connected_knows_nothing(database_url: str) -> None:
    with closing(things(database_url)) as db:
        assert db.changed() is None


def test_a_lost_connection_is_the_next_transactions_matter(postgres_url: str) -> None:
    """Asking raises nothing, and after the next connection the signal works again."""
    with closing(things(postgres_url)) as db, closing(things(postgres_url)) as other:
        everything(db)
        db.changed()
        with db.snapshot() as tx:
            ((pid,),) = tx.rows("select pg_backend_pid()")
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s, 60000)", (pid,))
        while db.changed() is not None:
            time.sleep(0.01)
        with pytest.raises(ConnectionError):
            everything(db)
        everything(db)
        assert heard(db), "what it missed, it looks for"
        put(other, ("a", "apple", 1))
        assert db.changed() is False
        signal(other, "b")
        assert heard(db)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler_there_is_no_signal(postgres: servers.Server, postgres_url: str, mode: str) -> None:
    """The pooler would deliver notifications to another client of the connection; we leave no LISTEN behind."""
    try:
        pooler = PgBouncer(postgres.port, mode)  # type: ignore[arg-type]
    except NoPgBouncer as why:
        do_without("PgBouncer", why)
    with pooler, closing(things(pooler.url(postgres_url.rpartition("/")[2]))) as db:
        everything(db)
        assert db.changed() is None
        signal(db)
        with db.snapshot() as tx:
            assert tx.rows("select pg_listening_channels()") == []


def test_only_the_first_waiting_root_event_signals_on_postgresql(postgres_url: str) -> None:
    """Commits that notify exclude each other; while root events wait, the worker is on its way anyway."""
    with closing(things(postgres_url)) as db, closing(things(postgres_url)) as other:
        everything(db)
        db.changed()
        for key, expected in (("a", True), ("b", False)):
            with other.transaction() as tx:
                progress.add_root_event(tx, key, OUTPUT)
            assert (heard(db) if expected else db.changed()) is expected
        with db.transaction() as tx:
            assert len(progress.take_root_events(tx, 10, 1_000)) == 2
        with other.transaction() as tx:
            progress.add_root_event(tx, "c", OUTPUT)
        assert heard(db)


class NoSignal:
    """A database without signals; only `changed` is called."""

    def changed(self) -> bool | None:
        return None


def test_without_a_signal_root_events_are_queried_at_intervals() -> None:
    now = [100.0]
    root_events = RootEventSignal(NoSignal(), lambda: now[0])  # type: ignore[arg-type]
    for _ in range(2):
        assert not root_events.seen()
        now[0] += 1.5 * QUERY_SECONDS
        assert root_events.seen()
