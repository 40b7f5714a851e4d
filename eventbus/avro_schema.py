"""Avro schemas, our own and foreign ones, reduced to what our readers and writers use.

The reader's schema determines the value (Avro 1.12, Schema Resolution). So of a foreign writer's schema only what
determines the encoding is kept: fastavro turns a string into a UUID if its writer's schema has that `logicalType`, and
rejects a whole schema for a default that none of our readers needs. Logical types are dropped from our own schemas,
too: they describe the meaning of a plain value, and an event's fields are plain.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import fastavro

PRIMITIVE = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
NAMED = ("record", "error", "enum", "fixed")
SHAPE = ("symbols", "size", "aliases")
"""The attributes that are kept of named types and fields beside types and names..."""
READ = (*SHAPE, "default", "doc")
"""...and those kept of a reader's schema."""
TEXTS = ("symbols", "aliases")
"""Those that must be lists of names. Anything else would only fail later, when records are decoded."""
MAX_DEPTH = 64
"""The most levels of nested types: deeper ones could exceed Python's recursion limit elsewhere."""
_Definitions = Mapping[str, tuple[str, Mapping[str, Any]]]


class SchemaMismatch(TypeError):
    """A dataclass does not match its .avsc, or a schema is not usable. For our own schemas it is raised at import."""


def parse(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a reader's schema, and reject what could harm a reader: recursion, and arrays of zero-byte elements."""
    return _parsed(plain(raw))


def written_with(raw: Any, references: Iterable[Any] = ()) -> dict[str, Any]:
    """Parse a foreign writer's schema; `references` are schemas whose types it may name.

    Raises SchemaMismatch if it is not a record or could harm a reader; an invalid schema may raise any exception.
    """
    definitions = {name: found for each in references for name, found in _definitions(each, "", 0)}
    kept = _Plain(SHAPE, definitions).of(raw, "", 0)
    if not isinstance(kept, dict) or kept["type"] != "record":
        raise SchemaMismatch(f"it is not a record but {kept!s:.80}")
    return _parsed(kept)


def plain(raw: Any) -> Any:
    """Return a reader's schema without logical types and other attributes that readers do not use."""
    return _Plain(READ, {}).of(raw, "", 0)


def read_as(writer: Mapping[str, Any], reader: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema with which `reader` can read what `writer` wrote; None if they are not the same record.

    They are the same if their names are equal without namespaces, or by an alias: of the reader, as Avro specifies, or
    of the writer, which also gives a former name. The same applies to the record's fields.
    """
    known_as = {_unqualified(reader["name"]), reader["name"], *reader.get("aliases", ())}
    if not known_as & {_unqualified(writer["name"]), writer["name"], *writer.get("aliases", ())}:
        return None
    names = {field["name"] for field in writer["fields"]}
    renamed = {alias: f["name"] for f in writer["fields"] for alias in f.get("aliases", ()) if alias not in names}
    fields = [_also(field, renamed.get(field["name"])) for field in reader["fields"]]
    return {**_also(reader, writer["name"]), "fields": fields}


def _also(named: Mapping[str, Any], alias: str | None) -> dict[str, Any]:
    return {**named, "aliases": [*named.get("aliases", ()), alias]} if alias else dict(named)


def _unqualified(name: str) -> str:
    return name.rpartition(".")[2]


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _full_name(schema: Mapping[str, Any], namespace: str) -> str:
    return _full(schema["name"], schema.get("namespace", namespace) or "")


def _definitions(schema: Any, namespace: str, depth: int) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """Yield every named type in a schema by its full name, each with its enclosing namespace."""
    _check_depth(depth)
    if isinstance(schema, list):
        inner: list[Any] = schema
    elif isinstance(schema, Mapping):
        inner = [schema.get(name) for name in ("type", "items", "values")]
        inner += [field["type"] for field in schema.get("fields", ())]
        if schema["type"] in NAMED:
            name = _full_name(schema, namespace)
            yield name, (namespace, schema)
            namespace = name.rpartition(".")[0]
    else:
        return
    for each in inner:
        yield from _definitions(each, namespace, depth + 1)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise SchemaMismatch(f"types nested more than {MAX_DEPTH} deep are refused")


def _check_texts(named: Mapping[str, Any], texts: Any) -> None:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SchemaMismatch(f"{texts!s:.80} must be a list of names, in {named!s:.80}")


class _Plain:
    """Copies a schema with full names; a type that a reference defines is inserted where it is first named."""

    def __init__(self, keep: tuple[str, ...], definitions: _Definitions) -> None:
        self._keep, self._definitions = keep, definitions
        self._defined: set[str] = set()

    def of(self, schema: Any, namespace: str, depth: int) -> Any:
        _check_depth(depth)
        if isinstance(schema, list):
            return [self.of(branch, namespace, depth + 1) for branch in schema]
        if isinstance(schema, str):
            return self._name(schema, namespace, depth)
        if not isinstance(schema, Mapping) or "type" not in schema:
            raise SchemaMismatch(f"{schema!s:.80} is not an Avro schema")
        kind = schema["type"]
        if kind in ("array", "map"):
            inside = "items" if kind == "array" else "values"
            return {"type": kind, inside: self.of(schema[inside], namespace, depth + 1)}
        if kind in NAMED:
            return self._named(schema, namespace, depth)
        return self.of(kind, namespace, depth + 1)

    def _named(self, schema: Mapping[str, Any], namespace: str, depth: int) -> Any:
        name = _full_name(schema, namespace)
        if name in self._defined:
            if name in self._definitions:
                return name
            raise SchemaMismatch(f"the type {name} is defined twice")
        self._defined.add(name)
        namespace = name.rpartition(".")[0]
        kept = {"type": "record" if schema["type"] == "error" else schema["type"], "name": name, **self._kept(schema)}
        if "aliases" in kept:
            kept["aliases"] = [_full(alias, namespace) for alias in kept["aliases"]]
        if kept["type"] == "record":
            kept["fields"] = [self._field(field, namespace, depth) for field in schema["fields"]]
        return kept

    def _field(self, field: Mapping[str, Any], namespace: str, depth: int) -> dict[str, Any]:
        _check_texts(field, [field["name"]])
        return {"name": field["name"], "type": self.of(field["type"], namespace, depth + 1), **self._kept(field)}

    def _kept(self, named: Mapping[str, Any]) -> dict[str, Any]:
        for name in TEXTS:
            _check_texts(named, named.get(name, []))
        return {name: named[name] for name in self._keep if name in named}

    def _name(self, name: str, namespace: str, depth: int) -> Any:
        if name in PRIMITIVE:
            return name
        for each in (_full(name, namespace), name):
            if each in self._defined:
                return each
            if each in self._definitions:
                around, schema = self._definitions[each]
                return self.of(schema, around, depth + 1)
        raise SchemaMismatch(f"the type {name!r:.200} is not defined, neither in the schema nor in its references")


def _parsed(schema: Any) -> dict[str, Any]:
    name = schema["name"] if isinstance(schema, dict) and "name" in schema else str(schema)
    _refuse_dangerous(schema, enclosing=(), at=name)
    return typing.cast("dict[str, Any]", fastavro.parse_schema(schema, _write_hint=True))


def _refuse_dangerous(schema: Any, enclosing: tuple[str, ...], at: str) -> int:
    """Return the minimum number of bytes of a value of this schema."""
    if isinstance(schema, list):
        return 1 + min(_refuse_dangerous(branch, enclosing, at) for branch in schema)
    if isinstance(schema, str):
        if schema in enclosing:
            raise SchemaMismatch(f"{at}: the schema {schema!r} contains itself; recursive schemas are refused")
        return {"null": 0, "float": 4, "double": 8}.get(schema, 1)
    kind = schema["type"]
    if kind == "record":
        inner = (*enclosing, schema["name"])
        return sum(_refuse_dangerous(f["type"], inner, f"{at}.{f['name']}") for f in schema["fields"])
    if kind in ("array", "map"):
        least = _refuse_dangerous(schema["items" if kind == "array" else "values"], enclosing, at)
        if kind == "array" and least == 0:
            raise SchemaMismatch(f"{at}: an array of elements that take no bytes is refused")
        return 1
    return int(schema["size"]) if kind == "fixed" else 1
