"""What operators do about parked records, each in a transaction that adds a row to the table `intervention`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from uuid_utils import uuid7

from eventbus.database import Transaction
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import COLUMNS, BlockedKey
from eventbus.store.deadlines import DUE


class Intervention(NamedTuple):
    """One row of the audit table."""

    at_ms: int
    action: str
    key: str
    address: str
    """The record's topic/partition/offset."""
    error: str
    by: str
    reason: str


class OfADeadline(Exception):
    """What is parked is a deadline that is over: it cannot be discarded, because it is part of its row."""


class Actor(NamedTuple):
    """Who intervenes, why, and when."""

    by: str
    reason: str
    at_ms: int


def blocked(
    tx: Transaction, where: Collection[tuple[str, str]] = (), keys: tuple[str, ...] = ()
) -> Iterator[BlockedKey]:
    """Return blocked keys in key order.

    Only of `keys` if there are any, and only those whose error contains, or whose other columns equal, `where`.
    """
    for row in tx.rows(f"select {COLUMNS} from fence order by key"):  # parking.MAX_BLOCKED_KEYS at most
        each = BlockedKey(*row)
        if (not keys or each.key in keys) and all(_is(each, name, text) for name, text in where):
            yield each


def last_touched(tx: Transaction) -> dict[str, int]:
    """Return the time of the last intervention by key, in milliseconds since 1970."""
    return {key: int(at_ms) for key, at_ms in tx.rows("select key, max(at_ms) from intervention group by key")}


def _is(each: BlockedKey, name: str, text: str) -> bool:
    value = str(getattr(each, name))
    return text in value if name == "error" else text == value


def retry(tx: Transaction, key: str, who: Actor) -> list[Intervention]:
    """Have a worker retry the parked records of a key at once. Does nothing if none is parked any more."""
    known = blocked_keys.blocking(tx, [key])
    if not known:
        return []
    blocked_keys.change(tx, known, {key: known[key]._replace(retry_at_ms=blocked_keys.NOW_MS)})
    return _record_each(tx, "retry", known[key], 1, who)


def discard(tx: Transaction, key: str, who: Actor, *, everything: bool) -> list[Intervention]:
    """Delete the first parked record of a key, or every one; the rest is retried at once. Raises OfADeadline."""
    known = blocked_keys.blocking(tx, [key])
    if not known:
        return []
    before = known[key]
    count = before.records if everything else 1
    for _, _, record in blocked_keys.records(tx, before, count):
        if record.partition.number == DUE:
            raise OfADeadline(
                f"{key}: {record.address} is a deadline, which is part of its row and would be found again:"
                " correct what fails, then retry; nothing was discarded of this key"
            )
    done = _record_each(tx, "discard", before, count, who)
    blocked_keys.remove(tx, key, before.first, before.first + count - 1)
    left = before._replace(first=before.first + count, attempts=0, retry_at_ms=blocked_keys.NOW_MS, error="")
    blocked_keys.change(tx, known, {key: left})
    return done


def history(tx: Transaction) -> list[Intervention]:
    """Return every intervention, oldest first."""
    sql = "select at_ms, action, key, address, error, by_whom, reason from intervention order by id"
    return [Intervention(*row) for row in tx.rows(sql)]


def _record_each(tx: Transaction, action: str, known: BlockedKey, count: int, who: Actor) -> list[Intervention]:
    """Write one row about each of the first `count` parked records of a key."""
    notes = []
    for _, position, record in blocked_keys.records(tx, known, count):
        error = known.error if position == known.first else ""
        notes.append(Intervention(who.at_ms, action, known.key, record.address, error, who.by, who.reason))
        blob = blocked_keys.pack(record) if action == "discard" else b""
        sql = "insert into intervention (id, at_ms, action, key, address, error, by_whom, reason, record)"
        tx.execute(f"{sql} values (?, ?, ?, ?, ?, ?, ?, ?, ?)", str(uuid7()), *notes[-1], blob)
    return notes
