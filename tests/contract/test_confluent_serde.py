"""Events written and read by Confluent's own serializers and registry; over real HTTP, without a broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    SchemaRegistryClient,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from eventbus import Codec, PoisonRecord
from eventbus.serde.framing import FRAME, VALUE_HEADER, Headers
from eventbus.serde.registry import RegistryUnavailable, registry_at
from schemas import EVENTS, PaymentCharged
from tests.support.registries.small_registry import SmallRegistry, guid_of

KEY = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
CHARGED = PaymentCharged(KEY, "p-1", 1_000, "USD")
SUBJECT = "payment.charged-value"
TEXT = PaymentCharged.schema_text
STRATEGIES: dict[str, dict[str, Any]] = {
    "in front": {"schema.id.serializer": prefix_schema_id_serializer},
    "in a header": {"schema.id.serializer": header_schema_id_serializer},
}
BY = {"name": "by", "type": "shop.common.Who"}
AUDIT = {"type": "record", "name": "Audit", "namespace": "shop.common", "fields": [BY]}
WHO = {"type": "enum", "name": "Who", "namespace": "shop.common", "symbols": ["JAVA", "PYTHON"]}


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    """A registry with our schemas."""
    registry = SmallRegistry().start()
    for event in EVENTS:
        registry.register(f"{event.topic}-value", event.schema_text)
    yield registry
    registry.stop()


@pytest.fixture
def codec(registry: SmallRegistry) -> Codec:
    return Codec(registry_at(registry.url, EVENTS), EVENTS)


def context(headers: list[tuple[str, bytes]]) -> SerializationContext:
    return SerializationContext("payment.charged", MessageField.VALUE, headers)


def read(codec: Codec, value: bytes, headers: Headers = ()) -> Any:
    return codec.decode("payment.charged", KEY.encode(), value, headers)


def with_fields(*fields: Any) -> str:
    schema = json.loads(TEXT)
    return json.dumps({**schema, "fields": [*schema["fields"], *fields]})


@pytest.mark.parametrize("named", STRATEGIES)
def test_what_their_serializer_writes_is_read(registry, codec, named):
    """With the schema's id as a prefix, or its GUID in a header."""
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry.url}), TEXT, conf=STRATEGIES[named])
    headers: list[tuple[str, bytes]] = []
    value = serialize(CHARGED.to_avro(), context(headers))
    assert [name for name, _ in headers] == ([VALUE_HEADER] if named == "in a header" else [])
    assert read(codec, value, headers) == CHARGED


def test_what_we_write_their_deserializer_reads(registry, codec):
    """Against the same registry."""
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry.url}))
    assert deserialize(codec.encode(CHARGED), context([])) == CHARGED.to_avro()


@pytest.mark.parametrize("named", STRATEGIES)
def test_a_schema_with_references_is_read(registry, codec, named):
    """Also if a reference has references."""
    reference = {"name": "shop.common.Who", "subject": "shop.common.Who", "version": 1}
    registry.register("shop.common.Who", json.dumps(WHO))
    registry.register("shop.common.Audit", json.dumps(AUDIT), references=[reference])
    text = with_fields({"name": "audit", "type": "shop.common.Audit"})
    known = [{"name": "shop.common.Audit", "subject": "shop.common.Audit", "version": 1}]
    schema_id = registry.register(SUBJECT, text, references=known)
    client = SchemaRegistryClient({"url": registry.url})
    conf = {**STRATEGIES[named], "auto.register.schemas": False, "use.schema.id": schema_id}
    headers: list[tuple[str, bytes]] = []
    values = CHARGED.to_avro() | {"audit": {"by": "JAVA"}}
    value = AvroSerializer(client, client.get_schema(schema_id), conf=conf)(values, context(headers))
    assert read(codec, value, headers) == CHARGED


def test_what_goes_along_with_a_schema_and_concerns_only_its_writers_is_no_matter(registry, codec):
    """Metadata, validation rules, migration rules, and encryption that is disabled."""
    rules = [
        {"name": "positive", "kind": "CONDITION", "type": "CEL", "mode": "WRITE", "expr": "message.amount > 0"},
        {"name": "off", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"], "disabled": True},
    ]
    moves = [{"name": "up", "kind": "TRANSFORM", "type": "JSONATA", "mode": "UPGRADE", "expr": "$"}]
    metadata = {"tags": {"**.order_id": ["PII"]}, "properties": {"owner": "team"}, "sensitive": ["owner"]}
    more = {"metadata": metadata, "ruleSet": {"domainRules": rules, "migrationRules": moves}, "schemaType": "AVRO"}
    schema_id = registry.publish(TEXT, **more)
    assert read(codec, FRAME.pack(0, schema_id) + codec.encode(CHARGED)[FRAME.size :]) == CHARGED


ENCRYPTED = {"name": "pii", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"]}
GONE = {"name": "shop.common.Audit", "subject": "shop.common.Audit", "version": 7}
UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "JSON Schema": ({"schemaType": "JSON"}, "type JSON"),
    "Protobuf": ({"schemaType": "PROTOBUF"}, "type PROTOBUF"),
    "encrypted fields": ({"ruleSet": {"domainRules": [ENCRYPTED]}}, "'pii' of the type ENCRYPT"),
    "encrypted whole": ({"ruleSet": {"encodingRules": [ENCRYPTED | {"type": "ENCRYPT_PAYLOAD"}]}}, "ENCRYPT_PAYLOAD"),
    "a reference to nothing": ({"references": [GONE]}, "version 7 of the subject shop.common.Audit"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_read_is_named_for_what_it_is(registry, codec, name):
    """It is not reported as an unknown id, and never read by chance."""
    more, why = UNSUPPORTED[name]
    schema_id = registry.publish(TEXT, **more)
    with pytest.raises(PoisonRecord, match=why) as refused:
        read(codec, FRAME.pack(0, schema_id) + codec.encode(CHARGED)[FRAME.size :])
    assert refused.value.reason == "unsupported_schema"


def test_a_registry_that_looks_up_no_guids_is_named_as_the_reason():
    """Confluent's own older ones, and others with its API: they never answer."""
    old = SmallRegistry(guids=False).start()
    for event in EVENTS:
        old.register(f"{event.topic}-value", event.schema_text)
    codec = Codec(registry_at(old.url, EVENTS), EVENTS)
    guid = guid_of(old.publish(TEXT))
    with pytest.raises(PoisonRecord, match="too old to look up GUIDs") as refused:
        read(codec, b"\0", [(VALUE_HEADER, b"\1" + guid.bytes)])
    assert refused.value.reason == "unsupported_schema"
    old.stop()
    with pytest.raises(RegistryUnavailable):
        read(codec, b"\0", [(VALUE_HEADER, b"\1" + guid_of(4_000_000).bytes)])


@pytest.mark.parametrize("guids", [True, False])
def test_what_cannot_be_read_is_asked_for_once_in_a_while(guids):
    """Many such records do not make other partitions wait for the registry."""
    registry = SmallRegistry(guids=guids).start()
    for event in EVENTS:
        registry.register(f"{event.topic}-value", event.schema_text)
    schema_id = registry.publish("{}", schemaType="JSON")
    codec = Codec(registry_at(registry.url, EVENTS), EVENTS)
    before = registry.asked
    for _ in range(20):
        with pytest.raises(PoisonRecord, match=r"only Avro|too old"):
            read(codec, b"\0", [(VALUE_HEADER, b"\1" + guid_of(schema_id).bytes)])
    assert registry.asked - before <= 2
    registry.stop()


def test_a_guid_that_the_registry_does_not_know_is_unknown_by_that_name(codec):
    """The message names the GUID, so that it can be looked up."""
    guid = guid_of(4_000_000)
    with pytest.raises(PoisonRecord, match=str(guid)) as refused:
        read(codec, b"\0", [(VALUE_HEADER, b"\1" + guid.bytes)])
    assert refused.value.reason == "unknown_schema_id"
