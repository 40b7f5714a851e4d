"""The id of the database, and whether it is in quarantine: tables `incarnation` and `quarantine`.

A worker that finds the database older than the log puts it in quarantine: every other worker stops at its next compare,
until an operator releases it.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from uuid_utils import uuid7

from eventbus.database import Transaction
from eventbus.log import UnsafeToContinue, to_iso

OPEN = "select id from quarantine where released_at_ms is null order by id limit 1"
"""A subquery for statements that read other rows, too; null if the database is not in quarantine."""
_COLUMNS = "id, at_ms, instance, reason, released_at_ms, released_by, release_reason"


class Quarantined(UnsafeToContinue):
    """The database is in quarantine and was not released."""


class Quarantine(NamedTuple):
    """When, why and by which worker the database was quarantined; and when, why and by whom it was released, if so."""

    id: str
    at_ms: int
    instance: str
    reason: str
    released_at_ms: int | None = None
    released_by: str | None = None
    release_reason: str | None = None


def history(tx: Transaction) -> list[Quarantine]:
    """Return all of them, the oldest first."""
    return [Quarantine(*row) for row in tx.rows(f"select {_COLUMNS} from quarantine order by id")]


def check(tx: Transaction) -> None:
    """Raise Quarantined unless every quarantine was released."""
    unreleased = [each for each in history(tx) if each.released_at_ms is None]
    if unreleased:
        first = unreleased[0]
        raise Quarantined(
            f"the database has been in quarantine since {to_iso(first.at_ms)}, when worker {first.instance!r} found:"
            f" {first.reason}. No worker continues until an operator releases it: `database quarantine` shows it,"
            " `database release` or `database accept-backup` ends it"
        )


def impose(tx: Transaction, at_ms: int, instance: str, reason: str) -> None:
    """Put the database in quarantine, unless it is already."""
    if not tx.rows(OPEN):
        sql = "insert into quarantine (id, at_ms, instance, reason) values (?, ?, ?, ?)"
        tx.execute(sql, str(uuid7()), at_ms, instance, reason)


def release(tx: Transaction, at_ms: int, by: str, reason: str) -> int:
    """Release the database, with an audit record; return how many quarantines ended."""
    sql = "update quarantine set released_at_ms = ?, released_by = ?, release_reason = ? where released_at_ms is null"
    return tx.execute(sql, at_ms, by, reason)


def incarnation(tx: Transaction) -> str:
    """Return the id of this database, which its copies share; empty if it was never used."""
    rows = tx.rows("select id from incarnation order by number desc limit 1")
    return str(rows[0][0]) if rows else ""


def identify(tx: Transaction, at_ms: int) -> str:
    """Return the id of this database; generate it on first use.

    Raises ConcurrentUpdate if another worker generates it at the same time.
    """
    return incarnation(tx) or renew(tx, new_incarnation(), at_ms, "", "first used")


def new_incarnation() -> str:
    """Generate an id."""
    return secrets.token_hex(8)


def renew(tx: Transaction, drawn: str, at_ms: int, by: str, reason: str) -> str:
    """Give the database a new id: other copies of it are different databases from now on."""
    [[number]] = tx.rows("select coalesce(max(number), 0) + 1 from incarnation")
    sql = "insert into incarnation (number, id, at_ms, by_whom, reason) values (?, ?, ?, ?, ?)"
    tx.execute(sql, number, drawn, at_ms, by, reason)
    return drawn
