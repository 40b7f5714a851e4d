"""The order service on a database: what it takes in, what it answers, what it keeps."""

from __future__ import annotations

from contextlib import closing
from itertools import count

import pytest

from eventbus import Codec, ConcurrentUpdate, PoisonRecord
from eventbus.database import connect
from eventbus.serde.registry import registry_at
from eventbus.store import quarantine
from eventbus.store.packing import unpack
from order_service.domain import OrderRequest, RequestConflict
from order_service.repository import SCHEMA, all_orders, count_by_status, find_order, insert_orders
from order_service.service import OrderService, Placed
from schemas import (
    InventoryReservationFailed,
    InventoryReserved,
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
)
from tests.support.engines.stepping import deliver

REQUEST = OrderRequest("customer", 2933, "USD", (("CD-04", 2), ("CD-05", 1)), "r1")
CODEC = Codec(registry_at(None, OrderService.root_events()), OrderService.root_events())


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/service.db"


@pytest.fixture
def database(database_url):
    with closing(connect(database_url, service=OrderService.name, schema=SCHEMA)) as database:
        yield database


@pytest.fixture
def service():
    times, ids = count(1_000), count(1)
    return OrderService(now=lambda: next(times), new_id=lambda: f"order-{next(ids):04}")


def test_nothing_is_placed_in_a_database_in_quarantine(database, service):
    """It is older than the log: the request may have been placed before, and would become a second order."""
    with database.transaction() as tx:
        quarantine.impose(tx, 0, "a", "the database is older than the log")
    with pytest.raises(quarantine.Quarantined, match="older than the log"):
        service.create_order(REQUEST, database, CODEC)
    assert orders(database) == []


def announced(database):
    with database.snapshot() as tx:
        blobs = tx.rows("select records from uncaused order by id")
    outputs = [output for (blob,) in blobs for output in unpack(bytes(blob))]
    return [CODEC.decode(output.topic, output.key, output.value) for output in outputs], outputs


def orders(database):
    with database.snapshot() as tx:
        return list(all_orders(tx))


def test_creating_an_order_writes_it_and_leaves_its_event_in_one_transaction(service, database):
    """Each order has its order.created, with the same content and the trace it was given."""
    order, repeated = service.create_order(REQUEST, database, CODEC, b"00-trace")
    assert not repeated
    assert orders(database) == [order]
    events, outputs = announced(database)
    items = (Item("CD-04", 2), Item("CD-05", 1))
    assert events == [OrderCreated(order.order_id, "customer", 2933, "USD", items, REQUEST.request_id or "")]
    assert ("traceparent", b"00-trace") in outputs[0].headers


def test_an_order_tells_in_its_event_when_it_cancels_itself(database):
    """Without a deadline it says 0."""
    for order_id, deadline_ms, expected in (("a", 900_000, 1_700_000_900_000), ("b", 0, 0)):
        placing = OrderService(lambda: 1_700_000_000_000, iter([order_id]).__next__, deadline_ms)
        placing.create_order(REQUEST._replace(request_id=None), database, CODEC)
        events, _ = announced(database)
        assert [event.cancel_at_ms for event in events if event.order_id == order_id] == [expected]


def test_a_request_placed_twice_is_one_order(service, database):
    """The same request id brings the same order back, in one call or in two, and announces it once."""
    first = service.create_order(REQUEST, database, CODEC)
    again = service.create_order(REQUEST, database, CODEC)
    assert again == Placed(first.order, repeated=True)
    both = service.create_orders([REQUEST._replace(request_id="r2")] * 2, database, CODEC)
    assert [placed.repeated for placed in both] == [False, True]
    assert both[0].order == both[1].order
    assert len(announced(database)[0]) == len(orders(database)) == 2


def test_requests_without_an_id_are_always_new_orders(service, database):
    """Without a key of the customer's own, nothing says that two requests are one."""
    request = REQUEST._replace(request_id=None)
    service.create_orders([request, request], database, CODEC)
    assert len(orders(database)) == 2


def test_a_request_id_with_other_content_is_refused_and_nothing_is_written(service, database):
    """One request id stands for one order."""
    service.create_order(REQUEST, database, CODEC)
    with pytest.raises(RequestConflict, match="'r1' belongs to order order-0001"):
        service.create_order(REQUEST._replace(total=1), database, CODEC)
    assert len(announced(database)[0]) == len(orders(database)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"total": -1},
        {"total": 10**16},
        {"currency": "usd"},
        {"items": ()},
        {"items": (("CD-04", 0),)},
        {"items": (("CD-04", 10_001),)},
        {"items": (("CD-04", 1),) * 101},
        {"items": (("", 1),)},
        {"items": (("x" * 201, 1),)},
        {"customer_id": ""},
        {"customer_id": "a\0b"},
        {"request_id": ""},
        {"request_id": "x" * 201},
    ],
    ids=str,
)
def test_one_bad_request_of_many_is_refused_alone(service, database, bad):
    """What the published language does not take is refused, in its place; the others go in."""
    good = [REQUEST, REQUEST._replace(request_id="r2")]
    answers = service.create_orders(
        [good[0], REQUEST._replace(**{"request_id": "r3", **bad}), good[1]], database, CODEC
    )
    assert isinstance(answers[1], ValueError)
    assert [placed.order.request_id for placed in answers[::2]] == ["r1", "r2"]
    assert len(announced(database)[0]) == len(orders(database)) == 2


def test_two_that_place_the_same_request_at_once_end_with_one_order(service, database, database_url):
    """Who loses the race finds the winner's order."""

    class RacingDatabase:
        def __init__(self):
            self.raced = False

        def transaction(self):
            if not self.raced:
                self.raced = True
                service.create_order(REQUEST, database, CODEC)
                raise ConcurrentUpdate("somebody else was first")
            return database.transaction()

    placed = service.create_order(REQUEST, RacingDatabase(), CODEC)
    assert placed.repeated
    assert orders(database) == [placed.order]


def test_an_order_that_is_there_already_is_a_lost_race(service, database):
    """A decision is never written over another: order ids and request ids are unique."""
    order = service.create_order(REQUEST, database, CODEC).order
    for double in (order._replace(request_id="other"), order._replace(order_id="other")):
        with pytest.raises(ConcurrentUpdate), database.transaction() as tx:
            insert_orders(tx, [double])
    assert orders(database) == [order]


def place(service, database, number):
    requests = [REQUEST._replace(request_id=f"r{n}") for n in range(number)]
    return [placed.order.order_id for placed in service.create_orders(requests, database, CODEC)]


def test_events_confirm_and_cancel_orders_once(service, database):
    """Each order ends in one way, published once; repeated and late events publish nothing."""
    good, unpaid, short = place(service, database, 3)
    batch = [InventoryReserved(good), PaymentFailed(unpaid, "no money"), InventoryReservationFailed(short, "no CDs")]
    assert deliver(service, database, *batch) == [
        OrderConfirmed(good),
        OrderCancelled(unpaid, "no money", "payment.failed"),
        OrderCancelled(short, "no CDs", "inventory.reservation.failed"),
    ]
    assert deliver(service, database, *batch, InventoryReserved(short)) == []
    assert deliver(service, database, PaymentRefunded(short, "p", 2933, "USD")) == []
    ended = {order.order_id: (order.status, order.reason, order.refunded) for order in orders(database)}
    assert ended == {
        good: ("confirmed", None, 0),
        unpaid: ("cancelled", "no money", 0),
        short: ("cancelled", "no CDs", 2933),
    }
    with database.snapshot() as tx:
        assert count_by_status(tx) == {"pending": 0, "confirmed": 1, "cancelled": 2}
        assert len(list(all_orders(tx, "cancelled"))) == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("LIMIT_EXCEEDED", "too dear (LIMIT_EXCEEDED)"),
        ("DECLINED", "too dear (DECLINED)"),
        ("UNSPECIFIED", "too dear"),
    ],
)
def test_a_cancelled_order_says_why_its_charge_was_refused(service, database, code, reason):
    """In the provider's words, and by its code where there is one: an older writer gave none."""
    [order_id] = place(service, database, 1)
    [cancelled] = deliver(service, database, PaymentFailed(order_id, "too dear", code))
    assert (cancelled.reason, orders(database)[0].reason) == (reason, reason)


def test_an_order_that_changes_keeps_everything_else(service, database):
    """Events change the status and the time of the change; what was ordered stays."""
    order = service.create_order(REQUEST, database, CODEC).order
    deliver(service, database, InventoryReserved(order.order_id))
    with database.snapshot() as tx:
        changed = find_order(tx, order.order_id)
    assert changed.updated_at > order.updated_at
    assert changed._replace(status="pending", updated_at=order.updated_at) == order


@pytest.mark.parametrize(
    "event",
    [InventoryReserved("x"), PaymentFailed("x", ""), PaymentRefunded("x", "p", 1, "USD")],
    ids=lambda e: e.topic,
)
def test_an_event_of_an_unknown_order_is_poison(service, database, event):
    """It can never be handled; nothing is made up for it."""
    with pytest.raises(PoisonRecord, match="order x") as poison:
        deliver(service, database, event)
    assert poison.value.reason == "contradiction"


def test_a_contradiction_leaves_the_order_as_it_is(service, database):
    """A confirmed order whose payment failed goes to the dead letters, not into the table."""
    [order_id] = place(service, database, 1)
    deliver(service, database, InventoryReserved(order_id))
    before = orders(database)
    with pytest.raises(PoisonRecord, match="is confirmed"):
        deliver(service, database, PaymentFailed(order_id, "late"))
    assert orders(database) == before


def test_all_orders_are_read_page_by_page(service, database):
    """More orders than fit on a page come out once each, in order."""
    ids = place(service, database, 2_345)
    assert [order.order_id for order in orders(database)] == ids


@pytest.mark.parametrize("jump", [-3_600_000, 3_600_000], ids=["set back", "set ahead"])
def test_an_order_ends_although_the_clock_jumps_an_hour_meanwhile(database, jump):
    """What it says about its times looks odd; nothing else depends on them."""
    clock = [1_700_000_000_000]
    service = OrderService(lambda: clock[0], lambda: "o-1")
    service.create_order(REQUEST, database, CODEC)
    clock[0] += jump
    assert deliver(service, database, InventoryReserved("o-1")) == [OrderConfirmed("o-1")]
    with database.snapshot() as tx:
        known = find_order(tx, "o-1")
    assert (known.status, known.updated_at - known.created_at) == ("confirmed", jump)
