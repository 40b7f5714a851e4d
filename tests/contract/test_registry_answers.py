"""Which answers of a registry are about a schema, and which are not: with a small registry, and with Apicurio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka.schema_registry import Schema

from eventbus.serde.confluent_registry import UNKNOWN_SECONDS, ConfluentRegistry, registry_client
from eventbus.serde.registry import RegistryAuthenticationFailed, RegistryUnavailable, UnknownSchema
from tests.support.engines.sample import Pang, Ping, Pong
from tests.support.registries.ingress import NOT_THE_REGISTRYS, UNAUTHORIZED, Ingress, Reply
from tests.support.registries.small_registry import SmallRegistry

NOBODYS = 4_000_000


@pytest.fixture(params=["small", "apicurio"])
def upstream(request: pytest.FixtureRequest) -> Iterator[str]:
    """A registry in which Ping has an id; the subject of Pang has another schema, that of Pong does not exist."""
    small = SmallRegistry().start() if request.param == "small" else None
    url = small.url if small else request.getfixturevalue("registry").url
    client = registry_client(url)
    client.register_schema("ping-value", Schema(Ping.schema_text, "AVRO"))
    client.register_schema("pang-value", Schema(Pang.schema_text.replace('"number"', '"another"'), "AVRO"))
    yield url
    if small:
        small.stop()


@pytest.fixture
def ingress(upstream: str) -> Iterator[Ingress]:
    with Ingress(upstream) as ingress:
        yield ingress


def test_only_the_registry_says_that_something_is_not_there(ingress: Ingress) -> None:
    """No such id, no such subject, no such schema under a subject."""
    registry = ConfluentRegistry(ingress.url)
    with pytest.raises(UnknownSchema, match=f"does not have schema id {NOBODYS}"):
        registry.schema_of(NOBODYS)
    for event in (Pang, Pong):
        with pytest.raises(UnknownSchema, match=rf"the schema of {event.topic} under \S+: run `saga schemas register`"):
            registry.id_of(event)


@pytest.mark.parametrize("question", ["a schema", "an id"])
@pytest.mark.parametrize("what", NOT_THE_REGISTRYS)
def test_whatever_else_is_answered_says_nothing_about_a_schema(ingress: Ingress, what: str, question: str) -> None:
    """The registry is unavailable; as soon as it answers again, the same client works."""
    registry, known = ConfluentRegistry(ingress.url), ConfluentRegistry(ingress.url).id_of(Ping)
    ask = {"a schema": lambda: registry.schema_of(known)["name"], "an id": lambda: registry.id_of(Ping)}[question]
    ingress.answers(NOT_THE_REGISTRYS[what])
    for _ in range(2):
        with pytest.raises(RegistryUnavailable) as away:
            ask()
        assert not isinstance(away.value, RegistryAuthenticationFailed)
        assert "schema registry" in str(away.value)
    ingress.answers(None)
    assert ask() == {"a schema": Ping.schema["name"], "an id": known}[question]


def test_a_long_answer_is_not_quoted_as_a_whole(ingress: Ingress) -> None:
    ingress.answers(Reply(503, "text/html", b"<html>" + b"x" * 100_000))
    with pytest.raises(RegistryUnavailable, match="HTTP 503") as away:
        ConfluentRegistry(ingress.url).id_of(Ping)
    assert len(str(away.value)) < 500


def test_who_is_not_let_in_is_told_so(ingress: Ingress) -> None:
    ingress.answers(UNAUTHORIZED)
    with pytest.raises(
        RegistryAuthenticationFailed, match=r"HTTP 401 \(user, password or token are wrong or missing\)"
    ):
        ConfluentRegistry(ingress.url).id_of(Ping)


def test_about_an_unknown_id_it_is_asked_once_in_a_while(ingress: Ingress) -> None:
    """Whatever the number of its records; and again later, since it may have been registered."""
    now = 0.0
    registry = ConfluentRegistry(ingress.url, clock=lambda: now)
    for asked in (1, 2):
        for _ in range(50):
            with pytest.raises(UnknownSchema):
                registry.schema_of(NOBODYS)
        assert len(ingress.seen) == asked
        now += UNKNOWN_SECONDS


def test_that_it_was_away_is_not_remembered(ingress: Ingress) -> None:
    registry = ConfluentRegistry(ingress.url)
    ingress.answers(NOT_THE_REGISTRYS["503 in HTML"])
    with pytest.raises(RegistryUnavailable):
        registry.schema_of(NOBODYS)
    ingress.answers(None)
    with pytest.raises(UnknownSchema):
        registry.schema_of(NOBODYS)
