"""`saga flow --format asyncapi` is valid by the specification's own schema and leads to the .avsc files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from saga.flow.formats.asyncapi import as_asyncapi
from saga.flow.model import Flow
from tests.conftest import do_without
from tests.contract.test_choreography import SERVICES
from tests.support.brokers.maven import Missing
from tests.support.npm import package

ROOT = Path(__file__).parents[2]
FLOW = Flow.of(SERVICES)
DOCUMENT: dict[str, Any] = yaml.safe_load(as_asyncapi(FLOW))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    """AsyncAPI's own JSON Schema of its version 3.1, as AsyncAPI publishes it."""
    try:
        specs = package("@asyncapi/specs", "6.11.1")
    except Missing as why:
        do_without("AsyncAPI schema", why)
    schema = json.loads((specs / "schemas" / "3.1.0-without-$id.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema)


def test_it_is_valid_by_asyncapis_own_schema(validator: jsonschema.Draft7Validator) -> None:
    """With the Kafka bindings."""
    assert [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(DOCUMENT)] == []


@pytest.mark.parametrize(
    "break_it",
    [
        lambda document: document.pop("info"),
        lambda document: document["operations"]["payment-service.send.payment.charged"].update(action="shout"),
        lambda document: document["channels"]["payment.charged"]["bindings"]["kafka"].update(partitions="many"),
    ],
)
def test_the_schema_would_find_a_defect(validator: jsonschema.Draft7Validator, break_it) -> None:  # type: ignore[no-untyped-def]
    """In the document, in an operation, in a binding: so that being valid means something."""
    broken = yaml.safe_load(as_asyncapi(FLOW))
    break_it(broken)
    assert list(validator.iter_errors(broken))


def test_every_reference_leads_somewhere() -> None:
    """Inside the document, and to the contract of each event."""
    references = [value for name, value in walk(DOCUMENT) if name == "$ref"]
    assert len(references) == 2 * len(FLOW.events) + 2 * len(DOCUMENT["operations"])
    for reference in references:
        if reference.startswith("#/"):
            found: Any = DOCUMENT
            for part in reference.removeprefix("#/").split("/"):
                found = found[part]
        else:
            assert json.loads((ROOT / reference).read_text(encoding="utf-8"))["type"] == "record"


def test_every_service_sends_and_receives_what_it_declares() -> None:
    """One operation for each event that a service publishes or hears."""
    said = {f"{s.service}.send.{event}" for s in FLOW.services for event in s.publishes}
    heard = {f"{s.service}.receive.{event}" for s in FLOW.services for event in s.consumes}
    assert set(DOCUMENT["operations"]) == said | heard


def walk(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in ((name, inner), *walk(inner))]
    return [pair for inner in value for pair in walk(inner)] if isinstance(value, list) else []
