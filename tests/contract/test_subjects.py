"""Whatever the subjects of the events' schemas in a registry: they are registered, checked, written and read there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO

import fastavro
import pytest
from click.testing import CliRunner, Result

from eventbus import Codec
from eventbus.avro_schema import written_with
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import UnknownSchema, registry_at
from eventbus.serde.subjects import BadSubject, Subjects
from saga.__main__ import main
from schemas import EVENTS, PaymentCharged
from tests.support.registries.small_registry import SmallRegistry

CHARGED = PaymentCharged("o-1", "p-1", 1_000, "USD")
KIND = {"type": "enum", "name": "Kind", "namespace": "shop", "symbols": ["CARD"]}
TEMPLATES = {
    "{topic}-value": "payment.charged-value",
    "{record}": "saga.events.PaymentCharged",
    "{topic}-{record}": "payment.charged-saga.events.PaymentCharged",
    "prod.{topic}-value": "prod.payment.charged-value",
    ":.shop:{topic}-value": ":.shop:payment.charged-value",
    ":.shop:{record}": ":.shop:saga.events.PaymentCharged",
}


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    registry = SmallRegistry().start()
    yield registry
    registry.stop()


@pytest.fixture
def run(registry: SmallRegistry) -> Callable[..., Result]:
    environment = {"SCHEMA_REGISTRY_URL": registry.url, "SCHEMA_SUBJECT": None}
    return lambda *arguments: CliRunner().invoke(main, arguments, env=environment)


@pytest.mark.parametrize("template", TEMPLATES)
def test_schemas_are_registered_checked_written_and_read_there(registry, run, template):
    """With another team's additions in the same context: a version of its own, and its references."""
    subject = TEMPLATES[template]
    option = ("--schema-subject", template)
    assert run("schemas", "register", *option).exit_code == 0
    assert subject in registry.subjects
    assert len(registry.subjects) == len(EVENTS)
    assert run("schemas", "check", *option).exit_code == 0
    context = Subjects(template).context
    registry.register(f"{context}shop.Kind", json.dumps(KIND))
    theirs = json.loads(PaymentCharged.schema_text)
    theirs["fields"].append({"name": "kind", "type": "shop.Kind"})
    reference = {"name": "shop.Kind", "subject": "shop.Kind", "version": 1}
    schema_id = registry.register(f"{context}theirs", json.dumps(theirs), references=[reference])
    body = BytesIO()
    fastavro.schemaless_writer(body, written_with(theirs, [KIND]), CHARGED.to_avro() | {"kind": "CARD"})
    codec = Codec(registry_at(Subjects(template).put_behind(registry.url), EVENTS), EVENTS)
    for value in (codec.encode(CHARGED), FRAME.pack(0, schema_id) + body.getvalue()):
        assert codec.decode("payment.charged", b"o-1", value) == CHARGED


def test_schemas_that_are_elsewhere_are_missed_under_the_subject_that_was_looked_at(registry, run):
    """The message shows the wrong one."""
    assert run("schemas", "register", "--schema-subject", "{record}").exit_code == 0
    with pytest.raises(UnknownSchema, match=r"payment\.charged under payment\.charged-value"):
        registry_at(registry.url, [PaymentCharged]).id_of(PaymentCharged)
    missing = run("schemas", "check")
    assert missing.exit_code == 1
    assert "is not in payment.charged-value" in missing.stdout


@pytest.mark.parametrize("template", ["", "value", "{topics}", "{topic}{", "{topic} value", "{topic}#x", "{0}"])
def test_a_template_that_cannot_be_right_is_refused(run, template):
    """Every event needs a subject of its own; the message shows examples."""
    with pytest.raises(BadSubject):
        Subjects(template)
    refused = run("schemas", "check", "--schema-subject", template)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "{topic}-value" in refused.stderr


def test_a_url_with_a_fragment_is_refused_where_it_is_given(run):
    """It is how subjects are passed with the URL internally, and not for users."""
    refused = run("schemas", "check", "--schema-registry-url", "http://localhost:8081#{record}")
    assert refused.exit_code == 2
    assert "--schema-subject" in refused.stderr


@pytest.mark.parametrize(
    ("more", "text", "why"),
    [
        ({"schemaType": "JSON"}, "{}", "of the type JSON"),
        ({}, '"string"', "not a record"),
        ({"references": [{"name": "X", "subject": "X", "version": 1}]}, PaymentCharged.schema_text, "refers to X"),
    ],
)
def test_a_version_that_is_none_of_ours_is_a_problem_and_no_traceback(registry, run, more, text, why):
    """Other schemas that were registered under a subject of ours."""
    assert run("schemas", "register").exit_code == 0
    registry.register("payment.charged-value", text.replace("amount", "sum"), **more)
    checked = run("schemas", "check", "--json")
    [problem] = json.loads(checked.stdout)["problems"]
    assert (checked.exit_code, problem["rule"]) == (1, "not a usable schema")
    assert why in problem["detail"]
