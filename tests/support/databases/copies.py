"""Copies of a service's database, made and put back as an operator does: all rows of all tables, on either database."""

from __future__ import annotations

from typing import Any

from tests.support.engines import Playground

TABLES = ("checkpoint", "outbox", "uncaused", "fence", "parked", "intervention", "incarnation", "quarantine", "tally")
Copy = dict[str, list[tuple[Any, ...]]]


def backed_up(playground: Playground) -> Copy:
    """Return a copy of the database."""
    return {table: playground.sql(f"select * from {table}") for table in TABLES}


def restore(playground: Playground, copy: Copy) -> None:
    """Put a copy in the database's place, in one transaction: workers may be running."""
    database = playground.database()
    try:
        with database.transaction() as tx:
            for table, rows in copy.items():
                tx.execute(f"delete from {table}")
                marks = ", ".join("?" * len(rows[0])) if rows else ""
                tx.executemany(f"insert into {table} values ({marks})", rows)
    finally:
        database.close()
