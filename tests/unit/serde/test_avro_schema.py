"""The reader's schema decides: whatever a writer annotates, renames or defaults, our events are plain."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest

from eventbus import Codec, Event, PoisonRecord, event
from eventbus.avro_schema import MAX_DEPTH, SchemaMismatch, parse, written_with
from eventbus.serde.framing import FRAME
from eventbus.serde.plans import Planner
from eventbus.serde.registered_schema import usable
from eventbus.serde.registry import Registry, registry_at
from eventbus.text.json_form import to_json
from saga.evolution.compatibility import resolved
from saga.evolution.samples import samples
from saga.kafka.decode import Decoder
from schemas import EVENTS, Item, OrderCreated, PaymentCharged, PaymentFailed

THEIRS = 900
LOGICAL = {
    "string": ["uuid", "nobody-knows-it"],
    "int": ["date", "time-millis", "decimal"],
    "long": [
        *("timestamp-millis", "timestamp-micros", "timestamp-nanos", "time-micros"),
        *("local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos"),
    ],
}
"""Logical types by the type that they annotate (Avro 1.12, Logical Types), and two that are none."""
ANNOTATED = [(primitive, logical) for primitive, found in LOGICAL.items() for logical in found]
WAYS = {
    "annotated": lambda primitive, logical: {"type": primitive, "logicalType": logical},
    "annotated inside": lambda primitive, logical: {"type": {"type": primitive, "logicalType": logical}},
    "of Java": lambda primitive, logical: {"type": primitive, "avro.java.string": "String", "logicalType": logical},
    "or null": lambda primitive, logical: ["null", {"type": primitive, "logicalType": logical, "precision": 4}],
}
KEY = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
ORDER = OrderCreated(KEY, KEY, 20_000, "USD", (Item(KEY, 2), Item("cd-2", 1)), KEY)


class Theirs:
    """A registry in which somebody else has registered one schema, beside our own."""

    def __init__(self, schema: Any, *references: Any) -> None:
        self._own: Registry = registry_at(None, EVENTS)
        self._text, self._references = json.dumps(schema), [json.dumps(each) for each in references]

    def id_of(self, event: type[Event]) -> int:
        return self._own.id_of(event)

    def schema_of(self, schema_id: Any) -> dict[str, Any]:
        if schema_id == THEIRS:
            return usable(schema_id, self._text, self._references)
        return self._own.schema_of(schema_id)


def schema_of(cls: type[Event]) -> Any:
    return json.loads(cls.schema_text)


def everywhere(schema: Any, primitive: str, instead: Any) -> Any:
    """Return a schema in which each field, item or value of a primitive type has another one."""
    if schema == primitive:
        return instead
    if isinstance(schema, list):
        return [everywhere(branch, primitive, instead) for branch in schema]
    if isinstance(schema, dict):
        inner = {name: everywhere(schema[name], primitive, instead) for name in ("type", "items") if name in schema}
        fields = [{**f, "type": everywhere(f["type"], primitive, instead)} for f in schema.get("fields", ())]
        return {**schema, **inner} | ({"fields": fields} if fields else {})
    return schema


def written(schema: Any, values: Any, schema_id: int = THEIRS) -> bytes:
    """Return what a writer of this schema writes: no logical type changes a byte."""
    body = BytesIO(FRAME.pack(0, schema_id))
    body.seek(FRAME.size)
    fastavro.schemaless_writer(body, parse(schema), values)
    return body.getvalue()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("primitive", "logical"), ANNOTATED)
def test_what_a_writer_annotates_is_read_plain(primitive, logical, way):
    """In fields, in arrays of records and in unions; by workers and by people's tools."""
    theirs = everywhere(schema_of(OrderCreated), primitive, WAYS[way](primitive, logical))
    value = written(theirs, ORDER.to_avro())
    assert Codec(Theirs(theirs), EVENTS).decode("order.created", KEY.encode(), value) == ORDER
    shown = Decoder(Theirs(theirs)).decode(value)
    assert json.loads(to_json(shown)) == json.loads(json.dumps(ORDER.to_avro()))


@pytest.mark.parametrize(
    ("of", "value", "shown"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x01\xff", "\x01ÿ"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 9}, b"\x01", "\x01"),
        ({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}, b"\x01" * 12, "\x01" * 12),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, b"\x01" * 16, "\x01" * 16),
        ({"type": "fixed", "name": "D", "size": 2, "logicalType": "decimal", "precision": 3}, b"\x01\x02", "\x01\x02"),
        ({"type": "int", "logicalType": "date"}, 2**31 - 1, 2**31 - 1),
        ({"type": "long", "logicalType": "timestamp-millis"}, 2**63 - 1, 2**63 - 1),
        ({"type": "string", "logicalType": "uuid"}, "no uuid", "no uuid"),
        ({"type": "map", "values": {"type": "int", "logicalType": "time-millis"}}, {"é": -1}, {"é": -1}),
        ("double", float("nan"), "NaN"),
        ("float", float("-inf"), "-Infinity"),
    ],
    ids=str,
)
def test_a_field_that_we_do_not_have_is_skipped_by_workers_and_shown_to_people(of, value, shown):
    """Also where the annotation itself is wrong, or its value is none that Python knows."""
    schema = schema_of(PaymentCharged)
    schema["fields"].append({"name": "extra", "type": of})
    charged = PaymentCharged(KEY, KEY, 1_000, "USD")
    record = written(schema, charged.to_avro() | {"extra": value})
    assert Codec(Theirs(schema), EVENTS).decode("payment.charged", KEY.encode(), record) == charged
    assert json.loads(to_json(Decoder(Theirs(schema)).decode(record)))["extra"] == shown


def test_bytes_that_we_have_as_a_string_are_read_as_one():
    """Avro promotes bytes to a string, also those that their writer calls a decimal."""
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9}
    schema = everywhere(schema_of(PaymentCharged), "string", decimal)
    charged = PaymentCharged(KEY, KEY, 1_000, "USD")
    value = written(schema, {name: v.encode() if isinstance(v, str) else v for name, v in charged.to_avro().items()})
    assert Codec(Theirs(schema), EVENTS).decode("payment.charged", KEY.encode(), value) == charged


def test_our_own_schema_may_be_annotated_and_its_events_stay_plain(tmp_path):
    """The published text keeps the annotation; readers and writers, plans too, do not know it."""
    uuid, moment = {"type": "string", "logicalType": "uuid"}, {"type": "long", "logicalType": "timestamp-millis"}
    fields = [{"name": "name", "type": uuid}, {"name": "at", "type": moment, "default": 0}]
    avsc = tmp_path / "annotated.avsc"
    avsc.write_text(json.dumps({"type": "record", "name": "Annotated", "fields": fields}))

    @event(avsc, key="name")
    class Annotated(Event, frozen=True):
        name: str
        at: int = 0

    made = Planner().plan(Annotated, b"frame")
    assert made is not None
    assert made.read(b"n", made.write(Annotated("n", 5)), []) == Annotated("n", 5)
    assert "uuid" in Annotated.schema_text
    assert "logicalType" not in str(Annotated.schema)


def test_a_default_of_another_form_does_not_make_a_writers_schema_unusable():
    """Nobody who reads asks for a writer's default."""
    schema = schema_of(PaymentCharged)
    schema["fields"] += [
        {"name": "a", "type": ["null", "int"], "default": "x"},
        {"name": "b", "type": "int", "default": "0"},
        {"name": "c", "type": "double", "default": {}},
        {"name": "d", "type": {"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}, "default": "C"},
        {"name": "e", "type": {"type": "map", "values": "int"}, "default": {"type": "none"}},
    ]
    charged = PaymentCharged(KEY, KEY, 1_000, "USD")
    more = {"a": None, "b": 1, "c": 1.0, "d": "A", "e": {}}
    value = written(written_with(schema), charged.to_avro() | more)
    assert Codec(Theirs(schema), EVENTS).decode("payment.charged", KEY.encode(), value) == charged


def renamed(schema: Any, **names: Any) -> Any:
    """Return a schema whose fields have other names; `record` is that of the record."""
    record = names.pop("record", {})
    fields = [{**field, **names.get(field["name"], {})} for field in schema["fields"]]
    return {**schema, **record, "fields": fields}


@pytest.mark.parametrize(
    "record",
    [
        {"namespace": "com.shop.payments"},
        {"name": "com.shop.PaymentCharged"},
        {"name": "com.shop.ChargeMade", "aliases": ["saga.events.PaymentCharged"]},
        {"name": "ChargeMade", "aliases": ["PaymentCharged"]},
    ],
    ids=str,
)
def test_the_same_record_under_another_name_is_read(record):
    """Avro compares names without their namespaces; an alias names what a record was called before."""
    schema = renamed(schema_of(PaymentCharged), record=record, payment_id={"name": "id", "aliases": ["payment_id"]})
    charged = PaymentCharged(KEY, "p-1", 1_000, "USD")
    value = written(schema, {"order_id": KEY, "id": "p-1", "amount": 1_000, "currency": "USD"})
    assert Codec(Theirs(schema), EVENTS).decode("payment.charged", KEY.encode(), value) == charged


def test_an_alias_of_the_reader_counts(tmp_path):
    """Of the record and of its fields, as Avro has it."""
    avsc = tmp_path / "thing.avsc"
    fields = [{"name": "name", "type": "string", "aliases": ["label"]}]
    avsc.write_text(json.dumps({"type": "record", "name": "Thing", "aliases": ["Article"], "fields": fields}))
    (tmp_path / "ids.json").write_text('{"1": "thing.avsc"}')

    @event(avsc, key="name")
    class Thing(Event, frozen=True):
        name: str

    old = {"type": "record", "name": "Article", "fields": [{"name": "label", "type": "string"}]}
    registry = Theirs(old)
    registry._own = registry_at(None, [Thing])
    assert Codec(registry, [Thing]).decode("thing", b"x", written(old, {"label": "x"})) == Thing("x")


def test_another_record_is_not_read_though_its_fields_are_the_same():
    """It was written by another event's producer, or to the wrong topic."""
    schema = renamed(schema_of(PaymentCharged), record={"name": "PaymentRefunded"})
    value = written(schema, PaymentCharged(KEY, "p-1", 1_000, "USD").to_avro())
    with pytest.raises(PoisonRecord, match=r"schema 900 is saga\.events\.PaymentRefunded") as refused:
        Codec(Theirs(schema), EVENTS).decode("payment.charged", KEY.encode(), value)
    assert refused.value.reason == "wrong_schema"


AUDIT = {"type": "record", "name": "Audit", "namespace": "shop.common", "fields": [{"name": "by", "type": "Who"}]}
WHO = {"type": "enum", "name": "Who", "namespace": "shop.common", "symbols": ["JAVA", "PYTHON"]}
BOTH = {**AUDIT, "fields": [{"name": "by", "type": WHO}]}


@pytest.mark.parametrize("references", [(AUDIT, WHO), (WHO, AUDIT), (BOTH,)], ids=["later", "sooner", "inside"])
def test_types_that_a_reference_defines_are_known(references):
    """Whichever of them comes first, named twice, and one that stands inside another one."""
    schema = schema_of(PaymentFailed)
    used = [("audit", "shop.common.Audit"), ("again", ["null", "shop.common.Audit"]), ("who", "shop.common.Who")]
    schema["fields"] += [{"name": name, "type": of} for name, of in used]
    failed = PaymentFailed(KEY, "no", "DECLINED")
    values = failed.to_avro() | {"audit": {"by": "JAVA"}, "again": {"by": "PYTHON"}, "who": "JAVA"}
    value = written(written_with(schema, references), values)
    registry = Theirs(schema, *references)
    assert Codec(registry, EVENTS).decode("payment.failed", KEY.encode(), value) == failed
    assert Decoder(registry).decode(value) == values
    with pytest.raises(PoisonRecord, match=r"'shop.common.Audit' is not defined") as refused:
        Codec(Theirs(schema), EVENTS).decode("payment.failed", KEY.encode(), value)
    assert refused.value.reason == "unsupported_schema"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("string", "not a record"),
        (["null", BOTH], "not a record"),
        ({"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}, "contains itself"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": WHO}, {"name": "b", "type": WHO}]}, "twice"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "Nobody"}]}, "not defined"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": 5}]}, "not an Avro schema"),
    ],
    ids=str,
)
def test_what_is_no_schema_of_a_record_is_refused_with_the_reason(schema, why):
    """As a writer's; a reader's is refused at import."""
    with pytest.raises(SchemaMismatch, match=why):
        written_with(schema)


def test_references_that_go_round_in_a_circle_are_recursive():
    """A registry takes none; whoever answers in its place may."""
    one = {"type": "record", "name": "One", "fields": [{"name": "two", "type": ["null", "Two"]}]}
    two = {"type": "record", "name": "Two", "fields": [{"name": "one", "type": ["null", "One"]}]}
    with pytest.raises(SchemaMismatch, match="contains itself"):
        written_with(one, [two])


@pytest.mark.parametrize("junk", [5, "x", {}, [5], [[1]], [{}], [None]], ids=repr)
@pytest.mark.parametrize("place", ["aliases", "name", "symbols", "an alias of the record"])
def test_names_that_are_none_make_a_dead_letter_and_end_no_worker(place, junk):
    """A registry that checks nothing may hold anything where names belong."""
    schema = schema_of(PaymentFailed)
    enum = next(field["type"] for field in schema["fields"] if field["name"] == "code")
    target, name = {
        "aliases": (schema["fields"][0], "aliases"),
        "name": (schema["fields"][0], "name"),
        "symbols": (enum, "symbols"),
        "an alias of the record": (schema, "aliases"),
    }[place]
    target[name] = [junk] if place == "name" else junk
    with pytest.raises(PoisonRecord) as refused:
        Codec(Theirs(schema), EVENTS).decode("payment.failed", b"o", FRAME.pack(0, THEIRS) + b"\x02o\0\0")
    assert refused.value.reason in ("unsupported_schema", "malformed")


@pytest.mark.parametrize("depth", [MAX_DEPTH, 10 * MAX_DEPTH])
def test_types_nested_too_deep_are_refused_before_they_are_walked(depth):
    """What Python can just read here is too deep for whoever prints it."""
    schema: Any = "string"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    record = {"type": "record", "name": "R", "fields": [{"name": "deep", "type": schema}]}
    with pytest.raises(SchemaMismatch, match="deep"):
        written_with(record)
    with pytest.raises(SchemaMismatch, match="deep"):
        written_with({**record, "name": "S", "fields": []}, [record])


def test_every_corner_of_our_events_is_read_through_an_annotated_schema():
    """The slow way, in which writer and reader are resolved, judges as the quick one."""
    for cls in EVENTS:
        theirs = everywhere(schema_of(cls), "string", {"type": "string", "logicalType": "uuid"})
        codec = Codec(Theirs(theirs), EVENTS)
        for sample in samples(resolved(cls.schema)):
            key = sample[cls.key_field].encode()
            assert judged(codec, cls, key, written(theirs, sample)) == judged(codec, cls, key, own(codec, cls, sample))


def own(codec: Codec, cls: type[Event], sample: Any) -> bytes:
    return written(cls.schema, sample, codec._registry.id_of(cls))


def judged(codec: Codec, cls: type[Event], key: bytes, value: bytes) -> object:
    try:
        return codec.decode(cls.topic, key, value)
    except PoisonRecord as poison:
        return poison.reason, str(poison)
