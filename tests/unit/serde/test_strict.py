"""What an Avro writer writes passes; nothing that is truncated or out of range does."""

from __future__ import annotations

from io import BytesIO

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.serde.strict import LONG_NUMBER, MAX_VALUES, NotAvro, Strict
from saga.evolution.compatibility import resolved
from saga.evolution.samples import samples
from schemas import EVENTS
from tests.support.registries.hostile_schemas import NOTHING, doubled

EVERYTHING = {
    "type": "record",
    "name": "Everything",
    "fields": [
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "again", "type": "Kind"},
        {"name": "maybe", "type": ["null", "string", {"type": "fixed", "name": "Four", "size": 4}]},
        {"name": "four", "type": "Four"},
        {"name": "flag", "type": "boolean"},
        {"name": "float", "type": "float"},
        {"name": "double", "type": "double"},
        {"name": "small", "type": "int"},
        {"name": "large", "type": "long"},
        {"name": "map", "type": {"type": "map", "values": {"type": "array", "items": ["null", "int"]}}},
        {"name": "bytes", "type": "bytes"},
    ],
}
SCHEMA = fastavro.parse_schema(EVERYTHING)
VALUES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from("AB"),
        "again": st.sampled_from("AB"),
        "maybe": st.none() | st.text(max_size=20) | st.binary(min_size=4, max_size=4),
        "four": st.binary(min_size=4, max_size=4),
        "flag": st.booleans(),
        "float": st.floats(width=32),
        "double": st.floats(),
        "small": st.integers(-(2**31), 2**31 - 1),
        "large": st.integers(-(2**63), 2**63 - 1),
        "map": st.dictionaries(st.text(max_size=5), st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=3),
        "bytes": st.binary(max_size=20),
    }
)


def written(value: object, schema: object = SCHEMA) -> bytes:
    body = BytesIO()
    fastavro.schemaless_writer(body, schema, value)
    return body.getvalue()


@given(VALUES, st.data())
def test_what_is_written_passes_and_what_is_cut_off_does_not(value, data):
    """At any length."""
    body = written(value)
    strict = Strict(SCHEMA)
    strict.check(b"frame" + body, 5)
    with pytest.raises(NotAvro):
        strict.check(body[: data.draw(st.integers(0, len(body) - 1))], 0)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.topic)
def test_every_corner_of_our_own_events_passes(event):
    """Numbers at both ends of their ranges included; today's schemas need no walk unless a number may be too long."""
    strict = Strict(event.schema)
    plain = [sample for sample in samples(resolved(event.schema)) if "é" not in str(sample)]
    for sample in samples(resolved(event.schema)):
        body = written(sample, event.schema)
        strict.check(body, 0)
        assert sample not in plain or LONG_NUMBER.search(body) or not strict.is_needed(body, 0)
    assert strict.is_needed(b"\xff" * 10, 0)
    assert Strict(SCHEMA).is_needed(b"", 0)


def ending_with_enums(count):
    """Return a schema of a string and this number of enums of three symbols each."""
    kinds = [{"type": "enum", "name": f"E{n}", "symbols": ["A", "B", "C"]} for n in range(count)]
    fields = [{"name": f"f{n}", "type": kind} for n, kind in enumerate(["string", *kinds])]
    return fastavro.parse_schema({"type": "record", "name": "R", "fields": fields})


def test_an_enum_at_the_end_is_looked_at_without_a_walk():
    """All endings of one and two bytes: what needs no walk, and is read to its end, is accepted by the walk."""
    schema = ending_with_enums(1)
    strict, unwalked = Strict(schema), 0
    for ending in [bytes([a]) for a in range(256)] + [bytes([a, b]) for a in range(256) for b in range(256)]:
        body = BytesIO(b"\x02a" + ending)
        if strict.is_needed(body.getvalue(), 0):
            continue
        try:
            fastavro.schemaless_reader(body, schema, None)
        except (EOFError, IndexError):
            continue
        if body.tell() == len(body.getvalue()):
            strict.check(body.getvalue(), 0)
            unwalked += 1
    assert unwalked == len("ABC")


def test_of_two_enums_both_are_walked():
    """Only the last number can be checked from the end."""
    strict = Strict(ending_with_enums(2))
    assert strict.is_needed(b"\x02a\x01\x02", 0)
    assert strict.is_needed(b"\x02a\x00\x02", 0)


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("long", b"\xff" * 9 + b"\x02"),
        ("long", b"\x80" * 20 + b"\x01"),
        ("int", b"\xff\xff\xff\xff\x10"),
        ("string", b"\x01"),
        ("boolean", b"\x02"),
        (["null", "int"], b"\x04\x02"),
        (["null", "int"], b"\x01\x02"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01"),
        ({"type": "fixed", "name": "F", "size": 3}, b"ab"),
        ({"type": "array", "items": "int"}, b"\x80\xe1\xeb\x17\x00"),
        ({"type": "array", "items": "int"}, b"\x01\x02\x80\x80\x80\x80\x80"),
        ({"type": "map", "values": "int"}, b"\x02\x07a\x02\x00"),
    ],
    ids=str,
)
def test_what_no_writer_writes_does_not_pass(schema, body):
    """Too long, out of range, or more than there are bytes."""
    with pytest.raises(NotAvro):
        Strict(schema).check(body, 0)


@pytest.mark.parametrize(
    "schema",
    [
        "null",
        {"type": "null"},
        NOTHING,
        {"type": "record", "name": "R", "fields": [{"name": "n", "type": "null"}]},
        {"type": "array", "items": NOTHING},
        {"type": "map", "values": "null"},
        {"type": "fixed", "name": "Void", "size": 0},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": NOTHING}, {"name": "b", "type": "Nothing"}]},
    ],
    ids=str,
)
def test_what_may_take_no_bytes_is_always_walked(schema):
    """A few bytes can claim any number of values."""
    assert Strict(fastavro.parse_schema(schema)).is_needed(b"", 0)


def test_an_event_has_at_most_so_many_values():
    """Of no bytes, or of one byte each: a long body is walked whatever its schema."""
    with pytest.raises(NotAvro, match="more than 10,000 values"):
        Strict(fastavro.parse_schema(doubled(40))).check(b"", 0)
    numbers = {"type": "array", "items": "int"}
    strict = Strict(numbers)
    strict.check(written([1] * (MAX_VALUES - 1), numbers), 0)
    too_many = written([1] * MAX_VALUES, numbers)
    assert strict.is_needed(too_many, 0)
    with pytest.raises(NotAvro, match="more than 10,000 values"):
        strict.check(too_many, 0)
