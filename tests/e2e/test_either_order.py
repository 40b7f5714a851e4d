"""Inventory hears of an order's items on one topic and of its money on another, in either order."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.saga import Saga

CONFIRMED = "select order_id from orders where status = 'confirmed'"


@pytest.fixture
def running(saga: Saga) -> Saga:
    """All three workers, and plenty of cd-1; all the money is heard of on one partition."""
    saga.admin.remove(["payment.charged"])
    saga.admin.create(["payment.charged"], 1)
    saga.stock(cd_1=100_000)
    saga.start_all("--kafka-config", "session.timeout.ms=30000")
    return saga


def test_the_items_and_the_money_may_come_to_inventory_in_either_order(running):
    """Both end the same way.

    The second of two inventory workers gets order.created of some partitions, and the first the only partition of
    payment.charged: while the second stands still, the money of these orders is heard of first.
    """
    second = running.start("inventory_service", "--kafka-config", "session.timeout.ms=300000", instance="b")
    second.wait_ready()
    theirs = {partition for line in second.events("partitions.assigned") for partition in line["partitions"]}
    assert any(partition.startswith("order.created/") for partition in theirs)
    assert not any(partition.startswith("payment.charged/") for partition in theirs)
    second.stop()
    before = dict(running.rows("inventory-service", "select order_id, status from reservation"))
    running.import_orders("arrival", 40, "cd-1")

    def heard_of():
        found = dict(running.rows("inventory-service", "select order_id, status from reservation"))
        new = {order_id: status for order_id, status in found.items() if order_id not in before}
        return new if len(new) == 40 and set(new.values()) <= {"reserved", "awaiting_items"} else None

    orders = running.until(heard_of, "inventory had not heard of every payment")
    charged_first = [order_id for order_id, status in orders.items() if status == "awaiting_items"]
    assert 0 < len(charged_first) < 40
    second.resume()
    running.settle()
    confirmed = {order_id for (order_id,) in running.rows("order-service", CONFIRMED)}
    assert set(orders) <= confirmed
    reserved = Counter(record.key().decode() for record in running.records("inventory.reserved"))
    assert {reserved[order_id] for order_id in orders} == {1}
