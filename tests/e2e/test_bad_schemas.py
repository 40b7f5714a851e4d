"""Records written with hostile schemas that somebody has put into the registry: dead letters, one each, no crash."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from eventbus.serde.codec import Codec
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import registry_at
from schemas import EVENTS, IDS
from tests.support.models.poured import (
    DEAD_LETTERS,
    PARTITIONS,
    Poured,
    assert_dead_lettered_once,
    assert_next_handled_within_a_second,
    pour,
)
from tests.support.registries.hostile_schemas import hostile
from tests.support.registries.small_registry import SmallRegistry
from tests.support.saga import SESSION, Saga
from tests.support.saga.bad_records import KEY, Bad, number, text
from tests.support.saga.processes import Worker

RELEASED = json.loads((IDS.parent / "released" / "order.created.v1.avsc").read_text(encoding="utf-8"))
ORDER = {
    "order_id": text(KEY),
    "customer_id": text(b"42"),
    "total": number(100),
    "currency": text(b"USD"),
    "items": number(1) + text(b"cd-1") + number(1) + number(0),
}
HOSTILE = hostile(RELEASED, ORDER, "total")


@pytest.fixture(scope="module")
def corpus(saga: Saga) -> Iterator[dict[str, Bad]]:
    """A record of each kind, with the id that the saga's registry gave to its schema."""
    registry = SmallRegistry().start()
    saga.env["SCHEMA_REGISTRY_URL"] = registry.url
    assert saga.run("saga", "schemas", "register").code == 0
    saga.codec = Codec(registry_at(registry.url, EVENTS), EVENTS)
    yield {
        name: Bad(FRAME.pack(0, registry.publish(kind.text)) + kind.body, kind.reason) for name, kind in HOSTILE.items()
    }
    registry.stop()


@pytest.fixture(scope="module")
def workers(saga: Saga, corpus: dict[str, Bad]) -> list[Worker]:
    """All three, with that registry."""
    saga.stock(cd_1=1_000)
    return saga.start_all(*SESSION)


@pytest.fixture(scope="module")
def poured(saga: Saga, workers: list[Worker], corpus: dict[str, Bad]) -> Poured:
    return pour(saga, corpus)


@pytest.mark.parametrize("topic", DEAD_LETTERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_record_of_a_hostile_schema_is_dead_lettered_once_as_it_was(poured, corpus, name, topic):
    for record in poured.bad[name]:
        assert_dead_lettered_once(record, poured.dead[topic], topic.removesuffix(".dead-letters"), corpus[name].reason)


def test_the_next_good_record_is_handled_within_a_second(poured, corpus):
    assert_next_handled_within_a_second(poured, corpus)


def test_no_worker_has_ended_and_nothing_else_is_dead_lettered(poured, corpus, workers, saga):
    assert [len(letters) for letters in poured.dead.values()] == [PARTITIONS * len(corpus)] * 2
    assert all(worker.running for worker in workers)
    assert saga.settle()["orders"] == len(corpus)
