"""The inventory service on a database: all items or none, and never more than there are."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from eventbus import ConcurrentUpdate, PoisonRecord
from eventbus.database import connect
from inventory_service.domain import BelowReserved, Reservation, Stock
from inventory_service.repository import SCHEMA, STOCK, all_reservations, all_stock, find_reservation, set_on_hand
from inventory_service.service import InventoryService
from schemas import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    Item,
    OrderCancelled,
    OrderCreated,
    PaymentCharged,
)
from tests.support.engines.stepping import deliver


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/service.db"


@pytest.fixture
def database(database_url):
    with closing(connect(database_url, service=InventoryService.name, schema=SCHEMA)) as database:
        with database.transaction() as tx:
            set_on_hand(tx, {"a": 5, "b": 1})
        yield database


@pytest.fixture
def service():
    return InventoryService()


def placed(order_id, **items):
    return OrderCreated(order_id, "customer", 1, "USD", tuple(Item(sku, quantity) for sku, quantity in items.items()))


def paid(order_id):
    return PaymentCharged(order_id, "p", 1, "USD")


def cancelled(order_id):
    return OrderCancelled(order_id, "why")


def stock(database):
    with database.snapshot() as tx:
        return {article.sku: (article.on_hand, article.reserved) for article in all_stock(tx)}


def test_a_paid_order_takes_all_its_items_and_gives_them_back_when_cancelled(service, database):
    """inventory.reserved is published once, and inventory.released is."""
    assert deliver(service, database, placed("o", a=2, b=1)) == []
    assert deliver(service, database, paid("o")) == [InventoryReserved("o")]
    assert deliver(service, database, paid("o"), placed("o", a=2, b=1)) == []
    assert stock(database) == {"a": (5, 2), "b": (1, 1)}
    assert deliver(service, database, cancelled("o"), cancelled("o")) == [InventoryReleased("o")]
    assert stock(database) == {"a": (5, 0), "b": (1, 0)}
    with database.snapshot() as tx:
        assert find_reservation(tx, "o") == Reservation("o", "cancelled", (("a", 2), ("b", 1)))


@pytest.mark.parametrize("in_one_batch", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_arrival_orders_end_the_same(service, database, order, in_one_batch):
    """Items first or money first, in one batch or in two."""
    events = [(placed("o", a=2), paid("o"))[index] for index in order]
    batches = [events] if in_one_batch else [[event] for event in events]
    published = [event for batch in batches for event in deliver(service, database, *batch)]
    assert published == [InventoryReserved("o")]
    assert stock(database)["a"] == (5, 2)


def test_orders_of_one_batch_share_what_is_there(service, database):
    """The third order finds what the first two left; a missing or unknown article sets nothing aside."""
    orders = [placed("o1", a=3), placed("o2", a=2, b=1), placed("o3", a=1), placed("o4", x=1)]
    published = deliver(service, database, *orders, *(paid(f"o{n}") for n in range(1, 5)))
    assert published == [
        InventoryReserved("o1"),
        InventoryReserved("o2"),
        InventoryReservationFailed("o3", "out of stock: 1 of a wanted, 0 left"),
        InventoryReservationFailed("o4", "out of stock: x is not a known article"),
    ]
    assert stock(database) == {"a": (5, 5), "b": (1, 1)}
    assert deliver(service, database, cancelled("o3"), cancelled("o1")) == [InventoryReleased("o1")]
    assert stock(database) == {"a": (5, 2), "b": (1, 1)}


def test_a_cancellation_in_the_same_batch_as_its_order_holds_nothing(service, database):
    """All three events at once, and once more."""
    for _ in range(2):
        deliver(service, database, placed("o", a=2), paid("o"), cancelled("o"))
    assert stock(database)["a"] == (5, 0)


def test_an_order_that_is_cancelled_before_it_is_heard_of_takes_nothing(service, database):
    """The late events find the cancellation and publish nothing."""
    deliver(service, database, cancelled("o"))
    assert deliver(service, database, paid("o"), placed("o", a=2)) == []
    assert stock(database)["a"] == (5, 0)
    with database.snapshot() as tx:
        assert [reservation.status for reservation in all_reservations(tx)] == ["cancelled"]


def test_an_order_placed_again_with_other_items_is_poison(service, database):
    """The second one takes nothing."""
    deliver(service, database, placed("o", a=2), paid("o"))
    with pytest.raises(PoisonRecord, match="order o") as poison:
        deliver(service, database, placed("o", a=3))
    assert poison.value.reason == "contradiction"
    assert stock(database)["a"] == (5, 2)


def test_two_workers_with_one_half_of_an_order_each_do_not_overwrite_each_other(service, database):
    """Who comes second loses the race, looks again, and reserves."""
    with database.snapshot() as tx:
        stale = service.repository.load(tx, [paid("o")])
    deliver(service, database, placed("o", a=2))
    service.reserve_inventory(paid("o"), stale)
    with pytest.raises(ConcurrentUpdate), database.transaction() as tx:
        service.repository.save(tx, stale)
    assert deliver(service, database, paid("o")) == [InventoryReserved("o")]


@pytest.mark.parametrize("sku", ["a", "é 漢 🍏", '"\\/'])
def test_items_are_stored_as_every_release_reads_and_writes_them(service, database, sku):
    """JSON of pairs; a release may escape what another one writes as it is."""
    with database.transaction() as tx:
        set_on_hand(tx, {sku: 5})
    deliver(service, database, OrderCreated("o", "customer", 1, "USD", (Item(sku, 2),)))
    with database.transaction() as tx:
        [(stored,)] = tx.rows("select items from reservation")
        assert stored == json.dumps([[sku, 2]], ensure_ascii=False, separators=(",", ":"))
        tx.execute("update reservation set items = ?", json.dumps([[sku, 2]]))
    assert deliver(service, database, paid("o")) == [InventoryReserved("o")]
    assert stock(database)[sku] == (5, 2)


def test_the_table_itself_refuses_to_sell_what_is_not_there(database):
    """Stock is guarded by the database too, whatever a decision says."""
    with pytest.raises(Exception, match=r"(?i)check"), database.transaction() as tx:
        tx.update(STOCK, [Stock("a", 5, 6)])
    assert stock(database)["a"] == (5, 0)


def test_a_count_below_what_is_set_aside_changes_nothing(service, database):
    """All articles of a count, or none."""
    deliver(service, database, placed("o", a=2), paid("o"))
    with pytest.raises(BelowReserved, match="2 of a"), database.transaction() as tx:
        set_on_hand(tx, {"b": 100, "a": 1})
    assert stock(database) == {"a": (5, 2), "b": (1, 0)}
    with database.transaction() as tx:
        set_on_hand(tx, {"a": 2, "c": 7})
    assert stock(database) == {"a": (2, 2), "b": (1, 0), "c": (7, 0)}


def test_remembering_items_neither_loads_nor_locks_stock(service, database):
    """Only orders that can be reserved or released now touch the articles that all orders share."""
    with database.snapshot() as tx:
        assert service.repository.load(tx, [placed("o", a=2)]).stock.get("a") is None
        assert service.repository.load(tx, [placed("o", a=2), paid("o")]).stock.get("a") == Stock("a", 5, 0)
