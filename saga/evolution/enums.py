"""The allowed change of an enum: symbols may be added, and readers without them read the default.

Avro (1.12, Schema Resolution) also allows removing a symbol and changing the default: then a written value is silently
read as another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from saga.evolution.compatibility import Incompatibility, resolved

DEFAULT_CHANGED = "enum default changed"
DEFAULT_UNKNOWN = "enum default unknown"
SYMBOL_REMOVED = "enum symbol removed"
OF_FIELD = "default of the field"
"""Not a key of Avro: it carries the default of the enum's field."""


def changes(older: Any, newer: Any) -> Iterator[Incompatibility]:
    """Return the forbidden changes of enums from an older to a newer schema that Avro itself would accept."""
    was = dict(_enums(resolved(older), ""))
    for at, enum in _enums(resolved(newer), ""):
        if at not in was:
            continue
        for symbol in was[at]["symbols"]:
            if symbol not in enum["symbols"]:
                yield Incompatibility(
                    SYMBOL_REMOVED, at, f"{symbol}, which old records contain and which would be read as another value"
                )
        before, after = was[at].get("default"), enum.get("default")
        if before not in (None, after):
            yield Incompatibility(DEFAULT_CHANGED, at, f"from {before} to {after or 'none'}")


def unknown_defaults(schema: Any) -> Iterator[Incompatibility]:
    """Return the defaults that are not symbols: of enums, and of fields of their types."""
    for at, enum in _enums(resolved(schema), ""):
        for whose in ("default", OF_FIELD):
            if whose in enum and enum[whose] not in enum["symbols"]:
                yield Incompatibility(DEFAULT_UNKNOWN, at, f"{enum[whose]!r} is not in {', '.join(enum['symbols'])}")


def _enums(schema: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Return every enum of a resolved schema and its location, with the default of its field."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _enums(branch, at)
    elif schema["type"] == "enum":
        yield at, schema
    elif schema["type"] == "record":
        for field in schema["fields"]:
            for where, enum in _enums(field["type"], f"{at}.{field['name']}" if at else field["name"]):
                own = field["type"] is enum and "default" in field
                yield where, {**enum, OF_FIELD: field["default"]} if own else enum
    else:
        yield from (found for of in ("items", "values") if of in schema for found in _enums(schema[of], f"{at}[]"))
