"""Whose schema ids a service writes with is remembered in its database, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from eventbus.database import Database, connect, retry_on_conflict
from eventbus.event import Event
from eventbus.serde.codec import Codec
from eventbus.serde.registry import registry_at
from eventbus.store.schema_source import OtherSchemaIds, agree
from tests.support.engines.sample import Pang, Ping, Pong

EVENTS = (Ping, Pang, Pong)
RELEASED = Codec(registry_at(None, EVENTS), EVENTS)


class Gives:
    """A registry that gives each event an id: its place among EVENTS, from `first` on."""

    def __init__(self, first: int) -> None:
        self._first = first

    def id_of(self, event: type[Event]) -> int:
        return self._first + EVENTS.index(event)

    def schema_of(self, schema_id: Any) -> dict[str, Any]:
        raise NotImplementedError


REGISTRY, SAME, OTHER = (Codec(Gives(first), EVENTS) for first in (100, 100, 200))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(connect(database_url, service="some-service", schema="")) as database:
        yield database


def agreed(database: Database, codec: Codec, *events: type[Event]) -> int:
    """Agree, and return how many schemas are remembered."""
    retry_on_conflict(database, lambda tx: agree(tx, codec, events, "some-service"))
    with database.snapshot() as tx:
        return len(tx.rows("select id from schema_id"))


@pytest.mark.parametrize("codec", [RELEASED, REGISTRY])
def test_who_has_the_same_ids_goes_on(database: Database, codec: Codec) -> None:
    """What is new is remembered, too: a new version of an event, say."""
    assert agreed(database, codec, Ping) == 1
    assert agreed(database, codec, Ping) == 1
    assert agreed(database, codec, Ping, Pong) == 2
    assert agreed(database, SAME if codec is REGISTRY else RELEASED, *EVENTS) == 3


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        (REGISTRY, RELEASED, "uses the ids of a schema registry, but none is configured: set SCHEMA_REGISTRY_URL"),
        (RELEASED, REGISTRY, "uses the schema ids that ship with the code, but a schema registry is configured: unset"),
        (REGISTRY, OTHER, "it assigned id 200 to the schema of ping, not 100"),
    ],
)
def test_who_has_others_is_refused_and_changes_nothing(database: Database, first: Codec, then: Codec, why: str) -> None:
    assert agreed(database, first, Ping) == 1
    with pytest.raises(OtherSchemaIds, match=why):
        agreed(database, then, Ping, Pong)
    assert agreed(database, first, Ping) == 1


def test_another_source_is_refused_for_an_event_that_nobody_has_written_yet(database: Database) -> None:
    """By where the ids come from; which ids they are cannot be compared."""
    agreed(database, REGISTRY, Ping)
    with pytest.raises(OtherSchemaIds):
        agreed(database, RELEASED, Pong)


def test_the_table_is_emptied_to_change_the_source(database: Database) -> None:
    """As docs/operating.md says."""
    agreed(database, RELEASED, Ping)
    with database.transaction() as tx:
        tx.execute("delete from schema_id")
    assert agreed(database, REGISTRY, Ping) == 1
