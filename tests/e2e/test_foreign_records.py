"""A payment service of another team: its records confirm orders, and no tool stumbles over what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fastavro
import pytest

from eventbus import Codec
from eventbus.avro_schema import written_with
from eventbus.serde.framing import FRAME, VALUE_HEADER, Headers
from eventbus.serde.registry import registry_at
from schemas import EVENTS, PaymentCharged
from tests.support.registries.small_registry import SmallRegistry, guid_of
from tests.support.saga import SESSION, Saga

TOPIC, LETTERS = "payment.charged", "inventory-service.dead-letters"
REFERENCE = {"name": "shop.Kind", "subject": "shop.Kind", "version": 1}
KIND = {"type": "enum", "name": "Kind", "namespace": "shop", "symbols": ["CARD", "CASH"]}
UUID = {"type": "string", "logicalType": "uuid"}
MORE: dict[str, tuple[Any, Any, Any]] = {
    "kind": ("shop.Kind", "CASH", "CASH"),
    "trace": (["null", UUID], "no uuid", "no uuid"),
    "tax": ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\xff", "ÿ"),
    "period": ({"type": "fixed", "name": "Period", "size": 12, "logicalType": "duration"}, b"\x01" * 12, "\x01" * 12),
    "day": ({"type": "int", "logicalType": "date"}, -(2**31), -(2**31)),
    "at": ({"type": "long", "logicalType": "timestamp-micros"}, 2**63 - 1, 2**63 - 1),
    "rate": ("double", float("nan"), "NaN"),
    "rates": ({"type": "map", "values": "float"}, {"é\n": float("-inf")}, {"é\n": "-Infinity"}),
    "flag": ("boolean", True, True),
}
"""Fields that only they have: type, value, and how it is shown."""


def schema() -> dict[str, Any]:
    theirs = json.loads(PaymentCharged.schema_text) | {"namespace": "com.shop.payments"}
    for field in theirs["fields"]:
        if field["name"] in ("order_id", "payment_id"):
            field["type"] = UUID
    theirs["fields"] += [{"name": name, "type": of} for name, (of, _, _) in MORE.items()]
    return theirs


def body(charged: PaymentCharged) -> bytes:
    """Return what their Avro writes, which knows the meaning of no value."""
    written = BytesIO()
    values = charged.to_avro() | {name: value for name, (_, value, _) in MORE.items()}
    fastavro.schemaless_writer(written, written_with(schema(), [KIND]), values)
    return written.getvalue()


class Team:
    """The other team: its schemas in the registry, and what it writes."""

    def __init__(self, saga: Saga) -> None:
        self.saga, self.registry = saga, SmallRegistry().start()
        for event in EVENTS:
            self.registry.register(f"{event.topic}-value", event.schema_text)
        self.registry.register("shop.Kind", json.dumps(KIND))
        text = json.dumps(schema())
        self.schema_id = self.registry.register("com.shop.payments.PaymentCharged", text, references=[REFERENCE])
        self.json_id = self.registry.publish('{"type": "object"}', schemaType="JSON")

    def write(self, order_id: str, value: bytes, headers: Headers = (), key: bytes | None = None) -> None:
        self.saga.admin.produce(TOPIC, key or order_id.encode(), value, list(headers))


@pytest.fixture(scope="module")
def team(saga: Saga) -> Iterator[Team]:
    """The other team, with our order and inventory services running; no payment service of ours is."""
    team = Team(saga)
    saga.env["SCHEMA_REGISTRY_URL"] = team.registry.url
    saga.codec = Codec(registry_at(team.registry.url, EVENTS), EVENTS)
    saga.stock(cd_1=100)
    for module in ("order_service", "inventory_service"):
        saga.start(module, *SESSION).wait_ready()
    yield team
    team.registry.stop()


@pytest.fixture(scope="module")
def orders(team: Team) -> dict[str, str]:
    """Orders that they charged, by how their records name the schema, and one of which they wrote nothing good."""
    placed = {how: team.saga.place("cd-1=1", wait=0)["order_id"] for how in ("in front", "in a header", "never")}
    framed = FRAME.pack(0, team.schema_id)
    guid: Headers = [(VALUE_HEADER, b"\1" + guid_of(team.schema_id).bytes), ("raw", b"\xff"), ("raw", b"1")]
    for how, order_id in placed.items():
        value = body(PaymentCharged(order_id, order_id, 2_933, "USD"))
        if how == "in front":
            team.write(order_id, framed + value)
        elif how == "in a header":
            team.write(order_id, value, guid)
        else:
            team.write(order_id, framed + value, key=framed + bytes([2 * len(order_id)]) + order_id.encode())
            team.write(order_id, FRAME.pack(0, team.json_id) + value)
            team.write(order_id, value, [(VALUE_HEADER, b"\2")])
    return placed


def test_what_they_write_confirms_orders(team, orders):
    """Annotated, from another namespace, with a reference, in front and in a header."""
    for how in ("in front", "in a header"):
        team.saga.until(lambda: state(team.saga, orders[how]) == "confirmed", f"{how}: not confirmed")  # noqa: B023
    assert state(team.saga, orders["never"]) == "pending"


def state(saga: Saga, order_id: str) -> str:
    return str(saga.ask("order_service", "show", order_id)["status"])


def test_what_cannot_be_read_is_a_dead_letter_that_says_why(team, orders):
    """Three records, three reasons."""
    saga = team.saga
    saga.until(lambda: len(saga.records(LETTERS)) == 3, "no three dead letters")
    listed = saga.ask("saga", "deadletters", "list", "--group", "inventory-service")
    said = {letter["reason"]: letter["error"] for letter in listed}
    assert set(said) == {"key_framed", "unsupported_schema", "not_framed"}
    assert "StringSerializer" in said["key_framed"]
    assert "type JSON" in said["unsupported_schema"]
    assert VALUE_HEADER in said["not_framed"]


def strict(line: str) -> Any:
    """Return what a line of JSON says; JSON has no NaN."""
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_no_tool_stumbles_over_any_of_it(team, orders, tmp_path):
    """Every value is shown, on a line of JSON; what cannot be decoded is shown as bytes, and the rest goes on."""
    saga = team.saga
    saga.until(lambda: len(saga.records(LETTERS)) == 3, "no three dead letters")
    shown = [strict(line) for line in ran(saga, "tail", TOPIC, "--no-follow").splitlines()]
    extra = {name: form for name, (_, _, form) in MORE.items()}
    decoded = [line["value"] for line in shown if line["value"]]
    assert len(shown) == 5
    assert len(decoded) == 3  # of the framed key, too: the value is good
    assert all(value.items() >= extra.items() for value in decoded)
    letter = saga.records(LETTERS)[0]
    whole = ran(saga, "deadletters", "show", f"{LETTERS}/{letter.partition()}/{letter.offset()}")
    assert strict(whole)["reason"]
    export, log = tmp_path / "history.jsonl", tmp_path / "log.json"
    ran(saga, "audit", "export", str(export))
    lines = [strict(line) for line in export.read_text(encoding="utf-8").splitlines()]
    ids = {str(line.get("schema_id")) for line in lines if line.get("topic") == TOPIC}
    assert {str(team.schema_id), str(guid_of(team.schema_id))} <= ids
    ran(saga, "audit", "verify", str(export))
    ran(saga, "audit", "export", "--format", "ocel", str(log))
    strict(log.read_text(encoding="utf-8"))
    tracker = ("--tracker", str(tmp_path / "tracker.db"))
    ran(saga, "track", "--no-follow", *tracker)
    assert "was charged" in ran(saga, "show", orders["in a header"], *tracker)
    strict(ran(saga, "show", orders["in front"], "--json", *tracker))
    assert ran(saga, "violations", *tracker, code=1).count("undecodable") == 3


def ran(saga: Saga, *arguments: str, code: int = 0) -> str:
    done = saga.run("saga", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.code == code, done
    return done.stdout
