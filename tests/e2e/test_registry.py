"""The saga with a schema registry: its ids are on the records, and it is the one who says what is compatible."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from eventbus import Codec, PoisonRecord
from eventbus.serde.framing import FRAME, VALUE_HEADER
from eventbus.serde.registry import registry_at
from schemas import IDS, OrderConfirmed, OrderCreated
from tests.support.registries.apicurio import ApicurioRegistry
from tests.support.saga import SERVICES, Saga
from tests.support.saga.processes import PATIENCE

SUBJECT = "order.created-value"
INCOMPATIBLE = 409


def ask(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """Ask the registry as any client could."""
    data = json.dumps(body).encode() if body is not None else None
    kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, kind, method=method), timeout=PATIENCE) as answer:
        return json.load(answer)


@pytest.fixture
def empty(registry: ApicurioRegistry) -> str:
    """The URL of the registry, without any subject of the saga's."""
    for subject in ask(f"{registry.url}/subjects"):
        ask(f"{registry.url}/subjects/{subject}", method="DELETE")
    assert SUBJECT not in ask(f"{registry.url}/subjects")
    return registry.url


@pytest.fixture
def url(registry: ApicurioRegistry, saga: Saga) -> Iterator[str]:
    """The URL of the registry, with every released schema; nothing runs afterwards."""
    done = saga.run("saga", "schemas", "register", "--schema-registry-url", registry.url)
    assert done.code == 0, done
    yield registry.url
    saga.workers.kill_all()


@pytest.mark.parametrize("module", SERVICES)
def test_a_worker_does_not_start_before_its_schemas_are_registered(saga: Saga, empty: str, module: str) -> None:
    """Exit code 1, and the command that mends it is named."""
    worker = saga.start(module, "--schema-registry-url", empty)
    assert worker.wait() == 1
    assert "run `saga schemas register`" in worker.log.splitlines()[-1]


def test_registering_again_changes_nothing(saga: Saga, empty: str) -> None:
    """Every schema is `registered` once and `exists` ever after, with the same id and version."""
    register = ("schemas", "register", "--schema-registry-url", empty)
    first, second = saga.ask("saga", *register), saga.ask("saga", *register)
    assert {entry["status"] for entry in first} == {"registered"}
    assert len(first) == len(json.loads(IDS.read_text(encoding="utf-8")))
    assert second == [entry | {"status": "exists"} for entry in first]


def test_checking_finds_what_is_registered_and_what_is_not(saga: Saga, empty: str) -> None:
    """Exit 1 and every topic before, exit 0 and no problem after."""
    check = ("saga", "schemas", "check", "--json", "--schema-registry-url", empty)
    before = saga.run(*check)
    problems = json.loads(before.stdout)["problems"]
    assert before.code == 1
    assert {problem["rule"] for problem in problems} == {"not registered"}
    assert "order.created" in {problem["topic"] for problem in problems}
    assert saga.run("saga", "schemas", "register", "--schema-registry-url", empty).code == 0
    after = saga.run(*check)
    assert (after.code, json.loads(after.stdout)["problems"]) == (0, [])


def test_the_saga_runs_on_the_registrys_ids(saga: Saga, url: str) -> None:
    """An order is confirmed, and what is on the log carries the registry's id, not the one that ships with the code."""
    saga.env["SCHEMA_REGISTRY_URL"] = url
    try:
        saga.stock(cd_1=10)
        saga.start_all()
        placed = saga.place("cd-1=2")
        saga.settle("--schema-registry-url", url)
        (record,) = saga.records("order.created", placed["order_id"])
    finally:
        del saga.env["SCHEMA_REGISTRY_URL"]
    theirs = ask(f"{url}/subjects/{SUBJECT}", {"schema": OrderCreated.schema_text})["id"]
    assert placed["status"] == "confirmed"
    assert FRAME.unpack_from(record.value() or b"") == (0, theirs)
    assert theirs != registry_at(None, [OrderCreated]).id_of(OrderCreated)


@pytest.mark.parametrize("change", ["another type", "a new field without default"])
def test_the_registry_refuses_an_incompatible_change(url: str, change: str) -> None:
    """Registering made the subject FULL_TRANSITIVE: whoever tries it, the answer is 409 and nothing is kept."""
    schema = json.loads(OrderCreated.schema_text)
    if change == "another type":
        next(field for field in schema["fields"] if field["name"] == "total")["type"] = "string"
    else:
        schema["fields"].append({"name": "coupon", "type": "string"})
    versions = ask(f"{url}/subjects/{SUBJECT}/versions")
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{url}/subjects/{SUBJECT}/versions", {"schema": json.dumps(schema)})
    assert refused.value.code == INCOMPATIBLE
    assert ask(f"{url}/subjects/{SUBJECT}/versions") == versions


KIND = {"type": "enum", "name": "Kind", "namespace": "shop", "symbols": ["CARD", "CASH"]}
JSON_SCHEMA = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'


def test_what_another_team_registers_at_a_real_registry_is_read_or_named(url: str) -> None:
    """A schema that is made of another one, with ids as uuid; a JSON Schema, and a GUID, which it cannot look up."""
    theirs = json.loads(OrderConfirmed.schema_text) | {"namespace": "com.shop"}
    theirs["fields"] = [
        {"name": "order_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "kind", "type": "shop.Kind"},
    ]
    reference = {"name": "shop.Kind", "subject": "shop.Kind", "version": 1}
    ask(f"{url}/subjects/shop.Kind/versions", {"schema": json.dumps(KIND)})
    record = {"schema": json.dumps(theirs), "references": [reference]}
    schema_id = ask(f"{url}/subjects/com.shop.OrderConfirmed/versions", record)["id"]
    other = ask(f"{url}/subjects/other-value/versions", {"schema": JSON_SCHEMA, "schemaType": "JSON"})["id"]
    codec = Codec(registry_at(url, [OrderConfirmed]), [OrderConfirmed])
    body = b"\x06o-1\x02"
    assert codec.decode("order.confirmed", b"o-1", FRAME.pack(0, schema_id) + body) == OrderConfirmed("o-1")
    for value, headers, why in (
        (FRAME.pack(0, other) + body, [], "of the type JSON"),
        (body, [(VALUE_HEADER, b"\1" + bytes(16))], "too old to look up GUIDs"),
    ):
        with pytest.raises(PoisonRecord, match=why) as refused:
            codec.decode("order.confirmed", b"o-1", value, headers)
        assert refused.value.reason == "unsupported_schema"
