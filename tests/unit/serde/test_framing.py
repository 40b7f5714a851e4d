"""Where a record names the schema it was written with, and how its key may be framed."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from eventbus import Codec, Event, PoisonRecord
from eventbus.deadletters.resolutions import REDRIVE, AuditNote, resolution
from eventbus.engine.delivery import decode
from eventbus.log import Headers, Partition, Record
from eventbus.serde.framing import FRAME, KEY_HEADER, VALUE_HEADER
from eventbus.serde.registry import Registry, registry_at
from eventbus.service import by_topic
from payment_service.service import PaymentService
from saga.kafka.decode import Decoder, Undecodable
from saga.kafka.describe import describe
from schemas import EVENTS, Item, OrderCreated

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
ORDER = OrderCreated("order-1", "42", 2_933, "USD", (Item("cd-1", 2),))


class Known:
    """A registry that knows our own schema by a GUID, too."""

    def __init__(self) -> None:
        self._own: Registry = registry_at(None, EVENTS)

    def id_of(self, event: type[Event]) -> int:
        return self._own.id_of(event)

    def schema_of(self, schema_id: Any) -> dict[str, Any]:
        return self._own.schema_of(self.id_of(OrderCreated) if schema_id == GUID else schema_id)


CODEC, FILE = Codec(Known(), EVENTS), Codec(registry_at(None, EVENTS), EVENTS)
VALUE = CODEC.encode(ORDER)
FRAMED, BODY = VALUE[: FRAME.size], VALUE[FRAME.size :]
IN_HEADER = {"id": FRAMED, "guid": b"\1" + GUID.bytes}
OTHER: Headers = [("ce_type", b"order.created"), (KEY_HEADER, b"\1" + bytes(16))]


@pytest.mark.parametrize("named", IN_HEADER)
def test_a_schema_that_a_header_names_is_read(named):
    """Then the whole value is the body; for workers, tools and redrives alike."""
    headers = [*OTHER, (VALUE_HEADER, IN_HEADER[named])]
    assert CODEC.decode("order.created", b"order-1", BODY, headers) == ORDER
    record = Record(Partition("order.created", 3), 17, b"order-1", BODY, 0, headers)
    assert describe(record, Decoder(Known()))["value"]["order_id"] == "order-1"
    said = {"dlq_topic": b"order.created", "dlq_partition": b"3", "dlq_offset": b"17", "dlq_timestamp": b"0"}
    letter = record._replace(headers=[*headers, *said.items()])
    redrive = resolution("g.dead-letters.resolutions", letter, REDRIVE, AuditNote("ana", "mended", 0))
    again = Record(Partition(redrive.topic, 0), 0, redrive.key, redrive.value, 0, redrive.headers)
    item = decode(CODEC, again, by_topic(PaymentService.reactions))
    assert item is not None
    assert item.event == ORDER


def test_a_header_goes_before_what_stands_in_front():
    """As in Confluent's own deserializer: the value begins with the body."""
    headers = [(VALUE_HEADER, FRAME.pack(0, 4_000_000))]
    assert CODEC.decode("order.created", b"order-1", VALUE) == ORDER
    with pytest.raises(PoisonRecord, match="4000000"):
        CODEC.decode("order.created", b"order-1", BODY, headers)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\1",
        b"\2" + GUID.bytes,
        b"\1" + GUID.bytes[:15],
        GUID.bytes,
        str(GUID).encode(),
        FRAMED + b"\0",
        None,
    ],
    ids=repr,
)
def test_a_header_that_names_no_schema_is_a_dead_letter_that_says_so(content):
    """Not taken for a value without a frame."""
    headers: Any = [(VALUE_HEADER, content)]
    with pytest.raises(PoisonRecord, match=r"the header __value_schema_id is ('|0x)") as refused:
        CODEC.decode("order.created", b"order-1", BODY, headers)
    assert refused.value.reason == "not_framed"
    with pytest.raises(Undecodable, match=r"the header __value_schema_id is ('|0x)"):
        Decoder(Known()).decode(BODY, headers)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (bytes(8) + b"\7" + BODY, "Apicurio"),
        (b"\xc3\x01" + bytes(8) + BODY, "single-object"),
        (b"Obj\x01\x04\x14", "an Avro file"),
        (b"\x03\x00" + GUID.bytes + BODY, "Glue"),
        (b"\x03\x05" + GUID.bytes + BODY, "Glue's framing, compressed"),
        (b'{"order_id": "order-1"}', "JSON"),
        (b'[{"order_id": "order-1"}]', "JSON"),
        (b"\x0eorder-1", "Avro: it starts with '\\x0eorde'"),
    ],
)
def test_what_other_serializers_write_is_named_for_what_it_is(value, name):
    """An id of 8 bytes is not the unknown id 0, and is not looked up in a registry."""
    with pytest.raises(PoisonRecord, match=re.escape(name)) as refused:
        CODEC.decode("order.created", b"order-1", value)
    assert refused.value.reason == "not_framed"


def test_a_guid_without_a_registry_is_named_as_one():
    """The files that ship with the code have numbers only."""
    with pytest.raises(PoisonRecord, match=f"GUID {GUID}.*--schema-registry-url") as refused:
        FILE.decode("order.created", b"order-1", BODY, [(VALUE_HEADER, IN_HEADER["guid"])])
    assert refused.value.reason == "unsupported_schema"


@pytest.mark.parametrize(
    ("order_id", "length"), [("order-1", b"\x0e"), ("o" * 64, b"\x80\x01"), ("é" * 100, b"\x90\x03")]
)
@pytest.mark.parametrize(("frame", "said"), [(b"", KEY_HEADER), (FRAME.pack(0, 7), "schema id 7")])
def test_a_key_that_is_an_avro_string_is_named_as_one(order_id, length, frame, said):
    """Framed, or with its schema in a header; the message says what the producer has to set."""
    value = CODEC.encode(OrderCreated(order_id, "42", 2_933, "USD", (Item("cd-1", 2),)))
    with pytest.raises(PoisonRecord, match=rf"{said}.*StringSerializer") as refused:
        CODEC.decode("order.created", frame + length + order_id.encode(), value)
    assert refused.value.reason == "key_framed"


@pytest.mark.parametrize(
    "key", [b"\x0eorder-2", b"\x0corder-1", b"\0\0\0\0\x07order-1", b"\0\0\0\0\x07\x0eorder-11", b""]
)
def test_any_other_key_is_another_key(key):
    """What only resembles an Avro string is not reported as one."""
    with pytest.raises(PoisonRecord) as refused:
        CODEC.decode("order.created", key, VALUE)
    assert refused.value.reason == "key_mismatch"
