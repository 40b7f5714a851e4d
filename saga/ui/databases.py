"""Reading the services' databases for the page: single statements, read only, on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from eventbus.database import SQLITE, check_file, is_postgresql
from eventbus.database.postgresql import checked

Rows = list[tuple[Any, ...]]
Select = Callable[[str], Rows]
"""Runs one statement; no rows if a table of it does not exist, because the database is of an older release."""


@contextmanager
def reading(service: str, url: str) -> Iterator[Select]:
    """Open the database of a service. Raises NotThere, WrongDatabase, sqlite3.Error, psycopg.Error."""
    check_file(f"the database of {service}", url)
    if not is_postgresql(url):
        file = url.removeprefix(SQLITE)
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2)) as database:
                yield lambda sql: _sqlite(database, sql)
        except sqlite3.Error as error:
            raise type(error)(f"{file}: {error}") from error
        return
    with psycopg.connect(checked(url), connect_timeout=3, autocommit=True) as server:
        server.read_only = True
        server.execute(f"set search_path = {service.replace('-', '_')}".encode())
        yield lambda sql: _postgresql(server, sql)


def _sqlite(database: sqlite3.Connection, sql: str) -> Rows:
    try:
        return database.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise


def _postgresql(server: psycopg.Connection[Any], sql: str) -> Rows:
    try:
        return server.execute(sql.encode()).fetchall()
    except psycopg.errors.UndefinedTable:
        return []
