"""Whether values written with one schema can be read with another (Avro 1.12, Schema Resolution).

Stricter than Avro in two points that not every reader implements: aliases are ignored, and a logical type must not
change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
NAMED = ("record", "enum", "fixed")

FIELD_WITHOUT_DEFAULT = "field without default"
LOGICAL_TYPE_CHANGED = "logical type changed"
NAME_CHANGED = "name changed"
SIZE_CHANGED = "size changed"
SYMBOL_UNKNOWN = "enum symbol unknown"
TYPE_CHANGED = "type changed"


class Incompatibility(NamedTuple):
    """One reason why a value may be unreadable: the rule that is broken, where in the schema, and how."""

    rule: str
    at: str
    detail: str


def breaks(writer: Any, reader: Any) -> list[Incompatibility]:
    """Return every reason why a value of `writer` may be unreadable for `reader`.

    Both are schemas as in an .avsc file (JSON), not recursive.
    """
    return list(_breaks(resolved(writer), resolved(reader), ""))


def resolved(schema: Any) -> Any:
    """Return the schema with full names, references replaced, and every type as a mapping or a list of them."""
    return _resolved(schema, "", {})


def _resolved(schema: Any, namespace: str, names: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_resolved(branch, namespace, names) for branch in schema]
    if isinstance(schema, str):
        return names.get(schema) or names.get(f"{namespace}.{schema}") or {"type": schema}
    if isinstance(schema["type"], (dict, list)):
        return _resolved(schema["type"], namespace, names)
    schema = dict(schema)
    if schema["type"] in NAMED:
        name, space = schema["name"], schema.get("namespace", namespace)
        schema["name"] = name if "." in name or not space else f"{space}.{name}"
        names[schema["name"]] = schema
        namespace = schema["name"].rpartition(".")[0]
    if schema["type"] == "record":
        fields = schema["fields"]
        schema["fields"] = [{**field, "type": _resolved(field["type"], namespace, names)} for field in fields]
    for inside in {"items", "values"} & set(schema):
        schema[inside] = _resolved(schema[inside], namespace, names)
    return schema


def _breaks(writer: Any, reader: Any, at: str) -> Iterator[Incompatibility]:
    if isinstance(writer, list):
        for branch in writer:
            yield from _breaks(branch, reader, at)
    elif isinstance(reader, list):
        if all(any(_breaks(writer, branch, at)) for branch in reader):
            yield Incompatibility(TYPE_CHANGED, at, f"{_name(writer)} is not in {', '.join(map(_name, reader))}")
    else:
        yield from _breaks_of_one(writer, reader, at)


def _breaks_of_one(writer: Mapping[str, Any], reader: Mapping[str, Any], at: str) -> Iterator[Incompatibility]:
    old, new = writer["type"], reader["type"]
    if old != new and new not in PROMOTIONS.get(old, ()):
        yield Incompatibility(TYPE_CHANGED, at, f"from {_name(writer)} to {_name(reader)}")
    elif writer.get("logicalType") != reader.get("logicalType"):
        yield Incompatibility(
            LOGICAL_TYPE_CHANGED, at, f"from {writer.get('logicalType')} to {reader.get('logicalType')}"
        )
    elif old in NAMED and writer["name"] != reader["name"]:
        yield Incompatibility(NAME_CHANGED, at, f"from {writer['name']} to {reader['name']}")
    elif old == "record":
        yield from _breaks_of_record(writer, reader, at)
    elif old in ("array", "map"):
        inside = "items" if old == "array" else "values"
        yield from _breaks(writer[inside], reader[inside], f"{at}[]")
    elif old == "enum" and "default" not in reader:
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        yield from (Incompatibility(SYMBOL_UNKNOWN, at, f"{symbol}, and the enum has no default") for symbol in unknown)
    elif old == "fixed" and writer["size"] != reader["size"]:
        yield Incompatibility(SIZE_CHANGED, at, f"from {writer['size']} to {reader['size']} bytes")


def _breaks_of_record(writer: Mapping[str, Any], reader: Mapping[str, Any], at: str) -> Iterator[Incompatibility]:
    written = {field["name"]: field["type"] for field in writer["fields"]}
    for field in reader["fields"]:
        name = f"{at}.{field['name']}" if at else field["name"]
        if field["name"] in written:
            yield from _breaks(written[field["name"]], field["type"], name)
        elif "default" not in field:
            yield Incompatibility(FIELD_WITHOUT_DEFAULT, name, "it is not in the writer's schema, and has no default")


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["name"] if schema["type"] in NAMED else schema["type"])
