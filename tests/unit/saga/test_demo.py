"""The demo places what it says it places, and tells what the log says."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Codec, publishing
from eventbus.log import Partition, Record
from eventbus.serde.registry import registry_at
from order_service.domain import new_order
from order_service.door import admit
from saga.__main__ import main
from saga.demo.history import DemoHistory
from saga.demo.plan import DECLINE_ABOVE, Shares, make_plan
from saga.demo.screen import STYLES
from saga.demo.story import examples, surprises
from saga.demo.workers import without_settings
from schemas import (
    EVENTS,
    InventoryReservationFailed,
    InventoryReserved,
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
)
from tests.support.saga.processes import PATIENCE

REGISTRY = registry_at(None, EVENTS)
CODEC = Codec(REGISTRY, EVENTS)
KINDS = ("declined", "short", "cancelled", "silent")
SHARES = st.builds(Shares, *[st.floats(0, 1)] * 4).filter(lambda shares: sum(shares) <= 1)


@given(st.integers(1, 200), SHARES, st.integers())
def test_a_plan_has_the_shares_that_were_asked_for(orders, shares, seed):
    """To the nearest order; never more orders than asked for; every one of them can be placed."""
    plan = make_plan(orders, shares, seed)
    counted = Counter(plan.endings.values())
    assert sum(counted.values()) == len(plan.requests) == orders
    assert counted["declined"] == round(orders * shares[0])
    assert all(abs(counted[kind] - orders * share) <= 2 for kind, share in zip(KINDS, shares, strict=True))
    assert [admit(request) for request in plan.requests] == plan.requests
    silent = [place for place, request in enumerate(plan.requests) if plan.endings[request.request_id] == "silent"]
    assert all(place < max(len(silent), orders // 2) for place in silent), "nobody answers after the last one"


@given(st.integers(1, 100), st.integers())
def test_each_order_of_a_plan_can_only_end_as_planned(orders, seed):
    """The declined cost too much and nobody else does; there is stock for all the others, but never for the short."""
    plan = make_plan(orders, Shares(0.3, 0.3, 0.1, 0.1), seed)
    wanted = Counter()
    for request in plan.requests:
        ending = plan.endings[request.request_id]
        assert (request.total > DECLINE_ABOVE) == (ending == "declined")
        lacking = [sku for sku, quantity in request.items if quantity > plan.stock.get(sku, 0)]
        assert bool(lacking) == (ending == "short")
        wanted.update({} if lacking else dict(request.items))
    assert all(count <= plan.stock[sku] for sku, count in wanted.items())


def test_the_same_seed_makes_the_same_plan_and_another_one_another():
    assert make_plan(50, Shares(0.2, 0.2), 7) == make_plan(50, Shares(0.2, 0.2), 7)
    assert make_plan(50, Shares(0.2, 0.2), 7) != make_plan(50, Shares(0.2, 0.2), 8)


@pytest.mark.parametrize("arguments", [["--decline", "0.7", "--short", "0.7"], ["--orders", "0"], ["--short", "2"]])
def test_shares_and_counts_that_cannot_be_are_refused(arguments):
    """Before anything is started."""
    result = CliRunner().invoke(main, ["demo", *arguments])
    assert result.exit_code == 2


class Written:
    """A log of one partition a topic, in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, event, cause=None) -> str:
        made = (
            publishing.root_event(CODEC, b"a", event) if cause is None else publishing.caused(CODEC, b"b", event, cause)
        )
        at = Partition(event.topic, 0)
        offset = sum(record.partition == at for record in self.records)
        self.records.append(Record(at, offset, made.key, made.value, 1_000 + len(self.records), made.headers))
        return self.records[-1].address


def history_of(*endings) -> DemoHistory:
    """Return the history of one order, whose events cause each other in this order."""
    log, cause = Written(), None
    for event in endings:
        cause = log.write(event, cause)
    history = DemoHistory()
    history.add(log.records)
    return history


CREATED = OrderCreated("o", "c", 5, "USD", (Item("s", 1),))
CHARGED = PaymentCharged("o", "p", 5, "USD")
REFUNDED = PaymentRefunded("o", "p", 5, "USD")
CANCELLED = OrderCancelled("o", "why")


@pytest.mark.parametrize(
    ("events", "finished"),
    [
        ([CREATED, CHARGED, InventoryReserved("o")], 0),
        ([CREATED, CHARGED, InventoryReserved("o"), OrderConfirmed("o")], 1),
        ([CREATED, PaymentFailed("o", "no"), CANCELLED], 1),
        ([CREATED, CHARGED, CANCELLED], 0),
        ([CREATED, CANCELLED], 1),
        ([CREATED, CHARGED, CANCELLED, REFUNDED], 1),
        ([CANCELLED], 0),
    ],
)
def test_an_order_has_ended_when_nothing_can_follow(events, finished):
    """A cancelled one only when its money is back, or was never taken; whatever was read first."""
    assert history_of(*events).finished() == finished


def test_an_event_that_stands_on_the_log_twice_is_told_once():
    """With at-least-once delivery that may happen: it has the same ce_id."""
    log = Written()
    log.write(CREATED)
    log.write(CREATED)
    history = DemoHistory()
    assert [step.event for _, step in history.add(log.records)] == ["order.created"]


def test_what_happened_in_one_millisecond_is_told_with_the_placing_first():
    """A customer who cancels at once; the topics are read in any order."""
    log = Written()
    log.write(CREATED)
    log.write(CANCELLED)
    same = [record._replace(timestamp_ms=1_000) for record in reversed(log.records)]
    assert [step.event for _, step in DemoHistory().add(same)] == ["order.created", "order.cancelled"]


def test_an_order_that_ends_otherwise_than_planned_is_named():
    """The demo then fails."""
    plan = make_plan(1, Shares(1.0), 1)
    order = new_order("o", plan.requests[0], now=0)
    confirmed = history_of(CREATED, CHARGED, InventoryReserved("o"), OrderConfirmed("o"))
    assert surprises(plan, [order], confirmed) == ["demo-1 should be cancelled, but is confirmed"]
    assert surprises(plan, [order], history_of(CREATED, PaymentFailed("o", "no"), CANCELLED)) == []


@pytest.mark.parametrize("ending", ["cancelled", "silent"])
def test_an_order_that_nobody_refused_may_end_with_or_without_a_refund(ending):
    """A customer who cancels may be too late; a deadline is not, as long as the provider says nothing."""
    shares = Shares(cancel=1.0) if ending == "cancelled" else Shares(silent=1.0)
    plan = make_plan(1, shares, 1)
    order = new_order("o", plan.requests[0], now=0)
    by_itself = history_of(CREATED, CANCELLED)
    assert surprises(plan, [order], by_itself) == []
    assert list(examples(by_itself)) == ["o"]
    assert surprises(plan, [order], history_of(CREATED, CHARGED, CANCELLED, REFUNDED)) == []
    confirmed = history_of(CREATED, CHARGED, InventoryReserved("o"), OrderConfirmed("o"))
    assert bool(surprises(plan, [order], confirmed)) == (ending == "silent")


def test_the_refunded_example_is_rather_one_without_stock():
    """Than one that its customer cancelled after the charge: which comes first is a matter of milliseconds."""
    history = history_of(CREATED, CHARGED, CANCELLED, REFUNDED)
    [steps] = history.orders.values()
    history.orders = {"a": steps, "b": [*steps, steps[0]._replace(event=InventoryReservationFailed.topic)]}
    assert list(examples(history)) == ["b"]


def test_every_event_has_a_sign_on_a_terminal():
    """Or the live picture ends with a KeyError."""
    assert {event.topic for event in EVENTS} <= STYLES.keys()


def test_no_setting_of_the_callers_reaches_the_demos_workers(monkeypatch):
    """Or they would write into a real database."""
    for name in (
        "KAFKA_BOOTSTRAP_SERVERS",
        "ORDER_SERVICE_DATABASE",
        "PAYMENT_GATEWAY",
        "SCHEMA_REGISTRY_URL",
        "SAGA_INSTANCE",
    ):
        monkeypatch.setenv(name, "real")
    assert "real" not in without_settings().values()


STOPPED_IN_A_FINALIZER = """
import os, signal, time
from saga.commands.exits import stoppable

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

with stoppable():
    Finalized()
    time.sleep(300)
"""


def test_a_signal_that_comes_in_a_finalizer_stops_the_demo_all_the_same() -> None:
    """Python drops what is raised there; it is raised again a moment later, and nothing is printed."""
    run = [sys.executable, "-c", STOPPED_IN_A_FINALIZER]
    done = subprocess.run(run, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (143, b"")
