"""A schema registry that is somebody else's, with an ingress in front of it: what it says, what it does not say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka.schema_registry import Schema

from eventbus.serde.codec import FRAME
from eventbus.serde.confluent_registry import registry_client
from schemas import IDS
from tests.support.registries.ingress import NO_BACKEND, NOT_THE_REGISTRYS, Ingress, only
from tests.support.registries.small_registry import SmallRegistry
from tests.support.saga import SESSION, Saga
from tests.support.saga.bad_records import BODY, KEY
from tests.support.saga.processes import Worker

OLDER = (IDS.parent / "released" / "order.created.v1.avsc").read_text(encoding="utf-8")
STARTS = ("an ingress without a backend", "403 in HTML", "a redirect to a login", "200 and a login", "204")
LINE = '{"request_id":"a-1","customer_id":"42","total":1,"currency":"USD","items":[{"sku":"cd-1","quantity":1}]}\n'
PLACE = ("place", "--customer", "1", "--total", "1", "--item", "cd-1=1")


@pytest.fixture
def ingress(own_saga: Saga, small_registry: SmallRegistry) -> Iterator[Ingress]:
    """What the saga takes for its registry, with every released schema."""
    with Ingress(small_registry.url) as ingress:
        own_saga.env["SCHEMA_REGISTRY_URL"] = ingress.url
        assert own_saga.run("saga", "schemas", "register").code == 0
        yield ingress
        own_saga.workers.kill_all()


def of_an_older_version(ingress: Ingress) -> bytes:
    """Return an order.created of the first version, which no worker has read yet."""
    registered = registry_client(ingress.url).lookup_schema("order.created-value", Schema(OLDER, "AVRO"))
    return FRAME.pack(0, registered.schema_id) + BODY


def until_said(saga: Saga, worker: Worker, words: str) -> None:
    saga.until(lambda: any(words in line["why"] for line in worker.events("waiting")), f"nobody said {words!r}")


def test_whatever_its_address_answers_a_worker_that_starts_waits_for_the_registry(
    own_saga: Saga, ingress: Ingress
) -> None:
    """One after another, to one worker; each is said. Then the registry is there, and so is the worker."""
    ingress.answers(NO_BACKEND)
    worker = own_saga.start("payment_service", *SESSION)
    for what in STARTS:
        reply = NOT_THE_REGISTRYS[what]
        ingress.answers(reply)
        until_said(
            own_saga, worker, f"HTTP {reply.status}" if reply.status >= 300 else "invalid answer of the schema registry"
        )
    assert worker.running
    ingress.answers(None)
    worker.wait_ready()


def test_an_ingress_without_a_backend_makes_no_good_record_a_dead_letter(own_saga: Saga, ingress: Ingress) -> None:
    """Of a version that the worker has not read yet: it waits, its partition by name, and nothing else does."""
    worker = own_saga.start("payment_service", *SESSION)
    worker.wait_ready()
    older = of_an_older_version(ingress)
    ingress.answers(NO_BACKEND)
    own_saga.admin.produce("order.created", KEY, older, partition=2)
    own_saga.until(lambda: worker.get("/readyz")[0] == 503, "it was ready all the time")
    why = worker.get("/readyz")[1]
    assert "order.created/2 waits at offset 0 for a schema" in why
    assert "HTTP 404 (that is not the registry's own answer" in why
    assert [line["partition"] for line in worker.events("partition.paused")] == ["order.created/2"]
    known = own_saga.run("order_service", *PLACE)
    assert known.code == 1, "nor is an order placed with an id that nobody can look up"
    assert "HTTP 404" in known.stderr
    assert worker.get("/livez") == (200, "ok\n")
    ingress.answers(None)
    own_saga.until(lambda: worker.ready, "it did not go on")
    own_saga.until(lambda: len(own_saga.records("payment.charged")) == 1, "the record was not handled")
    assert own_saga.records("payment-service.dead-letters") == []


def test_who_is_not_let_in_ends_at_start_and_waits_once_it_has_worked(own_saga: Saga, ingress: Ingress) -> None:
    """With the code of a wrong password of PostgreSQL's. A new token is read from its file under a running worker."""
    file = own_saga.folder / "registry.properties"
    file.write_text("bearer.auth.token = first\n")
    own_saga.env["SCHEMA_REGISTRY_CONFIG_FILE"] = str(file)
    older = of_an_older_version(ingress)
    ingress.instead = only("Bearer first")
    worker = own_saga.start("payment_service", *SESSION)
    worker.wait_ready()
    ingress.instead = only("Bearer second")
    other = own_saga.start("inventory_service", *SESSION)
    assert other.wait() == 1
    assert "user, password or token are wrong or missing" in other.log.splitlines()[-1]
    own_saga.admin.produce("order.created", KEY, older, partition=2)
    until_said(own_saga, worker, "user, password or token are wrong or missing")
    assert worker.running
    file.write_text("bearer.auth.token = second\n")
    own_saga.until(lambda: len(own_saga.records("payment.charged")) == 1, "the record was not handled")


def test_nobody_places_orders_with_the_ids_of_another_source(own_saga: Saga, ingress: Ingress) -> None:
    """What a worker of the service writes with is remembered: no registry, and another one, are refused."""
    own_saga.start("order_service", *SESSION).wait_ready()
    url = own_saga.env.pop("SCHEMA_REGISTRY_URL")
    refused = own_saga.run("order_service", *PLACE)
    assert refused.code == 1
    assert "order-service uses the ids of a schema registry, but none is configured" in refused.stderr
    assert refused.stderr.count("\n") == 1
    imported = own_saga.run("order_service", "import", "-", stdin=LINE)
    assert imported.code == 1
    assert "uses the ids of a schema registry" in imported.stderr
    other = SmallRegistry().start()
    other.publish(OLDER)  # so that its ids are others
    own_saga.env["SCHEMA_REGISTRY_URL"] = other.url
    assert own_saga.run("saga", "schemas", "register").code == 0
    refused = own_saga.run("order_service", *PLACE)
    assert refused.code == 1
    assert "this is not the schema registry that order-service uses" in refused.stderr
    second = own_saga.start("order_service", *SESSION, instance="b")
    assert second.wait() == 3
    other.stop()
    own_saga.env["SCHEMA_REGISTRY_URL"] = url
    assert own_saga.ask("order_service", "list") == []
    assert own_saga.run("order_service", *PLACE).code == 0


def test_a_registry_is_refused_where_orders_were_placed_without_one(own_saga: Saga, ingress: Ingress) -> None:
    """By a worker: what waits to be published has ids that no reader could look up."""
    url = own_saga.env.pop("SCHEMA_REGISTRY_URL")
    assert own_saga.run("order_service", *PLACE).code == 0
    worker = own_saga.start("order_service", *SESSION, SCHEMA_REGISTRY_URL=url)
    assert worker.wait() == 3
    assert "order-service uses the schema ids that ship with the code, but a schema registry" in worker.log
