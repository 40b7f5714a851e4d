"""A person cancels an order, before, while and after it is charged: on a real broker, with the three real workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers.kafka_node import Broker
from tests.support.saga import SERVICES, Saga, headers_of

pytestmark = pytest.mark.quick

BY_A_PERSON = ("--by", "ann", "--reason", "ordered twice")


@pytest.fixture(params=["sqlite", "postgresql"])
def saga(request: pytest.FixtureRequest, fresh_broker: Broker, tmp_path: Path) -> Iterator[Saga]:
    """A saga for one test on each kind of database; plenty of cd-1."""
    databases = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        databases = {f"{service.upper()}_DATABASE": url for service in SERVICES}
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers, **databases)
    saga.make_topics(2)
    saga.stock(cd_1=100)
    yield saga
    saga.close()
    saga.remove_topics()
    saga.admin.remove([name.replace("_", "-") for name in SERVICES])


def cancel(saga: Saga, order_id: str, *more: str) -> dict[str, Any]:
    return saga.ask("order_service", "cancel", order_id, *BY_A_PERSON, *more)  # type: ignore[no-any-return]


def money(saga: Saga) -> dict[str, int]:
    books = saga.ask("payment_service", "ledger")
    assert books["service"] == books["provider"]
    return books["service"].get("USD", {"charged": 0, "refunded": 0, "net": 0})  # type: ignore[no-any-return]


def test_an_order_that_was_set_aside_is_cancelled_and_everything_is_given_back(saga: Saga) -> None:
    """Money and goods: payment.refunded and inventory.released follow from the one order.cancelled, which is a root."""
    order_id = placed_and_charged(saga)
    saga.start("inventory_service").wait_ready()
    saga.until(lambda: saga.records("inventory.reserved", order_id), "nothing was set aside")
    cancelled = cancel(saga, order_id)
    assert (cancelled["status"], cancelled["repeated"]) == ("cancelled", False)
    assert cancelled["reason"] == "on request of ann: ordered twice"
    saga.start("order_service").wait_ready()
    again = cancel(saga, order_id, "--wait", "120")
    assert (again["repeated"], again["refunded"]) == (True, 2933)
    saga.settle()
    [record] = saga.records("order.cancelled", order_id)
    assert headers_of(record)["ce_id"] == f"order.cancelled/{order_id}"
    assert "ce_causationid" not in headers_of(record)
    assert len(saga.records("inventory.released", order_id)) == 1
    assert saga.records("order.confirmed", order_id) == []
    assert saga.shelf()["cd-1"]["reserved"] == 0
    assert money(saga) == {"charged": 2933, "refunded": 2933, "net": 0}


def placed_and_charged(saga: Saga) -> str:
    """Place an order and have it charged; then only the payment service runs."""
    saga.start("payment_service").wait_ready()
    placing = saga.start("order_service")
    placing.wait_ready()
    order_id: str = saga.place("cd-1=2", wait=0)["order_id"]
    saga.until(lambda: saga.records("payment.charged", order_id), "the order was not charged")
    placing.kill()
    return order_id
