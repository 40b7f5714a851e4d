"""The saga of a module: its own broker, its own databases, worker processes that its tests start and end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from saga.kafka.topics_file import read_topics
from tests.conftest import do_without
from tests.support.brokers.kafka_node import Broker
from tests.support.chromium import NoChromium, Tab, chromium
from tests.support.registries.small_registry import SmallRegistry
from tests.support.saga import SERVICES, Saga

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


@pytest.fixture
def own_saga(fresh_broker: Broker, tmp_path: Path) -> Iterator[Saga]:
    """A saga for one test: of its topics, groups and databases nothing is left afterwards. Its provider is slow."""
    provider = f"simulated:///{tmp_path}/provider.db?latency-ms=200&timeout-ms=1000"
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers, PAYMENT_GATEWAY=provider)
    saga.make_topics(PARTITIONS)
    yield saga
    saga.close()
    saga.admin.remove([*(topic.name for topic in read_topics()), *(name.replace("_", "-") for name in SERVICES)])


@pytest.fixture
def small_registry() -> Iterator[SmallRegistry]:
    """A registry that can go away; it knows nothing yet."""
    registry = SmallRegistry().start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A Chromium for the module."""
    try:
        with chromium(tmp_path_factory.mktemp("chromium")) as tab:
            yield tab
    except NoChromium as why:
        do_without("Chromium", why)
