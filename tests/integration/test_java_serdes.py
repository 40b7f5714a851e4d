"""Java's serdes, as they come, read what our services publish, and what they write is read by us."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from eventbus import Codec
from eventbus.publishing import caused
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import registry_at
from saga.kafka.reader import record_of
from schemas import EVENTS, PaymentCharged
from tests.conftest import do_without
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker
from tests.support.brokers.maven import Missing
from tests.support.registries.apicurio import ApicurioRegistry
from tests.support.registries.java import SERDES
from tests.support.saga.processes import command, environment

KEY = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
CHARGED = PaymentCharged(KEY, "p-1", 2_933, "USD")
NATIVE = "/apis/registry/v3"
"""Where the registry has its own API; ours is Confluent's beside it."""


def java(*arguments: str) -> str:
    try:
        return SERDES.run(*arguments)
    except Missing as why:
        do_without("Java's serdes", why)


def test_javas_deserializer_reads_our_record_and_we_read_what_its_serializer_writes(
    broker: Broker, make_topics: Callable[..., list[str]], registry: ApicurioRegistry, tmp_path: Path
) -> None:
    """Magic byte 0 and an id of four bytes, which both APIs of the registry know the schema by.

    Theirs is another schema than ours: its record lies in another namespace, has its fields in another order, and one
    more.
    """
    servers, native = broker.bootstrap_servers, registry.url.partition("/apis/")[0] + NATIVE
    environ = environment(SCHEMA_REGISTRY_URL=registry.url)
    assert command("saga", "schemas", "register", env=environ, folder=tmp_path).code == 0
    codec = Codec(registry_at(registry.url, EVENTS), EVENTS)
    [topic] = make_topics("payment.charged")
    admin = Admin(servers)
    admin.produce_many([caused(codec, b"payment-service", CHARGED, "order.created/3/1234")._replace(topic=topic)])

    [line] = java("read", servers, native, topic).splitlines()
    read = json.loads(line)
    assert json.loads(read["value"]) == CHARGED.to_avro()
    ours = json.loads(PaymentCharged.schema_text)
    assert (read["key"], read["schema"]) == (KEY, f"{ours['namespace']}.{ours['name']}")

    more = {"name": "terminal", "type": ["null", {"type": "string", "avro.java.string": "String"}], "default": None}
    theirs = ours | {"namespace": "com.shop.payments", "fields": [more, *reversed(ours["fields"])]}
    file = tmp_path / "PaymentCharged.avsc"
    file.write_text(json.dumps(theirs), encoding="utf-8")
    value = CHARGED.to_avro() | {"terminal": {"string": "till 4"}}
    java("write", servers, native, topic, KEY, str(file), json.dumps(value))
    first, other = admin.read(topic)
    assert FRAME.unpack_from(other.value()) != FRAME.unpack_from(first.value())
    record = record_of(other)
    assert codec.decode(PaymentCharged.topic, record.key, record.value, record.headers) == CHARGED
