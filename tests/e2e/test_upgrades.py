"""Databases of release a2f560b, upgraded: this release goes on where that one was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.brokers.kafka_node import Broker
from tests.support.databases import frozen
from tests.support.saga import SERVICES, Saga


@pytest.fixture(params=["sqlite", "postgresql"])
def saga(fresh_broker: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Saga]:
    """The earlier release's databases and log; no worker runs."""
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers)
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        saga.env |= {f"{module.upper()}_DATABASE": url for module in SERVICES}
    saga.make_topics(1)
    frozen.write_log(saga.bootstrap_servers, request.param)
    for service, module in zip(frozen.SERVICES, SERVICES, strict=True):
        url = saga.env[f"{module.upper()}_DATABASE"]
        frozen.load(url, service)
        frozen.move_to(url, service, saga.bootstrap_servers)
    with closing(sqlite3.connect(tmp_path / "provider.db")) as books:
        books.executescript((frozen.FOLDER / request.param / "provider.sql").read_text(encoding="utf-8"))
    yield saga
    saga.close()
    saga.remove_topics()


def test_databases_of_an_earlier_release_are_refused_upgraded_and_go_on(saga: Saga) -> None:
    """What waited at each service is published once, the parked order ends, a new one too, and the laws hold.

    Of the discarded order inventory never heard, so it is pending, as it was.
    """
    kind = frozen.kind_of(saga.env["ORDER_SERVICE_DATABASE"])
    orders = frozen.log_of(kind)["orders"]
    for module in SERVICES:
        status = saga.run(module, "database", "status", "--json")
        if any(component["missing"] for component in json.loads(status.stdout)):
            assert status.code == 1
            refused = saga.start(module)
            assert refused.wait() == 1
            program = module.replace("_", "-")
            assert f"needs {json.loads(status.stdout)[0]['release']}: run `{program} database upgrade`" in refused.log
        upgraded = saga.run(module, "database", "upgrade")
        assert upgraded.code == 0, upgraded
        assert saga.run(module, "database", "status").code == 0
    saga.start_all()
    saga.stock(cd_1=50, bad_1=100)
    assert saga.place("cd-1=1")["status"] == "confirmed"
    saga.until(lambda: saga.pending() == 1, "not every order but the discarded one had ended")
    checked = saga.run("saga", "check", "--json")
    assert json.loads(checked.stdout)["violations"] == [], checked
    ends = {name: saga.ask("order_service", "show", order)["status"] for name, order in orders.items()}
    discarded = ends.pop("discarded")
    assert (set(ends.values()), discarded) == ({"confirmed"}, "pending")


def test_the_first_worker_upgrades_when_it_is_told_to(saga: Saga) -> None:
    saga.start_all("--upgrade-database")
    assert saga.place("cd-1=1")["status"] == "confirmed"
