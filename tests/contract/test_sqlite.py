"""What the database port promises on SQLite alone: whose file it takes for its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.database import NotOurs, Unavailable, connect
from tests.support.things import SCHEMA, everything, things


def test_another_services_database_is_refused_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    everything(things(url))
    with pytest.raises(NotOurs, match="some-service"):
        everything(connect(url, service="other-service", schema=SCHEMA))


@pytest.mark.parametrize(
    "content", [b"not a database, whatever its name says\n" * 50, b"SQLite format 3\0" + b"\xff" * 500]
)
def test_a_file_that_is_not_sqlite_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(content)
    with pytest.raises(NotOurs, match=r"letter\.db"):
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
    with pytest.raises(NotOurs, match=r"theirs\.db"):
        everything(things(f"sqlite:///{path}"))
    assert path.read_bytes() == before


def test_a_sqlite_file_that_cannot_be_opened_is_unavailable_and_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"missing/one\.db"):
        everything(things(f"sqlite:///{tmp_path}/missing/one.db"))
