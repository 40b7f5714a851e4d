"""`saga workers` says who runs how far behind each is, and why it waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers.kafka_node import Broker
from tests.support.saga import SESSION, Saga


@pytest.fixture
def saga(fresh_broker: Broker, tmp_path: Path) -> Iterator[Saga]:
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers)
    saga.make_topics(2)
    saga.stock(cd_1=100)
    yield saga
    saga.close()


def rows(saga: Saga) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in saga.ask("saga", "workers")["workers"]:
        found.setdefault(row["service"], []).append(row)
    return found


def test_workers_are_listed_with_what_they_have_not_handled(saga: Saga) -> None:
    """A service without a worker is named with the events that wait for one; markers of transactions do not count."""
    [nobody] = rows(saga)["payment-service"]
    assert (nobody["worker"], nobody["since"], nobody["partitions"], nobody["behind"]) == (None, None, 0, 0)
    orders = saga.start("order_service", *SESSION)
    orders.wait_ready()
    saga.import_orders("waiting", 20, "cd-1")
    saga.until(lambda: rows(saga)["payment-service"][0]["behind"] == 20, "the orders do not wait for payment")
    [running] = rows(saga)["order-service"]
    assert (running["worker"], running["partitions"], running["behind"]) == (
        "a",
        9,
        0,
    )  # 4 topics, and the resolutions of dead letters
    assert running["since"] is not None
    shown = saga.run("saga", "workers").stdout
    assert "payment-service" in shown
    assert "no worker" in shown

    for instance in ("a", "b"):
        saga.start("payment_service", instance=instance).wait_ready()
    saga.until(lambda: len(rows(saga)["payment-service"]) == 2, "the second worker is not listed")
    saga.until(lambda: sum(row["behind"] for row in rows(saga)["payment-service"]) == 0, "they did not catch up")
    both = rows(saga)["payment-service"]
    assert [row["worker"] for row in both] == ["a", "b"]
    assert sum(row["partitions"] for row in both) == 5

    # The provider answers nobody, so no order is parked: a worker says why it is behind, and soon no longer.
    assert saga.run("payment_service", "outage", "500").code == 0
    saga.place("cd-1=1", wait=0)
    saga.until(lambda: any("500" in row["waits_for"] for row in rows(saga)["payment-service"]), "nobody says why")
    assert rows(saga)["order-service"][0]["waits_for"] == ""
    assert " waits: " in saga.run("saga", "workers").stdout
    assert saga.run("payment_service", "outage", "over").code == 0
    saga.until(lambda: not any(row["waits_for"] for row in rows(saga)["payment-service"]), "it still says so")
    orders.terminate()
    saga.until(lambda: rows(saga)["order-service"][0]["worker"] is None, "its session did not end")
