"""JSON of any value of a record, a row or a report: printing it never raises."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import date, time, timedelta
from enum import Enum
from typing import Any

from msgspec import Struct, structs

FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),
    ((bytes, bytearray, memoryview), lambda value: bytes(value).decode("latin-1")),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: f"PT{value.total_seconds()}S"),
    (Mapping, lambda value: {_key(key): item for key, item in value.items()}),
    (Collection, list),
)
"""The first match is used; a datetime is a date."""


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a JSON document (RFC 8259) of any value; on one line, unless `indent` is given."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=json_form, indent=indent)
    except (TypeError, ValueError):  # a key that is not a string, or a number that is NaN or infinite
        text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return text if _is_unicode(text) else json.dumps(json.loads(text), indent=indent)


def json_form(value: Any) -> Any:
    """Return the JSON form of a value of a type that JSON lacks; for `default=` of json.

    Bytes as in Avro's own JSON encoding (Avro 1.12, JSON Encoding): each byte the character of its number. Times in
    ISO 8601, Decimal and UUID as text, an Enum as its value; anything else as str() shows it.
    """
    for kind, form in FORMS:
        if isinstance(value, kind):
            return form(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Struct):
        return structs.asdict(value)
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _plain(json_form(value))


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _is_unicode(text: str) -> bool:
    """Return whether the text can be encoded: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
