"""The laws of the order service on a database hold on PostgreSQL as they do on SQLite."""

from __future__ import annotations

import psycopg
import pytest
from click.testing import CliRunner

from order_service.__main__ import main
from tests.support.databases.postgres import PASSWORD
from tests.unit.services.test_order_service import *  # noqa: F403 - the same laws on the other database

pytestmark = pytest.mark.quick


@pytest.fixture
def database_url(postgres_url):
    return postgres_url


def test_who_only_looks_makes_nothing_and_says_no_password(postgres_url):
    """In an empty PostgreSQL and in one that does not know the order."""
    empty = CliRunner().invoke(main, ["list", "--database", postgres_url])
    assert (empty.exit_code, empty.stdout) == (1, "")
    assert "the database is empty" in empty.stderr
    with psycopg.connect(postgres_url) as server:
        assert server.execute("select 1 from pg_namespace where nspname = 'order_service'").fetchall() == []
    placed = CliRunner().invoke(
        main, ["place", "--customer", "1", "--total", "1", "--item", "a=1", "--database", postgres_url]
    )
    assert placed.exit_code == 0
    unknown = CliRunner().invoke(main, ["show", "nobody", "--database", postgres_url])
    assert "there is no order nobody in " in unknown.stderr
    assert PASSWORD not in empty.stderr + unknown.stderr
