"""A service's database with one table of things, for the tests of the database port."""

from __future__ import annotations

from eventbus.database import Database, Row, Table, connect

THINGS = Table("things", ("id", "name", "amount"))
SCHEMA = """
create table things (
    id text primary key,      -- a comment; with a semicolon
    name text,
    amount bigint check (amount <> 13)
);
create table blobs (id text primary key, content bytea not null);
create table pairs (first text not null, second integer not null, amount bigint, primary key (first, second));
"""


def things(url: str) -> Database:
    """Return one connection to the database at `url`."""
    return connect(url, service="some-service", schema=SCHEMA)


def everything(db: Database) -> list[Row]:
    with db.snapshot() as tx:
        return tx.rows("select id, name, amount from things order by id")


def put(db: Database, *rows: Row) -> None:
    with db.transaction() as tx:
        tx.insert(THINGS, rows)
