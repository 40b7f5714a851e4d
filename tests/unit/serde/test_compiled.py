"""The compiled readers and writers accept what fastavro accepts, and leave all else to it."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass
from io import BytesIO

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventbus import Codec, Event, event
from eventbus.serde.codec import PoisonRecord
from eventbus.serde.compiled import LONGEST_TEXT, Unusual, compiled
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import registry_at
from eventbus.serde.strict import MAX_VALUES
from saga.evolution.compatibility import resolved
from saga.evolution.samples import samples
from schemas import EVENTS, InventoryReserved, OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed
from schemas.events import Item
from tests.support.models.mutations import COUNT, MUTATIONS, damaged

CODEC = Codec(registry_at(None, EVENTS), EVENTS)
"""With the compiled functions..."""
SLOW = Codec(registry_at(None, EVENTS), EVENTS)
"""...and without."""
SLOW._compiled = {}

TEXT = st.text(max_size=70) | st.text(min_size=60, max_size=200) | st.just("é" * LONGEST_TEXT)
ID = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=200)
MONEY = st.integers(0, 10**15)
CURRENCY = st.sampled_from(["USD", "JPY", "EUR"])
ITEMS = st.lists(st.builds(Item, ID, st.integers(1, 10_000)), min_size=1, max_size=100).map(tuple)
DRAWN = st.one_of(
    st.builds(OrderCreated, ID, ID, MONEY, CURRENCY, ITEMS, st.just("") | ID),
    st.builds(PaymentCharged, ID, ID, MONEY, CURRENCY),
    st.builds(PaymentFailed, ID, TEXT, st.sampled_from(["UNSPECIFIED", "DECLINED", "LIMIT_EXCEEDED"])),
    st.builds(OrderCancelled, ID, TEXT, st.just("") | ID),
    st.builds(InventoryReserved, ID),
)
DAMAGES = st.tuples(st.sampled_from(sorted(MUTATIONS)), st.integers(0, 200), st.binary(max_size=12))
ORDER = OrderCreated("order-1", "42", 2_933, "USD", (Item("CD-é", 2), Item("CD-04", 1)))


def judged(codec, cls, key, value):
    """Return the event, or why it is not one."""
    try:
        return codec.decode(cls.topic, key, value)
    except PoisonRecord as poison:
        return poison.reason, str(poison)


@given(DRAWN)
def test_events_are_written_byte_for_byte_as_fastavro_writes_them(drawn):
    """And read as the same events."""
    value = CODEC.encode(drawn)
    assert value == SLOW.encode(drawn)
    assert CODEC.decode(drawn.topic, drawn.key.encode(), value) == drawn


@settings(max_examples=COUNT, database=None)
@given(DRAWN, st.lists(DAMAGES, min_size=1, max_size=4))
def test_a_damaged_record_is_judged_as_without_compiled_readers(drawn, damages):
    """Accepted with the same values, or rejected with the same message."""
    value = damaged(CODEC.encode(drawn), damages)
    key = drawn.key.encode()
    assert judged(CODEC, type(drawn), key, value) == judged(SLOW, type(drawn), key, value)


@pytest.mark.parametrize("topic", [event.topic for event in EVENTS])
def test_every_event_of_ours_is_read_and_written_without_fastavro(topic):
    """Otherwise the speed would be lost unnoticed."""
    [cls] = [event for event in EVENTS if event.topic == topic]
    made = compiled(cls)
    assert made is not None
    for sample in [made_of(cls, size) for size in (1, 40, 63)]:
        value = SLOW.encode(sample)
        assert made.read(value) == sample
        assert made.write(value[: FRAME.size], sample) == value


def made_of(cls: type[Event], size: int) -> Event:
    """Return an event whose texts have this length."""
    values = {"str": "x" * size, "int": 10**size % 10**15, "tuple[Item, ...]": (Item("x" * size, 7),) * size}
    fields = {f.name: values.get(str(f.type)) for f in dataclasses.fields(cls)}
    special = {"currency": "USD", "code": "DECLINED"}
    return cls(**fields | {name: value for name, value in special.items() if name in fields})


SHORT = CODEC.encode(ORDER)[: FRAME.size] + b"\x02o\x02c\x02\x06USD"
"""An order up to its items: a total of 1."""
ONE_ITEM = b"\x02s\x02"


@pytest.mark.parametrize(
    ("rest", "taken"),
    [
        (b"\x02" + ONE_ITEM + b"\0\0", "plain"),
        (b"\x02" + ONE_ITEM + b"\x02" + ONE_ITEM + b"\0\0", "two blocks"),
        (b"\x82\0" + ONE_ITEM + b"\0\0", "a number longer than need be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_odd_but_allowed_is_taken(rest, taken):
    """Avro allows a writer to choose blocks, and does not require numbers to be short."""
    assert judged(CODEC, OrderCreated, b"o", SHORT + rest) == judged(SLOW, OrderCreated, b"o", SHORT + rest)
    made = compiled(OrderCreated)
    assert made is not None
    assert made.read(SHORT + rest).key == "o", taken


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (b"\x01\x06" + ONE_ITEM + b"\0\0", "a block with its size, which fastavro reads"),
        (b"\x02" + ONE_ITEM + b"\0\0\0", "trailing bytes"),
        (b"\x02" + ONE_ITEM + b"\0", "cut off"),
        (b"\x02\x01s\x02\0\0", "a text of negative length"),
        (b"\x02\xff" + b"\xff" * 9 + b"\x01s\x02\0\0", "a length of more than 64 bits"),
        (b"\xfe\xff\xff\xff\x0f" + ONE_ITEM, "a billion items"),
        (b"\x02\x02s\x80\x80\x80\x80\x20\0\0", "a quantity of more than 32 bits"),
        (b"\x02\x02s\0\0\0", "a quantity of 0"),
        (b"\x02\x02\xff\x02\0\0", "no UTF-8"),
        (b"\0\0", "no items"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_plain_is_left_to_fastavro(rest, why):
    """It decides, and says why; the compiled reader only raises."""
    made = compiled(OrderCreated)
    assert made is not None
    with pytest.raises((Unusual, ValueError, IndexError)):
        made.read(SHORT + rest)
    assert judged(CODEC, OrderCreated, b"o", SHORT + rest) == judged(SLOW, OrderCreated, b"o", SHORT + rest), why


def test_a_large_body_is_left_to_the_strict_walk():
    """It counts values; a compiled reader does not."""
    items = tuple(Item("x" * 200, 1) for _ in range(100))
    order = OrderCreated("o", "c", 1, "USD", items)
    value = CODEC.encode(order)
    assert len(value) > MAX_VALUES
    assert CODEC._quickly(OrderCreated, value) is None
    assert CODEC.decode("order.created", b"o", value) == order


@pytest.mark.parametrize(
    ("field", "value"),
    [("total", 2**63), ("total", -(2**63) - 1), ("total", "1"), ("currency", 5), ("currency", None), ("items", None)],
)
def test_what_the_schema_does_not_take_is_refused_by_fastavro(field, value):
    """A bug of a handler; the error is fastavro's, as without compiled writers."""
    order = dataclasses.replace(ORDER)
    object.__setattr__(order, field, value)
    with pytest.raises(Exception) as slow:
        SLOW.encode(order)
    with pytest.raises(type(slow.value)) as quick:
        CODEC.encode(order)
    assert str(quick.value) == str(slow.value)


@settings(max_examples=300)
@example(2**31 - 1, -(2**63), [])
@example(-(2**31), 2**63 - 1, [0] * 64)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_numbers_are_those_of_avro(numbers_event, small, large, many):
    """Over their whole ranges, in arrays too."""
    made = compiled(numbers_event)
    assert made is not None
    plain = numbers_event("k", small, large, tuple(many))
    body = BytesIO()
    fastavro.schemaless_writer(body, numbers_event.schema, plain.to_avro())
    value = b"frame" + body.getvalue()
    assert made.write(b"frame", plain) == value
    assert made.read(value) == plain


@pytest.mark.parametrize(
    "body",
    [
        b"\x02k" + b"\x80\x80\x80\x80\x20" + b"\0\0",
        b"\x02k" + b"\0" + b"\x80" * 9 + b"\x02" + b"\0",
        b"\x02k" + b"\0\0\x02" + b"\x80" * 9 + b"\x02" + b"\0",
    ],
    ids=["an int of 33 bits", "a long of 65 bits", "a long of 65 bits in an array"],
)
def test_numbers_beyond_their_ranges_are_left_to_fastavro(numbers_event, body):
    """It would truncate them; the strict walk rejects them."""
    made = compiled(numbers_event)
    assert made is not None
    with pytest.raises(Unusual):
        made.read(b"frame" + body)


@pytest.mark.parametrize("number", [*range(6, 128), *range(1, 6, 2)])
def test_a_number_that_no_symbol_has_is_left_to_fastavro(number):
    """Negative ones too: -1 would be the last symbol in Python, and is invalid in Avro."""
    made = compiled(PaymentFailed)
    assert made is not None
    value = CODEC.encode(PaymentFailed("o-1", "no", "DECLINED"))[:-1] + bytes([number])
    with pytest.raises((Unusual, IndexError)):
        made.read(value)
    assert judged(CODEC, PaymentFailed, b"o-1", value)[0] == "malformed"


@pytest.fixture(scope="module")
def numbers_event(tmp_path_factory):
    """Return an event with numbers of both kinds."""
    fields = [("name", "string"), ("small", "int"), ("large", "long"), ("many", {"type": "array", "items": "long"})]
    avsc = tmp_path_factory.mktemp("schemas") / "numbers.avsc"
    schema = {"type": "record", "name": "Numbers", "fields": [{"name": name, "type": of} for name, of in fields]}
    avsc.write_text(json.dumps(schema))

    @event(avsc, key="name")
    @dataclass(frozen=True, slots=True)
    class Numbers(Event):
        name: str
        small: int
        large: int
        many: tuple[int, ...]

    return Numbers


@pytest.mark.parametrize(
    ("of", "hint"),
    [("boolean", bool), ("bytes", bytes), (["null", "string"], str | None)],
    ids=["boolean", "bytes", "union"],
)
def test_other_types_are_left_to_fastavro_altogether(tmp_path, of, hint):
    """Users of an event with one of them see no difference."""
    avsc = tmp_path / "other.avsc"
    fields = [{"name": "name", "type": "string"}, {"name": "other", "type": of}]
    avsc.write_text(json.dumps({"type": "record", "name": "Other", "fields": fields}))
    other = dataclasses.make_dataclass(
        "Other", [("name", str), ("other", hint)], bases=(Event,), frozen=True, slots=True
    )
    assert compiled(event(avsc, key="name")(other)) is None


def test_an_event_of_every_corner_of_our_schemas_is_judged_alike():
    """Numbers at the ends of their ranges, empty and long texts: accepted or rejected, with the same message."""
    for cls in EVENTS:
        for sample in samples(resolved(cls.schema)):
            body = BytesIO(CODEC.encode(made_of(cls, 1))[: FRAME.size])
            body.seek(FRAME.size)
            fastavro.schemaless_writer(body, cls.schema, sample)
            key = typing.cast("str", sample[cls.key_field]).encode()
            assert judged(CODEC, cls, key, body.getvalue()) == judged(SLOW, cls, key, body.getvalue())
