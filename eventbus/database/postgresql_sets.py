"""Statements for a set of rows on PostgreSQL: one array for each column, which `unnest` makes rows of again.

An array is sent as text. That is JSON's but for the brackets, as long as nothing in it is escaped, so the encoder of
JSON writes nearly all of them: psycopg would look at each value (ten times the processor time, measured). An array of
bytes is sent in the binary format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import isfinite
from struct import Struct
from typing import Any

from msgspec.json import Encoder
from psycopg.adapt import Dumper
from psycopg.pq import Format

from eventbus.database import Row, Table

TYPES = b"""select attname, format_type(atttypid, -1) from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped"""
"""The names and types of a table's columns."""
BYTES = "bytea"
WIDER = {"smallint": "bigint", "integer": "bigint", "character varying": "text", "bpchar": "text"}
"""What is sent instead, so that a connection goes on when a migration makes a column wider."""

SCALARS = frozenset((str, int, bool, float, type(None)))
Types = tuple[str, ...]
"""The types of a table's columns, in the order of `Table.columns`."""

_to_json = Encoder().encode


class Blobs(tuple[bytes | None, ...]):
    """A parameter of type bytea[]."""

    __slots__ = ()


class BlobsDumper(Dumper):
    """Writes them as the server reads them (array_recv in PostgreSQL's source)."""

    format = Format.BINARY
    oid = 1001
    _header = Struct("!5i")

    def dump(self, obj: Blobs) -> bytes:
        """One dimension, the oid of the elements, their number, the first index; then each with its length."""
        written = [self._header.pack(1, 1, 17, len(obj), 1)]
        for blob in obj:
            written += (b"\xff\xff\xff\xff", b"") if blob is None else (len(blob).to_bytes(4, "big"), blob)
        return b"".join(written)


def array(values: Sequence[Any]) -> str:
    """Return PostgreSQL's text of an array (postgresql.org/docs/current/arrays.html#ARRAYS-IO).

    Raises TypeError for a value that is not a text, a finite number, a truth value or None.
    """
    kinds = set(map(type, values))
    if not kinds <= SCALARS or (float in kinds and not all(map(isfinite, filter(_is_float, values)))):
        raise TypeError(f"a column's value is not a text, a finite number, a truth value or None: {values!r:.80}")
    elements = _to_json(values).decode()[1:-1]
    if "\\" in elements:
        elements = ",".join(map(_element, values))
    return f"{{{elements}}}"


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _element(value: Any) -> str:
    if not isinstance(value, str):
        return _to_json(value).decode()
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def types(table: Table, found: Iterable[Row]) -> Types:
    """Return the types of a table's columns, from the rows of TYPES; `text` if there is no such column."""
    known: dict[str, str] = dict(found)
    return tuple(WIDER.get(kind, kind) for kind in (known.get(column, "text") for column in table.columns))


def parameters(kinds: Types, rows: Sequence[Row]) -> list[str | Blobs]:
    """Return one array for each column."""
    columns = zip(kinds, zip(*rows, strict=True), strict=True)
    return [Blobs(values) if kind == BYTES else array(values) for kind, values in columns]


@lru_cache
def select(table: Table, locking: str) -> bytes:
    """Return the statement that loads rows in key order; its parameter is an array of keys."""
    chosen = f"select {', '.join(table.columns)} from {table.name} where {table.key} = any(%s::text[])"
    return f'{chosen} order by {table.key} collate "C"{locking}'.encode()


@lru_cache
def insert(table: Table, kinds: Types) -> bytes:
    """Return the statement that inserts rows, in the order of the arrays."""
    names = ", ".join(table.columns)
    return f"insert into {table.name} ({names}) select {names} from {_new(table, kinds)}".encode()


@lru_cache
def update(table: Table, kinds: Types) -> bytes:
    """Return the statement that updates rows."""
    sets = ", ".join(f"{column} = new.{column}" for column in table.columns[table.keys :])
    which = " and ".join(f"{table.name}.{column} = new.{column}" for column in table.columns[: table.keys])
    return f"update {table.name} set {sets} from {_new(table, kinds)} where {which}".encode()


def _new(table: Table, kinds: Types) -> str:
    marks = ", ".join(f"%s::{kind}[]" for kind in kinds)
    return f"unnest({marks}) as new ({', '.join(table.columns)})"
