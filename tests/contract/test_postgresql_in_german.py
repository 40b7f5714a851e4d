"""The same guarantees on a server whose messages are German: conditions are recognised by SQLSTATE."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from eventbus.database import Unavailable, WrongDatabase
from tests.conftest import do_without
from tests.contract.test_postgresql import (  # noqa: F401 - these are the tests
    test_a_connection_lost_in_a_transaction_leaves_nothing_of_it,
    test_a_deadlock_is_a_lost_race,
    test_a_lost_connection_is_unavailable_and_the_next_attempt_works,
    test_a_read_only_database_is_unwritable_and_works_again_when_it_is_not,
    test_a_user_that_may_not_create_the_schema_is_told_so,
    test_a_worker_that_stands_still_in_a_transaction_does_not_keep_others_waiting,
    test_a_wrong_password_is_named_and_the_password_is_not,
)
from tests.support.databases import postgres as servers
from tests.support.databases.postgres import PASSWORD
from tests.support.things import everything, put, things


@pytest.fixture(scope="module", name="postgres")
def german() -> Iterator[servers.Server]:
    """One for all tests here."""
    try:
        server = servers.server_that_speaks("de_DE")
    except servers.NoPostgres as why:
        do_without("PostgreSQL in German", why)
    server.start()
    with psycopg.connect(servers.url(server.port)) as admin, pytest.raises(psycopg.Error) as said:
        admin.execute("select nothing")
    if "existiert nicht" not in str(said.value):
        do_without("PostgreSQL in German", "its translations are not installed")
    yield server
    server.remove()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(PASSWORD, "another"), ("saga:", "nobody:"), (f":{PASSWORD}", ""), ("/test_", "/other_")],
    ids=["password", "user", "no password", "database"],
)
def test_who_is_not_let_in_is_told_so_at_once(postgres_url: str, right: str, wrong: str) -> None:
    """A setting is wrong: waiting would not help."""
    url = postgres_url.replace(right, wrong, 1)
    with pytest.raises(
        WrongDatabase, match=r"refused the connection: .*: check user, password and database name"
    ) as error:
        everything(things(url))
    assert PASSWORD not in str(error.value)


def test_who_may_not_connect_to_the_database_is_told_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"create role stranger_to_{name} login password 'guest'".encode())
        admin.execute(f"revoke connect on database {name} from public".encode())
    with pytest.raises(WrongDatabase, match="refused the connection: "):
        everything(things(postgres_url.replace(f"saga:{PASSWORD}", f"stranger_to_{name}:guest")))


def test_too_many_connections_pass(postgres_url: str) -> None:
    """The server reports it in German; the next attempt may succeed."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        role = f"crowd_of_{name}"
        admin.execute(f"create role {role} login password 'guest' connection limit 0".encode())
        admin.execute(f"grant all on database {name} to {role}".encode())
        db = things(postgres_url.replace(f"saga:{PASSWORD}", f"{role}:guest"))
        with pytest.raises(Unavailable):
            everything(db)
        admin.execute(f"alter role {role} connection limit 10".encode())
    put(db, ("a", "apple", 1))
    db.close()
