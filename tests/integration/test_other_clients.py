"""Our records are read by other teams' clients, and what those write is read by ours, on a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import fastavro
import pytest
from confluent_kafka import Message

from eventbus import Codec
from eventbus.log import Headers
from eventbus.publishing import caused
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import registry_at
from saga.kafka.reader import record_of
from saga.tracker.fold import TrackedEvent
from saga.tracker.intake import TrackerIntake
from schemas import EVENTS, PaymentCharged
from tests.conftest import do_without
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker
from tests.support.brokers.maven import Missing
from tests.support.pypi import installed
from tests.support.registries.java import HERE, TEAM
from tests.support.registries.small_registry import SmallRegistry

KEY = "01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21"
CAUSE = "order.created/3/1234"
CHARGED = PaymentCharged(KEY, "p-1", 2_933, "USD")
CLOUDEVENTS = ("cloudevents==2.2.0", "python-dateutil==2.9.0.post0", "six==1.17.0")
SDK = HERE / "cloudevents_team.py"
UUID_TEXT = {"type": "string", "logicalType": "uuid"}


@dataclass(frozen=True)
class Place:
    """A topic of its own, in which an event lies as our service publishes it."""

    admin: Admin
    servers: str
    topic: str
    registry: SmallRegistry
    codec: Codec
    ours: Message

    def produce(self, value: bytes, headers: Headers | None = None) -> Message:
        """Write a record as somebody else; return it as it lies there."""
        self.admin.produce(self.topic, KEY.encode(), value, headers)
        return self.other()

    def other(self) -> Message:
        """Return the record that somebody else has written, with our key in our partition."""
        _, other = self.admin.read(self.topic)
        assert other.partition() == self.ours.partition()
        return other


@pytest.fixture
def place(broker: Broker, make_topics: Callable[..., list[str]]) -> Iterator[Place]:
    """Our event, in a topic of its own; a registry has our schemas."""
    registry = SmallRegistry().start()
    for event in EVENTS:
        registry.register(f"{event.topic}-value", event.schema_text)
    codec = Codec(registry_at(registry.url, EVENTS), EVENTS)
    [topic] = make_topics("payment.charged")
    admin = Admin(broker.bootstrap_servers)
    admin.produce_many([caused(codec, b"payment-service", CHARGED, CAUSE)._replace(topic=topic)])
    [ours] = admin.read(topic)
    yield Place(admin, broker.bootstrap_servers, topic, registry, codec, ours)
    registry.stop()


class Renamed:
    """A message as if it lay on the event's own topic: many tests share a broker."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def topic(self) -> str:
        return PaymentCharged.topic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)


def read_by_us(message: Message, codec: Codec) -> TrackedEvent:
    """By the codec of the workers, and by the tracker; return what that keeps."""
    record = record_of(message)
    assert codec.decode(PaymentCharged.topic, record.key, record.value, record.headers) == CHARGED
    row = TrackerIntake(codec).row(Renamed(message))
    assert isinstance(row, TrackedEvent), row
    return row


def test_fastavro_alone_reads_our_record_and_we_read_its(place):
    """Five bytes of frame, then a body of the released schema; a writer without CloudEvents headers is read, too."""
    value = place.ours.value()
    magic, schema_id = FRAME.unpack_from(value)
    text = place.registry.answer("GET", ["schemas", "ids", str(schema_id)], {})["schema"]
    schema = fastavro.parse_schema(json.loads(text))
    body = BytesIO(value[FRAME.size :])
    assert magic == 0
    assert fastavro.schemaless_reader(body, schema) == CHARGED.to_avro()
    assert body.read() == b""
    written = BytesIO()
    fastavro.schemaless_writer(written, schema, CHARGED.to_avro())
    row = read_by_us(place.produce(value[: FRAME.size] + written.getvalue()), place.codec)
    assert (row.service, row.cause, row.schema_id) == ("", None, schema_id)


def test_the_cloudevents_sdk_reads_our_record_and_we_read_its(place):
    """Binary mode: the attributes in headers, the value as it is, the key as partitionkey."""
    record = record_of(place.ours)
    headers = {name: content.hex() for name, content in record.headers}
    event = sdk("read", {"headers": headers, "key": KEY, "value": record.value.hex()})
    assert bytes.fromhex(event["data"]) == record.value
    del event["attributes"]["time"]  # the SDK's own, when it reads what has none; ours is the record's timestamp
    assert event["attributes"] == {
        "specversion": "1.0",
        "type": "payment.charged",
        "source": "payment-service",
        "id": f"payment.charged<{CAUSE}",
        "causationid": CAUSE,
        "datacontenttype": "application/avro",
        "partitionkey": KEY,
    }
    written = sdk("write", event)
    assert written["key"] == KEY
    made: Headers = [(name, bytes.fromhex(content)) for name, content in written["headers"].items()]
    row = read_by_us(place.produce(bytes.fromhex(written["value"]), made), place.codec)
    assert (row.service, row.cause) == ("payment-service", CAUSE)


def sdk(what: str, document: dict[str, Any]) -> Any:
    try:
        packages = installed("cloudevents-2.2.0", *CLOUDEVENTS)
    except Missing as why:
        do_without("CloudEvents SDK", why)
    command = [sys.executable, str(SDK), what]
    environment = {"PYTHONPATH": str(packages)}
    done = subprocess.run(
        command, input=json.dumps(document), capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_java_consumer_reads_our_record_and_we_read_what_java_writes(place, tmp_path):
    """By Apache Avro and the registry; its own schema annotates ids as uuid and lies in another namespace."""
    [line] = java("read", place.servers, place.registry.url, place.topic).splitlines()
    read = json.loads(line)
    assert json.loads(read["value"]) == CHARGED.to_avro()
    assert (read["key"], read["ce_type"], read["ce_causationid"]) == (KEY, "payment.charged", CAUSE)
    schema = json.loads(PaymentCharged.schema_text) | {"namespace": "com.shop.payments"}
    next(field for field in schema["fields"] if field["name"] == "order_id")["type"] = UUID_TEXT
    file = tmp_path / "PaymentCharged.avsc"
    file.write_text(json.dumps(schema))
    java("write", place.servers, place.registry.url, place.topic, KEY, str(file), json.dumps(CHARGED.to_avro()))
    read_by_us(place.other(), place.codec)


def java(*arguments: str) -> str:
    try:
        return TEAM.run(*arguments)
    except Missing as why:
        do_without("Java team", why)


def test_kcat_reads_our_record_and_we_read_what_it_writes(place, tmp_path):
    """Byte for byte, keys and headers too."""
    if shutil.which("kcat") is None:
        do_without("kcat", "it is not installed")
    at = ("-b", place.servers, "-t", place.topic)
    read = ["kcat", "-C", *at, "-e", "-q", "-X", "isolation.level=read_committed", "-f"]
    value = subprocess.run([*read, "%s"], capture_output=True, check=True).stdout
    assert value == place.ours.value()
    shown = subprocess.run([*read, "%k %h"], capture_output=True, text=True, check=True).stdout
    key, _, listed = shown.partition(" ")
    headers = dict(header.split("=", 1) for header in listed.split(","))
    assert (key, headers["ce_id"]) == (KEY, f"payment.charged<{CAUSE}")
    file = tmp_path / "value"
    file.write_bytes(value)
    given = [part for name, content in headers.items() for part in ("-H", f"{name}={content}")]
    write = ["kcat", "-P", *at, "-X", "topic.partitioner=murmur2_random", "-k", KEY, *given, str(file)]
    subprocess.run(write, check=True, capture_output=True)
    row = read_by_us(place.other(), place.codec)
    assert (row.service, row.cause) == ("payment-service", CAUSE)
