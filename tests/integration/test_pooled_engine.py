"""A worker whose database is behind PgBouncer: exactly once, whoever is killed."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.contract.test_pooler import pooler_before
from tests.support.brokers.kafka_node import Broker
from tests.support.databases import postgres as servers
from tests.support.databases.pgbouncer import PgBouncer
from tests.support.engines import Crash, Playground, playground_of


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, postgres: servers.Server) -> Iterator[PgBouncer]:
    with pooler_before(postgres, request.param) as pooler:
        yield pooler


@pytest.fixture
def pooled(broker: Broker, pooler: PgBouncer, postgres: servers.Server) -> Iterator[Playground]:
    """A playground on a database behind the pooler."""
    name = servers.create_database(postgres.port)
    playground = playground_of(broker.bootstrap_servers, pooler.url(name))
    yield playground
    playground.close()
    servers.drop_database(postgres.port, name)


@pytest.mark.parametrize("step", ["before database commit", "after database commit", "committed"])
def test_a_killed_worker_behind_a_pooler_loses_and_repeats_nothing(pooled: Playground, step: str) -> None:
    first = pooled.worker()
    pooled.turn_until(lambda: first.ready() == 4)
    pooled.send(range(100))
    first.crash_at(step)
    with pytest.raises(Crash):
        pooled.turn_until(lambda: False)
    pooled.abandon(first)
    pooled.worker()
    pooled.send(range(100))
    pooled.settle(200)
    pooled.assert_exactly_once(200)


def test_connections_and_poolers_may_be_killed(pooled: Playground, pooler: PgBouncer, postgres: servers.Server) -> None:
    """The server ends every connection of the pool, then the pooler is killed and started again, while two work."""
    for instance in ("one", "two"):
        pooled.worker(instance)
    pooled.turn_until(lambda: sum(worker.ready() for worker in pooled.workers) == 4)
    name = pooled.url.rpartition("/")[2]
    ends = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
    )
    for round_ in range(4):
        pooled.send(range(100))
        pooled.turn_until(lambda number=100 * round_: len(pooled.pongs()) > number)
        if round_ % 2:
            pooler.kill()
            for _ in range(10):
                for worker in pooled.workers:
                    worker.engine.run_once()
            pooler.start()
        else:
            with psycopg.connect(servers.url(postgres.port), autocommit=True) as admin:
                admin.execute(ends, (name,))
    pooled.settle(400)
    pooled.assert_exactly_once(400)
