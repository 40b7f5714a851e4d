"""A person cancels an order, before, while and after it is charged: on a real broker, with the three real workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers.kafka_node import Broker
from tests.support.saga import SERVICES, Saga, headers_of
from tests.support.saga.processes import Worker

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
    order_id, _ = placed_and_charged(saga)
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


def placed_and_charged(saga: Saga) -> tuple[str, Worker]:
    """Place an order and have it charged; then only the payment service runs, with the worker that is returned."""
    payment = saga.start("payment_service")
    payment.wait_ready()
    placing = saga.start("order_service")
    placing.wait_ready()
    order_id: str = saga.place("cd-1=2", wait=0)["order_id"]
    saga.until(lambda: saga.records("payment.charged", order_id), "the order was not charged")
    placing.kill()
    return order_id, payment


def test_an_order_that_is_cancelled_before_it_is_charged_costs_nothing(saga: Saga) -> None:
    """Payment and inventory hear of both at once, on two topics, in either order."""
    placing = saga.start("order_service")
    placing.wait_ready()
    orders = [saga.place("cd-1=1", wait=0)["order_id"] for _ in range(3)]
    for order_id in orders:
        assert cancel(saga, order_id)["status"] == "cancelled"
    saga.until(lambda: len(saga.records("order.cancelled")) == 3, "the cancellations were not published")
    assert {record.key() for record in saga.records("order.created")} == {order_id.encode() for order_id in orders}
    saga.start("payment_service").wait_ready()
    saga.start("inventory_service").wait_ready()
    saga.settle()
    assert money(saga)["net"] == 0
    assert saga.shelf()["cd-1"]["reserved"] == 0
    done = saga.run("order_service", "cancel", "no-such-order")
    assert (done.code, done.stdout) == (1, "")


def test_an_order_that_is_cancelled_while_the_outcome_of_its_charge_is_unknown_costs_nothing(saga: Saga) -> None:
    """The provider answers 500 meanwhile; the charge is not skipped: it is made and refunded, or its key is burnt."""
    assert saga.run("payment_service", "outage", "500").code == 0
    payment = saga.start("payment_service")
    payment.wait_ready()
    saga.start("order_service").wait_ready()
    order_id = saga.place("cd-1=2", wait=0)["order_id"]
    saga.until(lambda: payment.events("waiting"), "the provider was not asked")
    cancel(saga, order_id)
    saga.until(lambda: saga.records("order.cancelled", order_id), "the cancellation was not published")
    payment.kill()
    saga.start("payment_service", instance="b").wait_ready()
    saga.start("inventory_service").wait_ready()
    assert saga.run("payment_service", "outage", "over").code == 0
    saga.settle()
    assert money(saga)["net"] == 0


def test_a_refund_that_the_provider_refuses_is_seen_and_made_when_it_is_accepted(saga: Saga) -> None:
    """The order is parked; show, list and a metric tell of it; other orders are refunded meanwhile."""
    order_id, payment = placed_and_charged(saga)
    assert saga.run("payment_service", "outage", "no-refunds", "--order", order_id).code == 0
    cancel(saga, order_id)
    saga.start("order_service").wait_ready()
    saga.start("inventory_service").wait_ready()
    pending = saga.until(lambda: saga.ask("payment_service", "list", "--refund-pending"), "no refund is pending")
    assert [(each["order_id"], each["amount"]) for each in pending] == [(order_id, 2933)]
    assert "refuses to refund" in pending[0]["parked"]["error"]
    assert "refuses to refund" in saga.run("payment_service", "show", order_id).stdout
    saga.until(lambda: blocked_at(payment, "order.cancelled") == 1, "the metric was not 1")
    other = saga.place("none=1")
    saga.until(lambda: saga.ask("order_service", "show", other["order_id"])["refunded"], "the other one waits")
    assert saga.run("payment_service", "outage", "over", "--order", order_id).code == 0
    assert cancel(saga, order_id, "--wait", "120")["refunded"] == 2933
    saga.settle()
    assert saga.ask("payment_service", "list", "--refund-pending") == []
    assert money(saga)["net"] == 0


def blocked_at(worker: Worker, topic: str) -> float:
    """Return how many keys are blocked at a topic's events; a worker counts them every second or so."""
    try:
        return worker.metric("saga_blocked_keys_by_topic", topic=topic)
    except LookupError:
        return 0


def test_a_refused_refund_of_a_charge_that_nobody_noted_is_seen_too(saga: Saga) -> None:
    """The answer to the charge was lost, then the order was cancelled: so it is its order.created that is parked."""
    deaf = saga.start("payment_service", PAYMENT_GATEWAY=f"{saga.env['PAYMENT_GATEWAY']}?lose-reply-rate=1")
    deaf.wait_ready()
    saga.start("order_service").wait_ready()
    saga.start("inventory_service").wait_ready()
    order_id = saga.place("cd-1=2", wait=0)["order_id"]
    saga.until(lambda: deaf.events("waiting"), "the provider was not asked")
    assert saga.run("payment_service", "outage", "no-refunds").code == 0
    cancel(saga, order_id)
    pending = saga.until(lambda: saga.ask("payment_service", "list", "--refund-pending"), "no refund is pending")
    assert [(each["order_id"], each["status"]) for each in pending] == [(order_id, "cancelled")]
    saga.until(lambda: blocked_at(deaf, "order.created") == 1, "the metric was not 1")
    deaf.kill()
    assert saga.run("payment_service", "outage", "over").code == 0
    saga.start("payment_service").wait_ready()
    assert cancel(saga, order_id, "--wait", "120")["refunded"] == 2933
    saga.settle()
    assert money(saga) == {"charged": 2933, "refunded": 2933, "net": 0}
