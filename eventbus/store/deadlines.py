"""Deadlines in the services' own tables: every SQL statement about them.

A row whose key is blocked is not due: its deadline is parked, or waits for the records that are. That is a subquery for
each row that is looked at, not a join, so that the rows are read in the order of the index and no further than needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventbus.database import DueColumn, Row, Transaction

DUE = -2
"""The partition number of a deadline that is over; in place of the topic is the deadline's name, of the offset the time
at which it was over."""


def _free(column: DueColumn) -> str:
    return f"(select 1 from fence where fence.key = {column.table}.{column.key}) is null"


def first(column: DueColumn) -> str:
    """Return a subquery for the time at which the first deadline is over; null if none is set."""
    where = f"{column.at} is not null and {_free(column)}"
    return f"(select {column.at} from {column.table} where {where} order by {column.at} limit 1)"


def last_set(column: DueColumn) -> str:
    """Return a subquery for the latest time at which a deadline was set; null if none is set."""
    return f"(select max({column.set_at}) from {column.table} where {column.set_at} is not null)"


def due(tx: Transaction, column: DueColumn, now_ms: int, limit: int) -> list[Row]:
    """Return key and time of the deadlines that are over, the most overdue first; no lock."""
    where = f"{column.at} is not null and {column.at} <= ? and {_free(column)}"
    sql = f"select {column.key}, {column.at} from {column.table} where {where} order by {column.at}, {column.key}"
    return tx.rows(f"{sql} limit ?", now_ms, limit)


def set_after(tx: Transaction, column: DueColumn, at_ms: int, limit: int) -> list[str]:
    """Return the keys of deadlines that were set after a time; no lock."""
    where = f"{column.set_at} is not null and {column.set_at} > ?"
    return [key for (key,) in tx.rows(f"select {column.key} from {column.table} where {where} limit ?", at_ms, limit)]


def is_set(tx: Transaction, column: DueColumn) -> bool:
    """Return whether any row has a deadline."""
    return bool(tx.rows(f"select 1 from {column.table} where {column.at} is not null limit 1"))


def load(tx: Transaction, column: DueColumn, keys: Iterable[str]) -> dict[str, Row]:
    """Return key and deadline of rows, locked in key order."""
    return {row[0]: row for row in tx.load(column.rows, keys)}


def write(tx: Transaction, column: DueColumn, rows: Mapping[str, Row]) -> None:
    """Write the deadlines of rows that this transaction has locked."""
    tx.update(column.rows, (rows[key] for key in sorted(rows)))
