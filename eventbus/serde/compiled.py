"""Readers and writers generated for one event each, for the common case: twice as fast as fastavro and a dict.

They know one schema, the event's own, and accept only regular values: anything else (a number too long, a truncated
text, a value out of its range) they leave, by an exception, to fastavro and the strict walk, which decide and say why.
So they never decide that a record is bad, and they accept only what fastavro accepts: a test compares the two on
generated and damaged bodies. Why: docs/decisions/0014-compiled-readers.md.
Source: Avro 1.12, Binary Encoding.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from eventbus.event import Event

LONGEST_TEXT = 1_023
"""Bytes; fastavro writes longer texts."""

BITS = {"int": 32, "long": 64}
FRAME_BYTES = 5
_Namespace = dict[str, Any]


class Compiled(NamedTuple):
    """Both raise for anything irregular. Any exception means "use fastavro", for bad records and events too."""

    read: Callable[[bytes], Event]
    """From a framed value to the event; the value has at most MAX_VALUES bytes."""
    write: Callable[[bytes, Event], bytes]
    """From a frame and an event to the framed value."""


class Unusual(ValueError):
    """Left to fastavro. Callers of the codec never see it."""


def compiled(cls: type[Event]) -> Compiled | None:
    """Return a reader and a writer of an event's own schema, or None for types that are left to fastavro entirely.

    Supported are string, int, long, enum, and arrays of these or of records of these.
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
    """Return a number of several bytes, still zigzag-encoded, and where it ends."""
    number, shift = first & 127, 7
    while first > 127:  # noqa: PLR2004 - another byte follows
        first = value[at]
        at += 1
        number |= (first & 127) << shift
        shift += 7
        if shift > 70:  # noqa: PLR2004 - ten bytes hold 64 bits
            raise Unusual
    return number, at


def _length(value: bytes, at: int, first: int) -> tuple[int, int]:
    """Return the same for a length, which cannot be negative."""
    number, at = _more(value, at, first)
    if number & 1:
        raise Unusual
    return number, at


def _number(number: int, bits: int = 64) -> bytes:
    """Return a number as Avro writes it: zigzag-encoded, so small negative ones are short too; low 7 bits first."""
    zigzag = (number << 1) ^ (number >> 63)
    if zigzag >> bits:
        raise Unusual
    written = bytearray()
    while zigzag > 127:  # noqa: PLR2004 - another byte follows
        written.append(zigzag & 127 | 128)
        zigzag >>= 7
    written.append(zigzag)
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
    """Lines of a function, and the names in them that are not builtins."""

    def __init__(self, names: count[int]) -> None:
        self._names = names
        self.lines: list[str] = []
        self.known: _Namespace = {}

    def _name(self, thing: Any) -> str:
        name = f"k{next(self._names)}"
        self.known[name] = thing
        return name


class _Reading(_Lines):
    """Lines that read `v` from `p` on. `n & 129`: another byte follows this one, or it makes a length negative."""

    def record(self, cls: type, schema: Mapping[str, Any], indent: str) -> str:
        """Read the fields of a record; return the expression that makes it."""
        hints = typing.get_type_hints(cls)
        if not schema["fields"]:  # takes no bytes: a few bytes could claim any number of them
            raise Unusual
        values = [self._value(field["type"], hints[field["name"]], indent) for field in schema["fields"]]
        return f"{self._name(cls)}({', '.join(values)})"

    def _value(self, schema: Any, hint: Any, indent: str) -> str:
        """Read one value into a variable of its own; return the expression for it."""
        variable = f"x{next(self._names)}"
        if schema == "string":
            self._add(indent, *LENGTH, "e = p + (n >> 1)", f"{variable} = v[p:e].decode()", "p = e")
        elif isinstance(schema, str) and schema in BITS:
            long = ["if n > 127:", "    n, p = more(v, p, n)", f"    if n >> {BITS[schema]}:", "        raise Unusual"]
            self._add(indent, "n = v[p]", "p += 1", *long, f"{variable} = n >> 1 ^ -(n & 1)")
        elif isinstance(schema, dict) and schema["type"] == "enum":
            symbols = self._name(tuple(schema["symbols"]))
            self._add(indent, "n = v[p]", "p += 1", "if n & 129:", "    raise Unusual")
            self._add(indent, f"{variable} = {symbols}[n >> 1]")
        elif isinstance(schema, dict) and schema["type"] == "array":
            self._array(variable, schema["items"], typing.get_args(hint)[0], indent)
            return f"tuple({variable})"
        else:
            raise Unusual
        return variable

    def _array(self, variable: str, items: Any, hint: Any, indent: str) -> None:
        inner = indent + " " * 8
        self._add(indent, f"{variable} = []", "while True:")
        self._add(indent + " " * 4, *LENGTH, "if not n:", "    break", "for _ in range(n >> 1):")
        made = self.record(hint, items, inner) if _is_record(items) else self._value(items, hint, inner)
        self._add(inner, f"{variable}.append({made})")

    def _add(self, indent: str, *lines: str) -> None:
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
            symbols = self._name({symbol: _number(index) for index, symbol in enumerate(schema["symbols"])})
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
