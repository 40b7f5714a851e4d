"""Readers and writers made for one event each, for what nearly every record is: twice as fast as fastavro and a dict.

They know one schema, the event's own, and take only what is plain: anything else (a number too long, a text cut off, a
value out of its range) they leave, by an exception, to fastavro and the strict walk, which judge it and say why. So
they never decide that a record is bad, and what they take is what fastavro takes: a test compares the two on drawn and
damaged bodies. Why: docs/decisions/0014-compiled-readers.md.
Source: Avro 1.12, Binary Encoding.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from eventbus.event import Event

LONGEST_TEXT = 1_023
"""Bytes; a text that is longer is written by fastavro."""

BITS = {"int": 32, "long": 64}
FRAME_BYTES = 5
_Namespace = dict[str, Any]


class Compiled(NamedTuple):
    """Both raise when they would rather not say. Any exception means "ask fastavro", of bad records and events, too."""

    read: Callable[[bytes], Event]
    """From a framed value to the event; of at most as many bytes as an event may have values."""
    write: Callable[[bytes, Event], bytes]
    """From a frame and an event to the framed value."""


class Unusual(ValueError):
    """Left to fastavro. Never seen by callers of the codec."""


def compiled(cls: type[Event]) -> Compiled | None:
    """Return a reader and a writer of an event's own schema, or None for types that are left to fastavro altogether.

    Known are string, int, long, enum, and arrays of these or of records of these.
    """
    names = count()
    try:
        reading, writing = _Reading(names), _Writing(names)
        made = reading.record(cls, cls.schema, "    ")
        writing.record(cls, cls.schema, "event", "    ")
    except Unusual:
        return None
    read = ["def read(v):", f"    p = {FRAME_BYTES}", *reading.lines, "    if p != len(v):", "        raise Unusual"]
    write = ["def write(frame, event):", "    b = [frame]", *writing.lines, "    return b''.join(b)"]
    namespace: _Namespace = {**_KNOWN, **reading.known, **writing.known}
    source = "\n".join([*read, f"    return {made}", *write])
    exec(compile(source, f"<{cls.__name__}>", "exec"), namespace)  # noqa: S102 - of our own schemas, as dataclasses do
    return Compiled(namespace["read"], namespace["write"])


def _more(value: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a number of several bytes, not yet unfolded, and where it ends."""
    number, shift = first & 127, 7
    while first > 127:  # noqa: PLR2004 - it goes on
        first = value[at]
        at += 1
        number |= (first & 127) << shift
        shift += 7
        if shift > 70:  # noqa: PLR2004 - ten bytes hold 64 bits
            raise Unusual
    return number, at


def _length(value: bytes, at: int, first: int) -> tuple[int, int]:
    """Return the same for what cannot be negative."""
    number, at = _more(value, at, first)
    if number & 1:
        raise Unusual
    return number, at


def _number(number: int, bits: int = 64) -> bytes:
    """Return a number as Avro writes it: folded, so that small negative ones are short, too; low 7 bits first."""
    folded = (number << 1) ^ (number >> 63)
    if folded >> bits:
        raise Unusual
    written = bytearray()
    while folded > 127:  # noqa: PLR2004 - it goes on
        written.append(folded & 127 | 128)
        folded >>= 7
    written.append(folded)
    return bytes(written)


_KNOWN: Mapping[str, Any] = {
    "Unusual": Unusual,
    "more": _more,
    "length": _length,
    "number": _number,
    "L": [_number(length) for length in range(LONGEST_TEXT + 1)],
}


LENGTH = ("n = v[p]", "p += 1", "if n & 129:", "    n, p = length(v, p, n)")


class _Lines:
    """Lines of a function, and what they name that is no builtin."""

    def __init__(self, names: count[int]) -> None:
        self._names = names
        self.lines: list[str] = []
        self.known: _Namespace = {}

    def _knows(self, thing: Any) -> str:
        name = f"k{next(self._names)}"
        self.known[name] = thing
        return name


class _Reading(_Lines):
    """Lines that read `v` from `p` on. `n & 129`: a byte that another one follows, or that makes a length negative."""

    def record(self, cls: type, schema: Mapping[str, Any], indent: str) -> str:
        """Read the fields of a record; return the expression that makes it."""
        hints = typing.get_type_hints(cls)
        if not schema["fields"]:  # takes no bytes: a few could ask for any number of them
            raise Unusual
        values = [self._value(field["type"], hints[field["name"]], indent) for field in schema["fields"]]
        return f"{self._knows(cls)}({', '.join(values)})"

    def _value(self, schema: Any, hint: Any, indent: str) -> str:
        """Read one value into a variable of its own; return the expression for it."""
        variable = f"x{next(self._names)}"
        if schema == "string":
            self._says(indent, *LENGTH, "e = p + (n >> 1)", f"{variable} = v[p:e].decode()", "p = e")
        elif isinstance(schema, str) and schema in BITS:
            long = ["if n > 127:", "    n, p = more(v, p, n)", f"    if n >> {BITS[schema]}:", "        raise Unusual"]
            self._says(indent, "n = v[p]", "p += 1", *long, f"{variable} = n >> 1 ^ -(n & 1)")
        elif isinstance(schema, dict) and schema["type"] == "enum":
            symbols = self._knows(tuple(schema["symbols"]))
            self._says(indent, "n = v[p]", "p += 1", "if n & 129:", "    raise Unusual")
            self._says(indent, f"{variable} = {symbols}[n >> 1]")
        elif isinstance(schema, dict) and schema["type"] == "array":
            self._array(variable, schema["items"], typing.get_args(hint)[0], indent)
            return f"tuple({variable})"
        else:
            raise Unusual
        return variable

    def _array(self, variable: str, items: Any, hint: Any, indent: str) -> None:
        inner = indent + " " * 8
        self._says(indent, f"{variable} = []", "while True:")
        self._says(indent + " " * 4, *LENGTH, "if not n:", "    break", "for _ in range(n >> 1):")
        made = self.record(hint, items, inner) if _is_record(items) else self._value(items, hint, inner)
        self._says(inner, f"{variable}.append({made})")

    def _says(self, indent: str, *lines: str) -> None:
        self.lines += [indent + line for line in lines]


class _Writing(_Lines):
    """Lines that put the bytes of a record's fields into `b`."""

    def record(self, cls: type, schema: Mapping[str, Any], value: str, indent: str) -> None:
        """Write the fields of the record that the expression `value` names."""
        hints = typing.get_type_hints(cls)
        for field in schema["fields"]:
            self._value(field["type"], hints[field["name"]], f"{value}.{field['name']}", indent)

    def _value(self, schema: Any, hint: Any, value: str, indent: str) -> None:
        if schema == "string":
            self.lines += [f"{indent}s = {value}.encode()", f"{indent}b += (L[len(s)], s)"]
        elif isinstance(schema, str) and schema in BITS:
            self.lines.append(f"{indent}b.append(number({value}, {BITS[schema]}))")
        elif schema["type"] == "enum":
            symbols = self._knows({symbol: _number(index) for index, symbol in enumerate(schema["symbols"])})
            self.lines.append(f"{indent}b.append({symbols}[{value}])")
        else:
            self._array(schema["items"], typing.get_args(hint)[0], value, indent)

    def _array(self, items: Any, hint: Any, value: str, indent: str) -> None:
        item, inner = f"x{next(self._names)}", indent + " " * 8
        self.lines += [f"{indent}n = len({value})", f"{indent}if n:", f"{indent}    b.append(L[n])"]
        self.lines.append(f"{indent}    for {item} in {value}:")
        if _is_record(items):
            self.record(hint, items, item, inner)
        else:
            self._value(items, hint, item, inner)
        self.lines.append(f"{indent}b.append(L[0])")


def _is_record(schema: Any) -> bool:
    return isinstance(schema, dict) and schema["type"] == "record"
