"""The payment service on a database and the simulated provider: the money moves once, whatever comes when."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus import ConcurrentUpdate, PoisonRecord, TryAgain
from eventbus.database import connect
from eventbus.service import finished
from payment_service.gateway import open_gateway
from payment_service.repository import SCHEMA, all_payments, find_payment, totals
from payment_service.service import PaymentService
from schemas import Item, OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed, PaymentRefunded
from tests.support.engines.stepping import deliver

ITEMS = (Item("CD-04", 2),)
ORDER = OrderCreated("o", "customer", 2933, "USD", ITEMS)
DEAR = OrderCreated("dear", "customer", 20_000, "USD", ITEMS)
FREE = OrderCreated("free", "customer", 0, "USD", ITEMS)


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path}/service.db"


@pytest.fixture
def database(database_url):
    with closing(connect(database_url, service=PaymentService.name, schema=SCHEMA)) as database:
        yield database


@pytest.fixture
def provider(tmp_path):
    with closing(open_gateway(f"simulated:///{tmp_path}/provider.db?decline-above=10000")) as provider:
        yield provider


@pytest.fixture
def service(provider):
    return PaymentService(provider)


def payment(database, order_id="o"):
    with database.snapshot() as tx:
        return find_payment(tx, order_id)


def test_an_order_is_charged_or_declined_and_says_so_once(service, database, provider):
    """Repeated events ask nobody and publish nothing."""
    charged, failed = deliver(service, database, ORDER, DEAR)
    assert charged == PaymentCharged("o", payment(database).payment_id, 2933, "USD")
    why = "declined: 200.00 USD is above the limit of 100.00 USD"
    assert failed == PaymentFailed("dear", why, "LIMIT_EXCEEDED")
    assert deliver(service, database, ORDER, DEAR) == []
    assert provider.totals() == {"USD": (2933, 0)}


def test_a_cancelled_order_gets_its_money_back_once(service, database, provider):
    """order.cancelled refunds what was charged; of a declined order there is nothing to give back."""
    [charged, _] = deliver(service, database, ORDER, DEAR)
    cancelled = [OrderCancelled("o", "no CDs"), OrderCancelled("dear", "no money")]
    assert deliver(service, database, *cancelled) == [PaymentRefunded("o", charged.payment_id, 2933, "USD")]
    assert deliver(service, database, *cancelled, ORDER) == []
    assert provider.totals() == {"USD": (2933, 2933)}
    with database.snapshot() as tx:
        assert totals(tx) == provider.totals()
        assert [(p.order_id, p.status) for p in all_payments(tx)] == [("dear", "declined"), ("o", "refunded")]


def test_an_order_that_is_cancelled_before_it_is_heard_of_is_never_charged(service, database, provider):
    """The late order.created finds the cancellation, sees to it that nothing is taken, and publishes nothing."""
    assert deliver(service, database, OrderCancelled("o", "why")) == []
    assert deliver(service, database, ORDER) == []
    assert payment(database).status == "cancelled"
    assert provider.totals() == {}


def test_a_cancellation_while_the_charge_is_under_way_gives_the_money_back(service, database, provider):
    """Another worker notes the cancellation between the charge and its decision: a lost race, then the refund."""
    other = connect_again(service, database)
    published = deliver(service, database, ORDER, between=lambda: other(OrderCancelled("o", "why")))
    assert [type(event) for event in published] == [PaymentRefunded]
    assert payment(database).status == "refunded"
    assert provider.totals() == {"USD": (2933, 2933)}


def test_a_charge_while_the_cancellation_is_looked_at_is_given_back(service, database, provider):
    """Another worker charges between the look and the decision: a lost race, then the refund."""
    other = connect_again(service, database)
    published = deliver(service, database, OrderCancelled("o", "why"), between=lambda: other(ORDER))
    assert [type(event) for event in published] == [PaymentRefunded]
    assert provider.totals() == {"USD": (2933, 2933)}


def connect_again(service, database):
    return lambda *events: deliver(service, database, *events)


def test_a_charge_that_nobody_noted_is_given_back_when_the_order_is_found_cancelled(service, database, provider):
    """A worker that died after the charge left no row: whoever handles order.created next gives the money back."""
    finished(provider.charge("o", 2933, "USD"))
    deliver(service, database, OrderCancelled("o", "why"))
    assert [type(event) for event in deliver(service, database, ORDER)] == [PaymentRefunded]
    assert provider.totals() == {"USD": (2933, 2933)}


def test_a_lost_answer_is_asked_for_again_and_charges_once(database, tmp_path):
    """An unknown outcome is no failure: nothing is decided until the answer is there."""
    url = f"simulated:///{tmp_path}/provider.db"
    forgetful, reliable = open_gateway(f"{url}?lose-reply-rate=1"), open_gateway(url)
    with pytest.raises(TryAgain):
        deliver(PaymentService(forgetful), database, ORDER)
    assert payment(database) is None
    [charged] = deliver(PaymentService(reliable), database, ORDER)
    assert charged.amount == 2933
    assert reliable.totals() == {"USD": (2933, 0)}


def test_a_free_order_asks_nobody_and_goes_on(database):
    """A total of 0 is charged and refunded without the provider."""
    service = PaymentService(NobodyThere())
    assert deliver(service, database, FREE) == [PaymentCharged("free", "free-free", 0, "USD")]
    assert deliver(service, database, OrderCancelled("free", "")) == [PaymentRefunded("free", "free-free", 0, "USD")]
    with database.snapshot() as tx:
        assert totals(tx) == {}


class NobodyThere:
    def charge(self, key, amount, currency):
        raise AssertionError("asked")

    refund = charge


def test_what_the_provider_contradicts_is_poison(service, database, provider):
    """A key that the provider knows otherwise, and a charge that it does not know, are for a person to look at."""
    finished(provider.charge("o", 1, "USD"))
    with pytest.raises(PoisonRecord, match=r"order o: the provider knows o as a charge of 0\.01 USD") as poison:
        deliver(service, database, ORDER)
    assert poison.value.reason == "contradiction"
    assert payment(database) is None


def test_an_order_placed_again_with_another_total_is_poison(service, database, provider):
    """The second one moves no money."""
    deliver(service, database, ORDER)
    with pytest.raises(PoisonRecord, match="placed again"):
        deliver(service, database, OrderCreated("o", "customer", 1, "USD", ITEMS))
    assert provider.totals() == {"USD": (2933, 0)}


def test_a_payment_that_two_workers_decide_on_at_once_is_a_lost_race(service, database):
    """A decision is never written over another: who comes second is to look again."""
    work = service.repository.load
    with database.snapshot() as tx:
        stale = work(tx, [ORDER])
    deliver(service, database, OrderCancelled("o", "why"))
    stale.put("o", payment(database)._replace(status="charged"))
    with pytest.raises(ConcurrentUpdate), database.transaction() as tx:
        service.repository.save(tx, stale)
    assert payment(database).status == "cancelled"


EVENTS = st.sampled_from([ORDER, OrderCancelled("o", "why")])
HISTORIES = st.lists(st.tuples(EVENTS, st.lists(EVENTS, max_size=2)), min_size=1, max_size=5)


@settings(max_examples=30)
@given(HISTORIES)
def test_whatever_comes_the_books_agree_and_the_money_moves_at_most_once_each_way(tmp_path_factory, history):
    """Any order of events, repeated, and with others decided between the charge and its decision."""
    folder, published = tmp_path_factory.mktemp("books"), []
    with (
        closing(connect(f"sqlite:///{folder}/p.db", service=PaymentService.name, schema=SCHEMA)) as database,
        closing(open_gateway(f"simulated:///{folder}/provider.db")) as provider,
    ):

        def play(*events, between=lambda: None):
            published.extend(deliver(PaymentService(provider), database, *events, between=between))

        for event, meanwhile in history:
            play(event, between=lambda others=meanwhile: [play(other) for other in others])
        with database.snapshot() as tx:
            assert totals(tx) == provider.totals()
            [known] = all_payments(tx)
        moved = {"charged": (2933, 0), "refunded": (2933, 2933), "cancelled": (0, 0)}
        assert provider.totals().get("USD", (0, 0)) == moved[known.status]
    kinds = [type(event) for event in published]
    assert kinds.count(PaymentRefunded) == (known.status == "refunded")
    assert kinds.count(PaymentCharged) <= 1
