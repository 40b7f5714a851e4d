"""Strict check of an Avro body, for bytes that fastavro's compiled reader accepts although no writer writes them.

fastavro (1.13) truncates a number of more than 64 bits and continues with the rest, takes -1 for the last branch of a
union and the last symbol of an enum, and accepts a fixed that ends too early. It also reads as many values as are
claimed: if they take no bytes, a few bytes can keep it busy indefinitely. The walk costs more than the reading, so it
is made only where such bytes are possible. Source: Avro 1.12, Binary Encoding.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader

LONG_NUMBER = re.compile(rb"[\x80-\xff]{9}")
"""The start of a number of more than 64 bits; some texts have it too."""
INT_BITS, LONG_BITS = 32, 64
UNCHECKED = ("enum", "fixed")
COMPOSITE = ("record", "enum", "fixed", "array", "map")
CONTINUES = b"\x80"
"""A byte of a number that is at least this is followed by another one."""
SIZES = {"null": 0, "float": 4, "double": 8}
TAKE_BYTES = frozenset(("boolean", "int", "long", "float", "double", "string", "bytes"))
MAX_VALUES = 10_000
"""The most values in an event: as objects they take a hundred times the memory of their bytes."""


class NotAvro(ValueError):
    """The bytes are not a value of the schema; the message says where and why."""


class Strict:
    """Checks bodies of one parsed, non-recursive schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._named: dict[str, Any] = {}
        self._always = self._look(schema)
        self._ends = _ends(schema)
        if self._ends:
            self._always = Strict(schema | {"fields": schema["fields"][:-1]}).is_needed(b"", 0)

    def read(self, body: bytes, start: int, reader: Any = None) -> tuple[Any, int]:
        """Return the value that begins at `start`, resolved to `reader` if that is given, and where it ends.

        Raises NotAvro, and whatever fastavro raises on bytes that do not match its schema.
        """
        if self.is_needed(body, start):
            self.check(body, start)
        stream = BytesIO(body)
        stream.seek(start)
        value = schemaless_reader(stream, self._schema, reader)
        return value, stream.tell()

    def is_needed(self, body: bytes, start: int) -> bool:
        """Return whether the compiled reader may accept invalid bytes.

        An enum that ends the record is checked without a walk: its number is the last byte alone if the byte before it
        is the last one of its value. That holds only if nothing follows the event, which the caller must check too.
        """
        if self._always or len(body) - start > MAX_VALUES or LONG_NUMBER.search(body, start) is not None:
            return True
        return bool(self._ends) and (body[-1:] not in self._ends or body[-2:-1] >= CONTINUES)

    def check(self, body: bytes, start: int) -> None:
        """Raise NotAvro unless a value of the schema begins at `start`, of at most MAX_VALUES values."""
        _Walk(body, start, self._named).value(self._schema)

    def _look(self, schema: Any) -> bool:
        """Remember the named types; return whether there is anything that the compiled reader never checks.

        That includes values that may take no bytes, and a type that is referred to by name: 40 records of two fields
        that name each other are 2^40 values.
        """
        if isinstance(schema, list):
            for branch in schema:
                self._look(branch)
            return True
        if isinstance(schema, str):
            return schema not in TAKE_BYTES
        if "name" in schema:
            self._named[schema["name"]] = schema
        inner = [field["type"] for field in schema.get("fields", ())]
        inner += [schema[name] for name in ("items", "values") if name in schema]
        if schema["type"] not in COMPOSITE:
            inner.append(schema["type"])
        found = [self._look(each) for each in inner]  # all of them: each may define named types
        return any(found) or schema["type"] in UNCHECKED or schema.get("fields") == []


def _ends(schema: Any) -> frozenset[bytes]:
    """Return the valid bytes of the enum that ends a record; none if its last field is not an enum."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    last = fields[-1]["type"] if fields else None
    if not isinstance(last, dict) or last["type"] != "enum":
        return frozenset()
    return frozenset(bytes([2 * index]) for index in range(min(len(last["symbols"]), CONTINUES[0] // 2)))


class _Walk:
    def __init__(self, body: bytes, at: int, named: dict[str, Any]) -> None:
        self._body, self._at, self._named = body, at, named
        self._left = MAX_VALUES

    def value(self, schema: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise NotAvro(f"more than {MAX_VALUES:,} values before byte {self._at}")
        if isinstance(schema, list):
            self.value(schema[self._index(len(schema), "branches")])
            return
        kind = schema["type"] if isinstance(schema, dict) else schema
        if not isinstance(kind, str) or kind in self._named:
            self.value(self._named[kind] if isinstance(kind, str) else kind)
        elif isinstance(schema, dict) and kind in COMPOSITE:
            self._composite(kind, schema)
        else:
            self._primitive(kind)

    def _composite(self, kind: str, schema: dict[str, Any]) -> None:
        if kind == "record":
            for field in schema["fields"]:
                self.value(field["type"])
        elif kind == "enum":
            self._index(len(schema["symbols"]), "symbols")
        elif kind == "fixed":
            self._skip(schema["size"])
        else:
            self._blocks(schema)

    def _primitive(self, kind: str) -> None:
        if kind in ("int", "long"):
            self._number(INT_BITS if kind == "int" else LONG_BITS)
        elif kind in ("string", "bytes"):
            self._skip(self._number(LONG_BITS))
        elif kind == "boolean":
            self._index(2, "booleans")
        else:
            self._skip(SIZES[kind])

    def _blocks(self, schema: dict[str, Any]) -> None:
        while count := self._number(LONG_BITS):
            if count < 0:
                self._number(LONG_BITS)
            if abs(count) > len(self._body) - self._at:
                raise NotAvro(f"{abs(count)} items at byte {self._at}, in {len(self._body) - self._at} bytes")
            for _ in range(abs(count)):
                if schema["type"] == "map":
                    self._skip(self._number(LONG_BITS))
                self.value(schema["items" if schema["type"] == "array" else "values"])

    def _index(self, count: int, what: str) -> int:
        index = self._number(INT_BITS) if what != "booleans" else self._byte()
        if not 0 <= index < count:
            raise NotAvro(f"number {index} before byte {self._at}, of {count} {what}")
        return index

    def _number(self, bits: int) -> int:
        read = shift = 0
        while True:
            byte = self._byte()
            read |= (byte & 127) << shift
            shift += 7
            if byte < 128:  # noqa: PLR2004 - the last byte of a number
                break
        if read >> bits:
            raise NotAvro(f"a number of more than {bits} bits before byte {self._at}")
        return (read >> 1) ^ -(read & 1)

    def _byte(self) -> int:
        self._skip(1)
        return self._body[self._at - 1]

    def _skip(self, count: int) -> None:
        if not 0 <= count <= len(self._body) - self._at:
            raise NotAvro(f"{count} bytes wanted at byte {self._at}, of {len(self._body)}")
        self._at += count
