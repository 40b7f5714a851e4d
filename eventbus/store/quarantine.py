"""Which database this is, and whether a person has to decide about it first: tables `incarnation` and `quarantine`.

A worker that finds the database older than the log puts it in quarantine: every other worker stops at its next compare,
until a person releases it.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from uuid_utils import uuid7

from eventbus.database import Transaction
from eventbus.log import UnsafeToContinue, to_iso

OPEN = "select id from quarantine where released_at_ms is null order by id limit 1"
"""For statements that ask for it beside something else; null where nobody has to decide."""
_COLUMNS = "id, at_ms, instance, reason, released_at_ms, released_by, release_reason"


class Quarantined(UnsafeToContinue):
    """Somebody has put the database in quarantine, and nobody has released it."""


class Quarantine(NamedTuple):
    """Since when, because of what and by which worker; and who released it, where somebody did."""

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
    standing = [each for each in history(tx) if each.released_at_ms is None]
    if standing:
        first = standing[0]
        raise Quarantined(
            f"the database is in quarantine since {to_iso(first.at_ms)}, when worker {first.instance!r} found:"
            f" {first.reason}. It stays so until somebody releases it: `database quarantine` shows it, `database"
            " release` or `database accept-backup` ends it"
        )


def impose(tx: Transaction, at_ms: int, instance: str, reason: str) -> None:
    """Put the database in quarantine; nothing more where it is."""
    if not tx.rows(OPEN):
        sql = "insert into quarantine (id, at_ms, instance, reason) values (?, ?, ?, ?)"
        tx.execute(sql, str(uuid7()), at_ms, instance, reason)


def release(tx: Transaction, at_ms: int, by: str, reason: str) -> int:
    """Release the database, on record; return how many quarantines ended."""
    sql = "update quarantine set released_at_ms = ?, released_by = ?, release_reason = ? where released_at_ms is null"
    return tx.execute(sql, at_ms, by, reason)


def incarnation(tx: Transaction) -> str:
    """Return the id of this database, which its copies share; empty where it was never used."""
    rows = tx.rows("select id from incarnation order by number desc limit 1")
    return str(rows[0][0]) if rows else ""


def identify(tx: Transaction, at_ms: int) -> str:
    """Return the id of this database, drawn when it is first used.

    Raises ConcurrentUpdate where another worker does so.
    """
    return incarnation(tx) or renew(tx, new_incarnation(), at_ms, "", "first used")


def new_incarnation() -> str:
    """Draw an id."""
    return secrets.token_hex(8)


def renew(tx: Transaction, drawn: str, at_ms: int, by: str, reason: str) -> str:
    """Give the database an id of its own: other copies of it are other databases from now on."""
    [[number]] = tx.rows("select coalesce(max(number), 0) + 1 from incarnation")
    sql = "insert into incarnation (number, id, at_ms, by_whom, reason) values (?, ?, ?, ?, ?)"
    tx.execute(sql, number, drawn, at_ms, by, reason)
    return drawn
