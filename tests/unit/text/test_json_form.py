"""Any value of a record, a row or a report has a JSON form, which every parser accepts."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.text.json_form import to_json
from schemas import EVENTS, Item


class Colour(Enum):
    RED = b"\xff"


class Level(IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Thing:
    of: UUID
    parts: tuple[bytes, ...]


GUID = UUID("01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21")
KNOWN = {
    "bytes": (b"\x00a\xff", "\x00aÿ"),
    "bytearray": (bytearray(b"\xff"), "ÿ"),
    "a view": (memoryview(b"ab"), "ab"),
    "uuid": (GUID, str(GUID)),
    "decimal": (Decimal("1.50"), "1.50"),
    "decimal NaN": (Decimal("NaN"), "NaN"),
    "moment": (datetime(2025, 11, 28, 1, 2, 3, tzinfo=UTC), "2025-11-28T01:02:03+00:00"),
    "local moment": (datetime(2025, 11, 28), "2025-11-28T00:00:00"),  # noqa: DTZ001 - one without a zone
    "date": (date(2025, 11, 28), "2025-11-28"),
    "time": (time(1, 2, 3, 400), "01:02:03.000400"),
    "duration": (timedelta(minutes=1, milliseconds=500), "PT60.5S"),
    "enum": (Colour.RED, "ÿ"),
    "number enum": (Level.HIGH, 3),
    "tuple": ((1, (2, b"x")), [1, [2, "x"]]),
    "set": ({1}, [1]),
    "deque": (deque([GUID]), [str(GUID)]),
    "dataclass": (Thing(GUID, (b"x",)), {"of": str(GUID), "parts": ["x"]}),
    "path": (PurePosixPath("/a"), "/a"),
    "exception": (ValueError("no"), "no"),
    "NaN": (float("nan"), "NaN"),
    "Infinity": (float("inf"), "Infinity"),
    "-Infinity": (float("-inf"), "-Infinity"),
    "large": (2**200, 2**200),
    "half a character": ("\udcff", "\udcff"),
}
KEYS = {
    "a number": (5, "5"),
    "null": (None, "null"),
    "bytes": (b"\xff", "ÿ"),
    "uuid": (GUID, str(GUID)),
    "tuple": (("a", 1), '["a", 1]'),
    "enum": (Colour.RED, "ÿ"),
    "NaN": (float("nan"), "NaN"),
}

ATOMS = st.none() | st.booleans() | st.integers() | st.text()


@pytest.mark.parametrize("name", KNOWN)
def test_every_value_has_a_json_form(name):
    """Alone, and at any place for a value."""
    value, form = KNOWN[name]
    for around, expected in [(value, form), ([value], [form]), ({"a": {"b": (value,)}}, {"a": {"b": [form]}})]:
        line = to_json(around)
        assert json.loads(line, parse_constant=no_constant) == expected
        assert "\n" not in line
        line.encode()


@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_a_map_has_a_json_form(name):
    """Also beside a value of a type that JSON lacks."""
    key, text = KEYS[name]
    assert json.loads(to_json({key: 1}), parse_constant=no_constant) == {text: 1}
    assert json.loads(to_json({key: float("nan")})) == {text: "NaN"}


@given(st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_json_has_is_what_json_makes_of_it(value):
    """Text stays text, not escapes."""
    assert to_json(value) == json.dumps(value, ensure_ascii=False)


def test_what_nobody_has_heard_of_is_shown_as_python_shows_it():
    """Instead of raising."""
    assert "object at" in json.loads(to_json({"a": object()}))["a"]


def test_what_the_tracker_writes_has_the_same_forms():
    """It writes with msgspec, whose form of bytes differs: no event of the saga has any."""
    values = {"uuid": GUID, "decimal": Decimal("1.50"), "day": date(2026, 1, 31), "item": Item("CD-04", 2)}
    assert msgspec.json.decode(msgspec.json.encode(values)) == json.loads(to_json(values))
    assert not [event for event in EVENTS if re.search(r'"(bytes|fixed)"', event.schema_text)]


def no_constant(name: str) -> object:
    raise AssertionError(f"{name} is no JSON")
