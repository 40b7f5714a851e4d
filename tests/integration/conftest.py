"""Engines on the real broker and both databases, and the saga's topics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas import EVENTS
from tests.conftest import free_of_the_saga
from tests.support.brokers.admin import Admin
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import Playground, playground_of
from tests.support.models.saga_model import PARTITIONS


@pytest.fixture
def playground(broker: Broker, database_url: str) -> Iterator[Playground]:
    """Two partitions of ping, pang and pong, and a service that tallies, on each database."""
    playground = playground_of(broker.bootstrap_servers, database_url)
    yield playground
    playground.close()


@pytest.fixture(scope="session")
def fresh_broker() -> Iterator[Broker]:
    """One for all that is here: who makes the saga's topics removes them, see `topics`; groups stay."""
    yield from free_of_the_saga()


@pytest.fixture
def topics(fresh_broker: Broker) -> Iterator[str]:
    """The saga's topics, empty, on a broker of which this is the address."""
    admin, names = Admin(fresh_broker.bootstrap_servers), [event.topic for event in EVENTS]
    admin.create(names, PARTITIONS)
    yield fresh_broker.bootstrap_servers
    admin.remove(names)


@pytest.fixture
def sqlite_playground(broker: Broker, tmp_path: object) -> Iterator[Playground]:
    """The same on SQLite only, where the database makes no difference."""
    playground = playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db")
    yield playground
    playground.close()
