"""Plans accept what fastavro accepts, with the same values, and leave all else to it; compiled and interpreted."""

from __future__ import annotations

import json
import re
import typing
from io import BytesIO
from typing import Annotated

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, defstruct
from msgspec.structs import fields, force_setattr, replace

import hatch_build
from eventbus import Codec, Event, Rule, event
from eventbus.avro_schema import read_as, written_with
from eventbus.serde import plan
from eventbus.serde.codec import PoisonRecord
from eventbus.serde.framing import FRAME, VALUE_HEADER
from eventbus.serde.plan import LARGEST, MAX_BYTES
from eventbus.serde.plans import COMPILED, COMPILED_NODES, INTERPRETED, Planner
from eventbus.serde.registry import FileRegistry, registry_at
from eventbus.serde.strict import MAX_VALUES
from saga.evolution.compatibility import resolved
from saga.evolution.samples import samples
from schemas import EVENTS, IDS, InventoryReserved, OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed
from schemas.events import Item
from tests.support.models.mutations import COUNT, MUTATIONS, damaged

REGISTRY = registry_at(None, EVENTS)
KINDS = [COMPILED, INTERPRETED] if COMPILED_NODES else [INTERPRETED]
CODECS = {kind: Codec(REGISTRY, EVENTS, Planner(kind)) for kind in KINDS}
JUDGE = Codec(REGISTRY, EVENTS, Planner(INTERPRETED))
"""Without plans: fastavro alone."""
JUDGE._plans.clear()
JUDGE._writers.clear()
TYPES = {event.topic: event for event in EVENTS}
OWN = {cls: FRAME.pack(0, JUDGE.id_of(cls)) for cls in EVENTS}

LONG = 1_023
TEXT = st.text(max_size=70) | st.text(min_size=60, max_size=200) | st.just("é" * LONG)
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


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def codec(kind):
    return CODECS[kind]


def judged(codec, cls, key, value, headers=()):
    """Return the event, or why it is not one."""
    try:
        return codec.decode(cls.topic, key, value, headers)
    except PoisonRecord as poison:
        return poison.reason, str(poison)


def planned(codec, cls, key, value, headers=()):
    """Return what the plan alone reads; None if it leaves the record to fastavro."""
    return codec._plans[cls.topic].read(key, value, headers)


@pytest.mark.skipif(not hatch_build.has_compiler(), reason="there is no C compiler")
def test_it_is_compiled_from_this_source_wherever_there_is_a_compiler():
    """`make setup` compiles it again when the source has changed; what was compiled from another one is not used."""
    assert COMPILED_NODES is not None
    assert COMPILED_NODES.__file__ != plan.__file__
    assert Planner().kind == COMPILED


def test_a_switch_has_the_compiled_codec_not_used(monkeypatch):
    """To tell whether it is the cause of something."""
    monkeypatch.setenv("EVENTBUS_CODEC", INTERPRETED)
    assert Codec(REGISTRY, EVENTS).kind == INTERPRETED


@given(DRAWN)
def test_events_are_written_byte_for_byte_as_fastavro_writes_them(drawn):
    """And read as the same events."""
    value = JUDGE.encode(drawn)
    for codec in CODECS.values():
        assert codec.encode(drawn) == value
        assert codec.decode(drawn.topic, drawn.key.encode(), value) == drawn


@settings(max_examples=COUNT, database=None)
@given(DRAWN, st.lists(DAMAGES, min_size=1, max_size=4))
def test_a_damaged_record_is_judged_as_by_fastavro(drawn, damages):
    """Accepted with the same values, or rejected with the same message."""
    value = damaged(JUDGE.encode(drawn), damages)
    key = drawn.key.encode()
    expected = judged(JUDGE, type(drawn), key, value)
    for codec in CODECS.values():
        assert judged(codec, type(drawn), key, value) == expected


@pytest.mark.parametrize("topic", TYPES)
def test_every_event_of_ours_is_read_and_written_by_its_plan(codec, topic):
    """Otherwise the speed would be lost unnoticed."""
    cls = TYPES[topic]
    for size in (1, 40, 63, 64, 200):
        sample = made_of(cls, size)
        value = JUDGE.encode(sample)
        assert codec._plans[topic].write(sample) == value
        if len(value) <= MAX_BYTES:
            assert planned(codec, cls, sample.key.encode(), value) == sample


def made_of(cls: type[Event], size: int) -> Event:
    """Return an event whose texts have this length."""
    text, items = "x" * size, (Item("x" * size, 7),) * min(size, 100)
    special = {
        "currency": "USD",
        "code": "DECLINED",
        "items": items,
        "total": 2_933,
        "cancel_at_ms": 10**12,
        "amount": 10**size % 10**15,
    }
    return cls(**{field.name: special.get(field.name, text) for field in fields(cls)})


SHORT = OWN[OrderCreated] + b"\x02o\x02c\x02\x06USD"
"""An order up to its items: a total of 1."""
ONE_ITEM = b"\x02s\x02"


@pytest.mark.parametrize(
    ("rest", "taken"),
    [
        (b"\x02" + ONE_ITEM + b"\0\0\0", "plain"),
        (b"\x02" + ONE_ITEM + b"\x02" + ONE_ITEM + b"\0\0\0", "two blocks"),
        (b"\x82\0" + ONE_ITEM + b"\0\0\0", "a number longer than need be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_odd_but_allowed_is_taken(codec, rest, taken):
    """Avro allows a writer to choose blocks, and does not require numbers to be short."""
    assert planned(codec, OrderCreated, b"o", SHORT + rest) == judged(JUDGE, OrderCreated, b"o", SHORT + rest), taken


DECLINED = {
    "a block with its size, which fastavro reads": b"\x01\x06" + ONE_ITEM + b"\0\0\0",
    "a count of -1 at the end of an array": b"\x02" + ONE_ITEM + b"\x01\0\0",
    "trailing bytes": b"\x02" + ONE_ITEM + b"\0\0\0\0",
    "cut off": b"\x02" + ONE_ITEM + b"\0",
    "a text of negative length": b"\x02\x01s\x02\0\0\0",
    "a text that is longer than the record": b"\x02\x7es\x02\0\0\0",
    "a length of more than 64 bits": b"\x02\xff" + b"\xff" * 9 + b"\x01s\x02\0\0\0",
    "a billion items": b"\xfe\xff\xff\xff\x0f" + ONE_ITEM,
    "a quantity of more than 32 bits": b"\x02\x02s\x80\x80\x80\x80\x20\0\0\0",
    "a quantity of more than 64 bits": b"\x02\x02s\x82" + b"\x80" * 9 + b"\x02\0\0\0",
    "a quantity of 65 bits, the 65th set": b"\x02\x02s\x82" + b"\x80" * 8 + b"\x02\0\0\0",
    "a quantity of 0": b"\x02\x02s\0\0\0\0",
    "a quantity of 10,001": b"\x02\x02s\xa2\x9c\x01\0\0\0",
    "no sku": b"\x02\0\x02\0\0\0",
    "a sku of 201 characters": b"\x02\x92\x03" + b"s" * 201 + b"\x02\0\0\0",
    "a sku that is not printable": b"\x02\x02\n\x02\0\0\0",
    "no UTF-8": b"\x02\x02\xff\x02\0\0\0",
    "a surrogate as UTF-8": b"\x02\x06\xed\xa0\x80\x02\0\0\0",
    "a long form of a letter in UTF-8": b"\x02\x04\xc1\xb3\x02\0\0\0",
    "no items": b"\0\0\0",
    "101 items": b"\xca\x01" + ONE_ITEM * 101 + b"\0\0\0",
}


@pytest.mark.parametrize("why", DECLINED)
def test_what_is_not_plain_is_left_to_fastavro(codec, why):
    """It decides, and says why; the plan only declines."""
    value = SHORT + DECLINED[why]
    assert planned(codec, OrderCreated, b"o", value) is None
    assert judged(codec, OrderCreated, b"o", value) == judged(JUDGE, OrderCreated, b"o", value)


def test_a_record_of_another_key_or_frame_is_left_to_fastavro(codec):
    """Another key, none, another schema's frame, a short value, none, and one whose schema a header names."""
    value = SHORT + b"\x02" + ONE_ITEM + b"\0\0\0"
    assert planned(codec, OrderCreated, b"o", value, [("ce_id", b"1")]) is not None
    for key, other in ((b"p", value), (None, value), (b"o", b"\1" + value[1:]), (b"o", value[:3]), (b"o", None)):
        assert planned(codec, OrderCreated, key, other) is None
    assert planned(codec, OrderCreated, b"o", value, [("ce_id", b"1"), (VALUE_HEADER, value[:5])]) is None


def test_a_large_body_is_left_to_the_strict_walk(codec):
    """It counts values; a plan does not."""
    assert MAX_BYTES == MAX_VALUES
    order = OrderCreated("o", "c", 1, "USD", tuple(Item("x" * 200, 1) for _ in range(100)))
    value = codec.encode(order)
    assert len(value) > MAX_BYTES
    assert planned(codec, OrderCreated, b"o", value) is None
    assert codec.decode("order.created", b"o", value) == order


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("total", wrong) for wrong in (2**63, -(2**63) - 1, "1", 1.0, True, None, -1, 10**15 + 1)],
        *[("currency", wrong) for wrong in (5, None, "usd", "US", "USDX", "ÄÖÜ", b"USD")],
        *[("order_id", wrong) for wrong in ("", "x" * 201, "a\nb", "\ud800")],
        *[
            ("items", wrong)
            for wrong in (None, (), (Item("a", 1),) * 101, (Item("a", 0),), ("a",), (Item("", 1),), (1,))
        ],
    ],
)
def test_an_invalid_event_cannot_be_encoded(codec, field, value):
    """A bug of a handler; the error is the same with and without plans, and names what the field allows."""
    order = replace(ORDER)
    force_setattr(order, field, value)
    with pytest.raises(Exception) as slow:
        JUDGE.encode(order)
    with pytest.raises(type(slow.value)) as quick:
        codec.encode(order)
    assert str(quick.value) == str(slow.value)


@settings(max_examples=300)
@example(2**31 - 1, -(2**63), [])
@example(-(2**31), 2**63 - 1, [0] * 64)
@example(0, LARGEST, [-LARGEST, LARGEST + 1, -LARGEST - 1])
@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_numbers_are_those_of_avro(numbers_event, small, large, many):
    """Over their whole ranges, in arrays too; of more than nine bytes by fastavro."""
    event = numbers_event("k", small, large, tuple(many))
    body = BytesIO()
    fastavro.schemaless_writer(body, numbers_event.schema, event.to_avro())
    value = b"frame" + body.getvalue()
    short = all(-LARGEST <= number <= LARGEST for number in (large, *many))
    for kind in KINDS:
        made = Planner(kind).plan(numbers_event, b"frame")
        assert made.write(event) == (value if short else None)
        assert made.read(b"k", value, []) == (event if short else None)


@pytest.mark.parametrize(
    "body",
    [
        b"\x02k" + b"\x80\x80\x80\x80\x20" + b"\0\0",
        b"\x02k" + b"\0" + b"\x80" * 9 + b"\x02" + b"\0",
        b"\x02k" + b"\0\0\x02" + b"\x80" * 9 + b"\x02" + b"\0",
    ],
    ids=["an int of 33 bits", "a long of 65 bits", "a long of 65 bits in an array"],
)
def test_numbers_beyond_their_ranges_are_left_to_fastavro(kind, numbers_event, body):
    """It would truncate them; the strict walk rejects them."""
    assert Planner(kind).plan(numbers_event, b"frame").read(b"k", b"frame" + body, []) is None


def test_a_text_of_negative_length_is_not_read_backwards(tmp_path, kind):
    """The next text would begin inside an earlier one, and end with the record."""

    class Texts(Event, frozen=True):
        name: str
        first: str
        second: str

    bound(tmp_path, "Texts", [("name", "string"), ("first", "string"), ("second", "string")], Texts)
    made = Planner(kind).plan(Texts, b"frame")
    assert made.read(b"@", b"frame" + b"\x02@" + b"\0" + b"\x02x", []) == Texts("@", "", "x")
    assert made.read(b"@", b"frame" + b"\x02@" + b"\x03" + b"x" * 31, []) is None


@pytest.mark.parametrize("number", [*range(6, 128), *range(1, 6, 2)])
def test_a_number_that_no_symbol_has_is_left_to_fastavro(codec, number):
    """Negative ones too: -1 would be the last symbol in Python, and is invalid in Avro."""
    value = codec.encode(PaymentFailed("o-1", "no", "DECLINED"))[:-1] + bytes([number])
    assert planned(codec, PaymentFailed, b"o-1", value) is None
    assert judged(codec, PaymentFailed, b"o-1", value)[0] == "malformed"


def bound(folder, name, kinds, cls):
    """Bind a class to a schema with these types."""
    avsc = folder / f"{name.lower()}.avsc"
    schema = {"type": "record", "name": name, "fields": [{"name": field, "type": of} for field, of in kinds]}
    avsc.write_text(json.dumps(schema))
    return event(avsc, key="name")(cls)


@pytest.fixture(scope="module")
def numbers_event(tmp_path_factory):
    """Return an event with numbers of both kinds."""

    class Numbers(Event, frozen=True):
        name: str
        small: int
        large: int
        many: tuple[int, ...]

    kinds = [("name", "string"), ("small", "int"), ("large", "long"), ("many", {"type": "array", "items": "long"})]
    return bound(tmp_path_factory.mktemp("schemas"), "Numbers", kinds, Numbers)


@pytest.mark.parametrize(
    ("of", "hint", "value"),
    [("boolean", bool, True), ("bytes", bytes, b"\xff"), (["null", "string"], str | None, None)],
    ids=["boolean", "bytes", "union"],
)
def test_other_types_are_left_to_fastavro_altogether(tmp_path, kind, of, hint, value):
    """Users of an event with one of them see no difference."""
    made = defstruct("Other", [("name", str), ("other", hint)], bases=(Event,), frozen=True)
    other = bound(tmp_path, "Other", [("name", "string"), ("other", of)], made)
    assert Planner(kind).plan(other, b"frame") is None
    (tmp_path / "ids.json").write_text('{"1": "other.avsc"}')
    codec = Codec(FileRegistry(other.ids), [other], Planner(kind))
    sample = other("k", value)
    assert codec.decode("other", b"k", codec.encode(sample)) == sample


LEFT_TO_FASTAVRO = {
    "a pattern": Annotated[str, Meta(pattern="^a")],
    "a multiple": Annotated[int, Meta(multiple_of=3)],
}


@pytest.mark.parametrize("what", LEFT_TO_FASTAVRO)
def test_conditions_that_only_msgspec_knows_are_left_to_it(tmp_path, kind, what):
    """A plan would not check them."""
    hint = LEFT_TO_FASTAVRO[what]
    made = defstruct("Patterned", [("name", str), ("other", hint)], bases=(Event,), frozen=True)
    of = "string" if what == "a pattern" else "int"
    assert Planner(kind).plan(bound(tmp_path, "Patterned", [("name", "string"), ("other", of)], made), b"frame") is None


class Part(Struct, frozen=True):
    label: Annotated[str, Rule(str.isascii)]


class Ruled(Event, frozen=True):
    name: Annotated[str, Rule(str.islower, or_else=str.isdigit)]
    number: Annotated[int, Meta(ge=-5)]
    parts: tuple[Part, ...]
    texts: tuple[Annotated[str, Rule(str.isupper), Rule(str.isascii)], ...]

    def __post_init__(self) -> None:
        if self.name == "never":
            raise ValueError("never by the event's own check")


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (("a", -5, (Part("x"),), ("A", "B")), None),
        (("5", 2**31 - 1, (), ()), None),
        (("A", 0, (), ()), "name 'A' must be a text that its Rule allows (str.islower)"),
        (("a", -6, (), ()), "number -6 must be -5 to 2147483647"),
        (("a", 2**31, (), ()), "number 2147483648 must be -5 to 2147483647"),
        (("a", 0, (Part("x"), Part("é")), ()), "parts[1].label 'é' must be"),
        (("a", 0, (), ("A", "b")), "texts[1] 'b' must be"),
        (("a", 0, (), ("A", "É")), "texts[1] 'É' must be"),
    ],
)
def test_what_an_event_declares_is_checked_when_it_is_read_and_written(tmp_path, kind, values, wrong):
    """By the plan and by fastavro's judgement alike, in parts and arrays too; a check of its own when it is made."""
    part = {"type": "record", "name": "Part", "fields": [{"name": "label", "type": "string"}]}
    parts, texts = {"type": "array", "items": part}, {"type": "array", "items": "string"}
    bound(tmp_path, "Ruled", [("name", "string"), ("number", "int"), ("parts", parts), ("texts", texts)], Ruled)
    (tmp_path / "ids.json").write_text('{"1": "ruled.avsc"}')
    codec = Codec(FileRegistry(Ruled.ids), [Ruled], Planner(kind))
    made = Ruled(*values)
    body = BytesIO(FRAME.pack(0, 1))
    body.seek(FRAME.size)
    fastavro.schemaless_writer(body, Ruled.schema, made.to_avro())
    value, key = body.getvalue(), made.key.encode()
    if wrong is None:
        assert codec.encode(made) == value
        assert codec.decode("ruled", key, value) == made
        return
    with pytest.raises(ValueError, match=re.escape(wrong)):
        codec.encode(made)
    assert judged(codec, Ruled, key, value)[0] in ("invalid_value", "malformed")
    with pytest.raises(ValueError, match="never"):
        replace(made, name="never")


class Name(Struct, frozen=True):
    first: str
    last: str


class Reversed(Struct, frozen=True):
    last: str
    first: str


class Named(Event, frozen=True):
    name: str
    parts: tuple[Name, ...]


def test_a_part_of_another_class_is_written_by_its_names(tmp_path, kind):
    """By fastavro: its values may be in another order."""
    fields = [{"name": "first", "type": "string"}, {"name": "last", "type": "string"}]
    part = {"type": "record", "name": "Name", "fields": fields}
    bound(tmp_path, "Named", [("name", "string"), ("parts", {"type": "array", "items": part})], Named)
    (tmp_path / "ids.json").write_text('{"1": "named.avsc"}')
    codec = Codec(FileRegistry(Named.ids), [Named], Planner(kind))
    assert codec.encode(Named("k", (Reversed("l", "f"),))) == codec.encode(Named("k", (Name("f", "l"),)))


VERSIONS = [
    (number, cls)
    for number in json.loads(IDS.read_text())
    for cls in EVENTS
    if REGISTRY.schema_of(int(number))["name"] == cls.schema["name"]
]


@pytest.mark.parametrize(("number", "cls"), VERSIONS)
def test_every_released_version_is_read_by_a_plan_as_by_fastavro(kind, number, cls):
    """From the second record on: the first one fetches the schema of its writer."""
    writer, codec = REGISTRY.schema_of(int(number)), Codec(REGISTRY, EVENTS, Planner(kind))
    sample = made_of(cls, 40).to_avro()
    body = BytesIO(FRAME.pack(0, int(number)))
    body.seek(FRAME.size)
    fastavro.schemaless_writer(body, writer, sample)
    value, key = body.getvalue(), sample[cls.key_field].encode()
    first = codec.decode(cls.topic, key, value)
    assert first == JUDGE.decode(cls.topic, key, value)
    assert planned(codec, cls, key, value) == first
    for end in range(len(value)):
        assert planned(codec, cls, key, value[:end]) is None


FIELDS = [("name", "string"), ("small", "int"), ("large", "long"), ("many", {"type": "array", "items": "long"})]


def with_(name, of, **more):
    """Return the fields with one of them changed, or added."""
    return [{"name": name, "type": of, **more}] + [{"name": n, "type": t} for n, t in FIELDS if n != name]


OTHERS = {
    "in another order, and large still an int": (with_("large", "int"), 7),
    "with a field of numbers more": (with_("more", {"type": "array", "items": "int"}), [1, 2]),
    "with a record more": (
        with_("more", {"type": "record", "name": "M", "fields": [{"name": "x", "type": "string"}]}),
        {"x": "y"},
    ),
    "with a symbol more": (with_("more", {"type": "enum", "name": "S", "symbols": ["A", "B"]}), "B"),
    "with a union more, which is left to fastavro": (with_("more", ["null", "string"]), "u"),
    "with bytes more, which are left to fastavro": (with_("more", "bytes"), b"b"),
    "with small as an array, which is unreadable": (with_("small", {"type": "array", "items": "int"}), [1]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_versions_are_read_as_by_fastavro(kind, numbers_event, what):
    """Or left to it: the plan reads the same values, or none."""
    changed, value = OTHERS[what]
    writer = written_with({"type": "record", "name": "Numbers", "fields": changed})
    reader = read_as(writer, numbers_event.schema)
    sample = {"name": "k", "small": 5, "large": 2**20, "many": [3, -4]} | {changed[0]["name"]: value}
    body = BytesIO()
    fastavro.schemaless_writer(body, writer, sample)
    made, version = Planner(kind).plan(numbers_event, b"frame"), Planner(kind).version(numbers_event, writer, reader)
    assert (version is None) == ("left to fastavro" in what or "unreadable" in what)
    if version is not None:
        made.add(b"other", version)
        body.seek(0)
        expected = numbers_event.from_avro(fastavro.schemaless_reader(body, writer, reader))
        assert made.read(b"k", b"other" + body.getvalue(), []) == expected


def test_an_event_of_every_corner_of_our_schemas_is_judged_alike(codec):
    """Numbers at the ends of their ranges, empty and long texts: accepted or rejected, with the same message."""
    for cls in EVENTS:
        for sample in samples(resolved(cls.schema)):
            body = BytesIO(OWN[cls])
            body.seek(FRAME.size)
            fastavro.schemaless_writer(body, cls.schema, sample)
            key = typing.cast("str", sample[cls.key_field]).encode()
            assert judged(codec, cls, key, body.getvalue()) == judged(JUDGE, cls, key, body.getvalue())
