"""What the workers need goes away while orders flow, and comes back: nobody ends, nothing is lost, all is soon well.

`make outages` lets each last a minute. The broker's is in test_broker_outage.py.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.support.databases.postgres import Server
from tests.support.registries.small_registry import SmallRegistry
from tests.support.saga import Saga
from tests.support.saga.outages import Endured, busy
from tests.support.saga.processes import PATIENCE, Worker, command
from tests.support.saga.releases import earlier_release


def until_said(saga: Saga, workers: list[Worker], words: str) -> None:
    """Wait until somebody says, where people look, what is wrong."""
    lines = lambda: [line["why"] for worker in workers for line in worker.events("waiting")]  # noqa: E731
    saga.until(lambda: any(words in line for line in lines()), f"nobody said {words!r}")


def test_a_provider_that_answers_errors_or_nothing_is_asked_until_it_answers(own_saga: Saga) -> None:
    """It is no refusal: no order is cancelled for it, and nobody is charged twice."""
    workers = busy(own_saga)
    for answer, words in (("500", "answers 500"), ("429", "answers 429"), ("nothing", "has not answered for 1 s")):
        assert own_saga.run("payment_service", "outage", answer).code == 0
        outage = Endured(workers, 4)
        own_saga.import_orders(answer, 300, "cd-1")
        until_said(own_saga, workers, words)
        outage.wait()
        assert own_saga.pending() > 0
        assert own_saga.run("payment_service", "outage", "over").code == 0
        outage.over(own_saga)
    assert own_saga.summary().keys() == {"confirmed"}
    books = own_saga.ask("payment_service", "ledger")
    assert books["service"] == books["provider"]


def test_a_sqlite_file_that_somebody_locks_is_waited_for(own_saga: Saga) -> None:
    """A backup that takes too long, say: of the payment service's database."""
    workers = busy(own_saga)
    outage = Endured(workers, 4)
    file = own_saga.env["PAYMENT_SERVICE_DATABASE"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        own_saga.import_orders("meanwhile", 300, "cd-1")
        until_said(own_saga, workers, "database is locked")
        outage.wait()
        holder.execute("rollback")
    outage.over(own_saga)


def test_a_postgresql_that_is_away_is_waited_for(
    own_saga: Saga, postgres_url: str, request: pytest.FixtureRequest
) -> None:
    """All three services' at once; who wants to place an order meanwhile is told so."""
    server: Server = request.getfixturevalue("postgres")
    own_saga.env |= {name: postgres_url for name in own_saga.env if name.endswith("_DATABASE")}
    workers = busy(own_saga)
    outage = Endured(workers, 4)
    server.stop()
    try:
        until_said(own_saga, workers, "PostgreSQL: ")
        refused = own_saga.run("order_service", "place", "--customer", "1", "--total", "1", "--item", "cd-1=1")
        assert refused.code == 1
        assert "error: PostgreSQL: " in refused.stderr
        outage.wait()
    finally:
        server.start()
    outage.over(own_saga)


def test_without_a_registry_known_schemas_go_on_and_unknown_ones_wait(
    own_saga: Saga, small_registry: SmallRegistry
) -> None:
    """Away is not poison: orders of a version that these workers never read wait, all others end meanwhile."""
    new = own_saga.env | {"SCHEMA_REGISTRY_URL": small_registry.url}
    own_saga.env = new | {"PYTHONPATH": str(earlier_release(1, own_saga.folder / "old", knows_the_next=False))}
    check = ("--schema-registry-url", small_registry.url)
    register = command("saga", "schemas", "register", *check, env=new, folder=own_saga.folder)
    assert register.code == 0
    workers = busy(own_saga)
    workers[0].stop()  # what is placed now is published when it goes on
    own_saga.env, old = new, own_saga.env
    own_saga.import_orders("second version", 50, "cd-1")
    own_saga.env = old
    small_registry.stop()
    workers[0].resume()
    outage = Endured(workers, 4)
    until_said(own_saga, workers, "registry does not answer")
    own_saga.until(lambda: own_saga.pending() == 50, "known schemas did not go on")
    outage.wait()
    assert own_saga.pending() == 50
    small_registry.start()
    outage.over(own_saga, *check)
