"""The saga of a module: its own broker, its own databases, worker processes that its tests start and end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kafka_node import Broker
from tests.support.saga import Saga

PARTITIONS = 4


@pytest.fixture(scope="module")
def saga(fresh_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saga]:
    """A saga with topics and nothing running yet. Charges above 200.00 are declined."""
    folder = tmp_path_factory.mktemp("saga")
    provider = f"simulated:///{folder}/provider.db?decline-above=20000"
    saga = Saga(folder, fresh_broker.bootstrap_servers, PAYMENT_GATEWAY=provider)
    saga.make_topics(PARTITIONS)
    yield saga
    saga.close()
