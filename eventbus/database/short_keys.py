"""Keys as people type them: whole, or their beginning or end, as long as only one key is meant."""

from __future__ import annotations

from collections.abc import Sequence

from eventbus.database import Table, Transaction

LEAST_END = 4
"""The least number of characters of a key's end: fewer are rather a mistyped beginning."""
MOST_SHOWN = 5
MOST_OFFERED = 100
BLOCKED_KEYS = Table("fence", ("key",))


class AmbiguousKey(LookupError):
    """What was given does not tell which key is meant."""


class TooShort(AmbiguousKey):
    """No key begins with it, and it is too short to be compared with their ends."""


def whole_key(tx: Transaction, given: str, *tables: Table) -> str:
    """Return the only key of these tables, or of a blocked key, that begins or ends with `given`.

    A key that is exactly `given` is meant by it, whatever begins or ends so; `given` itself is returned if no key is
    meant. It reads the tables from one end to the other, unless the key is whole. Raises AmbiguousKey (see `only`).
    """
    places = (*tables, BLOCKED_KEYS)
    exactly = " union ".join(f"select {each.key} from {each.name} where {each.key} = ?" for each in places)
    if tx.rows(exactly, *[given] * len(places)):
        return given
    like_it = " union ".join(_alike(each, given) for each in places)
    sql = f"select found from ({like_it}) as alike order by found limit {MOST_SHOWN + 1}"
    values = [given] * len(places) * (2 if len(given) >= LEAST_END else 1)
    return only(given, [key for (key,) in tx.rows(sql, *values)])


def only(given: str, found: Sequence[str]) -> str:
    """Return the only key that was found, or `given` if there is none.

    Raises AmbiguousKey if there are several, TooShort if there is none and `given` has fewer characters than an end.
    """
    if not given:
        raise AmbiguousKey("an empty id is the beginning of every id: type some of the one you mean")
    if len(found) > 1:
        shown = ", ".join(found[:MOST_SHOWN]) + (", …" if len(found) > MOST_SHOWN else "")
        raise AmbiguousKey(
            f"{given!r} is the beginning or the end of several ids: {shown}; type more of the one you mean"
        )
    if not found and len(given) < LEAST_END:
        raise TooShort(f"no id begins with {given!r}; of an id's end, type {LEAST_END} characters or more")
    return found[0] if found else given


def beginning_with(tx: Transaction, given: str, tables: Sequence[Table]) -> list[str]:
    """Return keys of these tables that begin with `given`, in order, at most MOST_OFFERED: a shell completes them."""
    begins = [f"select {t.key} as found from {t.name} where substr({t.key}, 1, {len(given)}) = ?" for t in tables]
    sql = f"select found from ({' union '.join(begins)}) as alike order by found limit {MOST_OFFERED}"
    return [key for (key,) in tx.rows(sql, *[given] * len(tables))]


def _alike(table: Table, given: str) -> str:
    column, length = table.key, len(given)
    begins = f"substr({column}, 1, {length}) = ?"
    ends = f" or substr({column}, length({column}) - {length - 1}) = ?" if length >= LEAST_END else ""
    return f"select {column} as found from {table.name} where {begins}{ends}"
