"""What the tracker knows of an order follows from the set of its events, and names what no declaration allows."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shipping_service import ShippingService

from eventbus.manifest import declare, read_declaration
from saga.flow.model import Flow
from saga.services import SERVICES
from saga.tracker.fold import CLOCK_SKEW_MS, Fold, TrackedEvent
from saga.tracker.installed import MODEL
from saga.tracker.model import TrackerModel
from saga.tracker.timeline import possible
from tests.support.models.saga_model import (
    CANCELLED,
    CHARGED,
    CONFIRMED,
    CREATED,
    FAILED,
    REFUNDED,
    RELEASED,
    RESERVED,
    SHORT,
)
from tests.support.models.tracked import of_order, stored, tracked_events

EVENTS = tracked_events(12)
CONFIRMED_ORDER = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)
REFUNDED_ORDER = of_order(EVENTS, CREATED, CHARGED, SHORT, CANCELLED, REFUNDED)
DECLINED_ORDER = of_order(EVENTS, CREATED, FAILED, CANCELLED)


def rogue(topic, after=CONFIRMED_ORDER, **other):
    """Return an event that somebody else wrote, of the order `after`, by default answering what it declares."""
    end = after[-1]
    cause = next((e for e in after if e.topic in MODEL.causes[topic]), None)
    made = end._replace(topic=topic, offset=900, service=MODEL.publisher[topic], cause=cause and cause.address)
    return made._replace(at=end.at + 10)._replace(**other)


def kinds(*events, model=MODEL):
    _, violations = Fold(model).again(events)
    return [violation.kind for violation in violations]


SHIPPED = "order.shipped"


def with_shipping(after=CONFIRMED):
    """Return the model with the shipping service of docs/adding-a-service.md, which answers this event."""
    shipping = read_declaration(declare(ShippingService).to_json().replace(CONFIRMED, after), "here")
    return TrackerModel.of(Flow([*map(declare, SERVICES), shipping]))


def shipped(after, cause, late=10):
    at = after[-1].at + late
    of = (after[-1].order_id, SHIPPED, 0, 7, at, "shipping-service", 1001)
    return TrackedEvent(*of, next(event.address for event in after if event.topic == cause), "{}")


def test_what_comes_after_a_deadline_is_declared():
    """The charge that was under way, and its refund. No other event has one."""
    created, charged, _, cancelled, refunded = REFUNDED_ORDER
    ended = cancelled._replace(cause="deadline/1700000000000", at=created.at + 1)
    late = charged._replace(at=ended.at + 60_000)
    assert kinds(created, ended, late, refunded._replace(at=late.at + 1)) == []
    assert kinds(created, charged._replace(cause="deadline/1700000000000")) == ["undeclared-cause"]


ROGUES = [
    rogue(FAILED),
    rogue(CONFIRMED),
    rogue(CANCELLED),
    rogue(CREATED, fields='{"order_id":"order-x","customer_id":"eve","total":1,"currency":"EUR"}'),
    rogue(CHARGED, at=CONFIRMED_ORDER[-1].at + 5_000),
    rogue(REFUNDED, service="a-stranger"),
    rogue(RESERVED, DECLINED_ORDER, cause=None, at=DECLINED_ORDER[-1].at + 5_000),
]


@settings(max_examples=60)
@given(st.data())
def test_any_order_of_arrival_in_any_batches_gives_the_same_rows(data):
    """Topics are read in parallel: effects come before causes, ends before beginnings, and undeclared ones between."""
    wanted = EVENTS + data.draw(st.lists(st.sampled_from(ROGUES), unique_by=lambda e: (e.topic, e.order_id)))
    shuffled = data.draw(st.permutations(wanted))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wanted)), max_size=8)))
    batches = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(wanted)], strict=True)]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(stored(Path(folder) / "a.db", *batches)) as a,
        closing(stored(Path(folder) / "b.db", wanted)) as b,
    ):
        assert rows(a.path) == rows(b.path)
        assert [*a.misjudged(), *b.misjudged()] == []


def rows(path):
    """Return everything that a tracker's database says of events and orders."""
    tables = ("events", "orders", "violations", "kinds")
    with closing(sqlite3.connect(path)) as database:
        return [sorted(database.execute(f"select * from {table}"), key=str) for table in tables]


@pytest.mark.parametrize(
    "change",
    [
        "update orders set status = 'pending' where order_id = ?",
        "delete from orders where order_id = ?",
        (
            "insert into orders select 'a-ghost', status, customer_id, total, currency, placed_at, updated_at,"
            " ended_at, ending, failed_at, waiting_on, undone, cancel_at, ended_by, events, violations, seen, body_at"
            " from orders where order_id = ?"
        ),
        (
            "insert into violations select 'second-ending', order_id, topic, partition, offset, at, '' from events"
            " where order_id = ? limit 1"
        ),
    ],
)
def test_an_order_whose_row_does_not_follow_from_its_events_is_named(tmp_path, change):
    """So --verify can be believed about more than the events."""
    order_id = CONFIRMED_ORDER[0].order_id
    with closing(stored(tmp_path / "a.db", EVENTS)) as store:
        assert list(store.misjudged()) == []
        with closing(sqlite3.connect(store.path)) as database, database:
            assert database.execute(change, (order_id,)).rowcount == 1
        assert list(store.misjudged()) == ["a-ghost" if "a-ghost" in change else order_id]


def test_an_order_that_gave_back_goods_and_money_is_cancelled_and_both_are_said_beside_it():
    """In the order of the declarations, whichever came last."""
    bits = [MODEL.bits[topic] for topic in (CREATED, CHARGED, RESERVED, CANCELLED, RELEASED)]
    assert MODEL.state(sum(bits), CANCELLED).undone == "released"
    both = MODEL.state(sum(bits) + MODEL.bits[REFUNDED], CANCELLED)
    assert (both.status, both.undone) == ("cancelled", "refunded,released")


STANDS = [
    (CONFIRMED_ORDER[:0], "pending", None, "order-service", MODEL.topics),
    (CONFIRMED_ORDER[:1], "pending", None, "payment-service", MODEL.topics[1:]),
    (CONFIRMED_ORDER[:2], "pending", None, "inventory-service", MODEL.topics[3:]),
    (CONFIRMED_ORDER[:3], "pending", None, "order-service", (CONFIRMED,)),
    (CONFIRMED_ORDER, "confirmed", None, None, ()),
    (REFUNDED_ORDER[:3], "pending", SHORT, "order-service", (CANCELLED, REFUNDED)),
    (REFUNDED_ORDER[:4], "cancelled", SHORT, "payment-service", (REFUNDED,)),
    (REFUNDED_ORDER, "cancelled", SHORT, None, ()),
    (DECLINED_ORDER[:2], "pending", FAILED, "order-service", (CANCELLED,)),
    (DECLINED_ORDER, "cancelled", FAILED, None, ()),
]


@pytest.mark.parametrize(("events", "status", "failed_at", "waiting_on", "to_come"), STANDS)
def test_where_an_order_stands_follows_from_the_declarations(events, status, failed_at, waiting_on, to_come):
    """Who owes the next answer, and what can still come: nobody refunds what was not charged."""
    seen = sum(MODEL.bits[event.topic] for event in events)
    ending = next((event.topic for event in events if event.topic in MODEL.endings), None)
    assert MODEL.summary(seen, ending)[:3] == (status, failed_at, waiting_on)
    assert MODEL.summary(seen, ending).undone == ("refunded" if REFUNDED in {e.topic for e in events} else None)
    owed = MODEL.state(seen, ending).owed
    assert possible(MODEL, owed, {event.topic for event in events}) == list(to_come)


def test_what_compensates_what_is_read_from_the_declarations():
    """A refund takes a charge back, a release the goods, a cancellation the order."""
    assert MODEL.compensates == {REFUNDED: {CHARGED}, RELEASED: {RESERVED}, CANCELLED: {CREATED}}
    assert MODEL.failures == {FAILED, SHORT}
    assert MODEL.endings == {CONFIRMED, CANCELLED}


def test_a_correct_history_has_no_violations(tmp_path):
    """Whatever the order of its events."""
    with closing(stored(tmp_path / "a.db", EVENTS)) as store:
        assert store.counts() == {}


def test_what_no_declaration_allows_is_named():
    """One kind each; a copy, a stranger, a wrong cause, no cause, a step after the end, two endings."""
    late = CONFIRMED_ORDER[-1].at + CLOCK_SKEW_MS + 1
    assert kinds(*CONFIRMED_ORDER, rogue(CONFIRMED)) == ["second-ending"]
    assert kinds(*CONFIRMED_ORDER, rogue(CHARGED)) == ["repeated-step"]
    assert kinds(*CONFIRMED_ORDER, rogue(CHARGED, at=late)) == ["repeated-step", "step-after-end"]
    assert kinds(*DECLINED_ORDER, rogue(RESERVED, DECLINED_ORDER, at=late)) == ["step-after-end"]
    assert kinds(*CONFIRMED_ORDER, rogue(FAILED)) == ["second-answer"]
    assert kinds(*CONFIRMED_ORDER, rogue(FAILED, at=late)) == ["second-answer", "step-after-end"]
    assert kinds(*DECLINED_ORDER, rogue(CONFIRMED, DECLINED_ORDER)) == ["undeclared-cause", "second-ending"]
    assert kinds(*CONFIRMED_ORDER[:-1], CONFIRMED_ORDER[-1]._replace(service="eve")) == ["undeclared-publisher"]
    assert kinds(*CONFIRMED_ORDER[:-1], CONFIRMED_ORDER[-1]._replace(cause="order.created/0/0")) == ["undeclared-cause"]
    assert kinds(*CONFIRMED_ORDER[:-1], CONFIRMED_ORDER[-1]._replace(cause=None)) == ["undeclared-cause"]
    assert kinds(CONFIRMED_ORDER[0]._replace(cause="order.cancelled/0/0")) == ["undeclared-cause"]


def test_clocks_may_differ_a_little():
    """A step that seems to come just after the end is none."""
    *before, end = CONFIRMED_ORDER
    assert kinds(*before, end._replace(at=before[-1].at - CLOCK_SKEW_MS)) == []
    assert kinds(*before, end._replace(at=before[-1].at - CLOCK_SKEW_MS - 1)) == ["step-after-end"]


@pytest.mark.parametrize("late", [10, 60_000, -10])
def test_a_final_event_that_builds_on_another_one_is_declared(late):
    """The documented shipping service completes confirmed orders: their status stays, also if its clock is behind."""
    model = with_shipping()
    assert model.endings == {CONFIRMED, CANCELLED}
    parcel = shipped(CONFIRMED_ORDER, CONFIRMED, late)
    order, violations = Fold(model).again([*CONFIRMED_ORDER, parcel])
    assert (order.status, order.ending, order.waiting_on, violations) == ("confirmed", CONFIRMED, None, [])
    assert model.state(order.seen & ~model.bits[SHIPPED], CONFIRMED).waiting_on == "shipping-service"
    again = parcel._replace(offset=8)
    assert kinds(*CONFIRMED_ORDER, parcel, again, model=model) == ["repeated-step"]
    assert kinds(*CONFIRMED_ORDER, rogue(CONFIRMED), parcel, model=model) == ["second-ending"]


def test_a_final_event_beside_another_one_contradicts_only_the_opposite():
    """Of another service, which answers an earlier event: each service ends an order once, and both the same way."""
    model = with_shipping(after=CHARGED)
    assert model.endings == {CONFIRMED, CANCELLED, SHIPPED}
    early = shipped(CONFIRMED_ORDER, CHARGED, -1)
    assert kinds(*CONFIRMED_ORDER, early, model=model) == []
    assert kinds(*CONFIRMED_ORDER, early, early._replace(offset=8), model=model) == ["second-ending"]
    assert kinds(*CONFIRMED_ORDER, early, rogue(CONFIRMED), model=model) == ["second-ending"]
    assert kinds(*REFUNDED_ORDER, shipped(REFUNDED_ORDER, CHARGED), model=model) == ["second-ending"]
