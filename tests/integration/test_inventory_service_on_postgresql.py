"""The laws of the inventory service on a database hold on PostgreSQL as they do on SQLite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from eventbus.database import connect
from inventory_service.repository import SCHEMA, all_reservations, all_stock, set_on_hand
from inventory_service.service import InventoryService
from schemas import Item, OrderCreated, PaymentCharged
from tests.support.engines.stepping import deliver
from tests.unit.services.test_inventory_service import *  # noqa: F403 - the same laws on the other database

pytestmark = pytest.mark.quick

ORDERS = 300


@pytest.fixture
def database_url(postgres_url):
    return postgres_url


def test_two_workers_that_hear_the_two_halves_of_many_orders_at_once_reserve_each_once(database_url):
    """Rows are locked, and decisions never overwritten: every order is reserved by exactly one of the two."""
    items = (Item("a", 1), Item("b", 2))
    placed = [OrderCreated(f"o{n}", "customer", 1, "USD", items) for n in range(ORDERS)]
    paid = [PaymentCharged(f"o{n}", "p", 1, "USD") for n in range(ORDERS)]

    def work(events):
        with closing(connect(database_url, service=InventoryService.name, schema=SCHEMA)) as database:
            batches = [events[start : start + 7] for start in range(0, ORDERS, 7)]
            return [event for batch in batches for event in deliver(InventoryService(), database, *batch)]

    with closing(connect(database_url, service=InventoryService.name, schema=SCHEMA)) as database:
        with database.transaction() as tx:
            set_on_hand(tx, {"a": ORDERS, "b": 2 * ORDERS})
        with ThreadPoolExecutor(2) as pool:
            published = [event for events in pool.map(work, (placed, paid)) for event in events]
        with database.snapshot() as tx:
            assert {r.status for r in all_reservations(tx)} == {"reserved"}
            assert [(s.on_hand, s.reserved) for s in all_stock(tx)] == [(ORDERS, ORDERS), (2 * ORDERS, 2 * ORDERS)]
    assert sorted(event.order_id for event in published) == sorted(event.order_id for event in placed)
