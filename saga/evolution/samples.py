"""Sample values of an Avro schema: its edge cases, to be written with one version and read with another."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro

from eventbus.avro_schema import parse
from saga.evolution.compatibility import resolved

CORNERS: dict[str, list[Any]] = {
    "null": [None],
    "boolean": [False, True],
    "int": [0, -(2**31), 2**31 - 1],
    "long": [0, -(2**63), 2**63 - 1],
    "float": [0.0, -1.5],
    "double": [0.0, -1.5],
    "bytes": [b"", b"\x00\xff"],
    "string": ["", "é\N{GRINNING FACE}", "x" * 200],
}


def samples(schema: Any) -> list[Any]:
    """Return values of a resolved schema: every edge case of every field at least once, and its default."""
    if isinstance(schema, list):
        return [value for branch in schema for value in samples(branch)]
    composite = COMPOSITES.get(schema["type"])
    return composite(schema) if composite else CORNERS[schema["type"]]


def unread(writer: Any, reader: Any) -> str | None:
    """Write every sample with one schema and read it with the other; return the first failure, or None."""
    parsed = parse(writer), parse(reader)
    types = {field["name"]: field["type"] for field in reader["fields"]}
    kept = [field["name"] for field in writer["fields"] if types.get(field["name"]) == field["type"]]
    for sample in samples(resolved(writer)):
        body = BytesIO()
        fastavro.schemaless_writer(body, parsed[0], sample)
        body.seek(0)
        try:
            value: Any = fastavro.schemaless_reader(body, *parsed)
        except Exception as error:  # noqa: BLE001 - with any error, the sample cannot be read
            return f"{type(error).__name__}: {error}"
        if left := body.read():
            return f"{len(left)} bytes are left over"
        for name in kept:
            if value[name] != sample[name]:
                return f"{name} was written as {sample[name]!r} and is read as {value[name]!r}"
    return None


def _records(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    corners = {field["name"]: _of_field(field) for field in fields}
    longest = max(map(len, corners.values()), default=1)
    return [{name: values[i % len(values)] for name, values in corners.items()} for i in range(longest)]


def _of_field(field: dict[str, Any]) -> list[Any]:
    values = samples(field["type"])
    return [*values, field["default"]] if "default" in field else values


COMPOSITES: dict[str, Callable[[Any], list[Any]]] = {
    "record": lambda schema: _records(schema["fields"]),
    "array": lambda schema: [[], samples(schema["items"])],
    "map": lambda schema: [{}, {str(i): value for i, value in enumerate(samples(schema["values"]))}],
    "enum": lambda schema: list(schema["symbols"]),
    "fixed": lambda schema: [bytes(schema["size"])],
}
