"""Each law catches what it is there for, by its name and the order's id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga.check.facts import Address, EventFact, Facts, LedgerFact, Money, Oldest, ParkedFact, Saga, StockFact
from saga.check.laws import DESCRIPTIONS, judge
from saga.check.rules import Rules
from schemas.money import to_text
from tests.support.models.saga_model import (
    CANCELLED,
    CHARGED,
    CONFIRMED,
    CREATED,
    FAILED,
    FLOW,
    REFUNDED,
    RELEASED,
    RESERVED,
    SHORT,
    finished,
)

RUNNING, QUIET = Rules(FLOW), Rules(FLOW, finished=True)
Break = Callable[[Facts, str], Facts]
KINDS = {
    "confirmed": lambda facts, o: o.status == "confirmed" and o.total > 0,
    "free": lambda facts, o: o.status == "confirmed" and o.total == 0,
    "declined": lambda facts, o: facts.payments[o.order_id].status == "declined",
    "refunded": lambda facts, o: o.refunded > 0,
    "released": lambda facts, o: any(e.topic == RELEASED for e in facts.log.events[o.order_id]),
}


def event(facts: Facts, order_id: str, topic: str) -> EventFact:
    return next(e for e in facts.log.events[order_id] if e.topic == topic)


def with_events(facts: Facts, order_id: str, events: list[EventFact]) -> Facts:
    return replace(facts, log=replace(facts.log, events={**facts.log.events, order_id: events}))


def changed(topic: str, /, **changes: object) -> Break:
    def apply(facts: Facts, order_id: str) -> Facts:
        events = [e._replace(**changes) if e.topic == topic else e for e in facts.log.events[order_id]]
        return with_events(facts, order_id, events)

    return apply


def without(topic: str) -> Break:
    def apply(facts: Facts, order_id: str) -> Facts:
        return with_events(facts, order_id, [e for e in facts.log.events[order_id] if e.topic != topic])

    return apply


def copied(topic: str, /, **changes: object) -> Break:
    def apply(facts: Facts, order_id: str) -> Facts:
        copy = event(facts, order_id, topic)._replace(offset=99, **changes)
        return with_events(facts, order_id, [*facts.log.events[order_id], copy])

    return apply


def row(store: str, **changes: object) -> Break:
    def apply(facts: Facts, order_id: str) -> Facts:
        rows = getattr(facts, store)
        return replace(facts, **{store: {**rows, order_id: replace(rows[order_id], **changes)}})

    return apply


def no_row(store: str) -> Break:
    def apply(facts: Facts, order_id: str) -> Facts:
        return replace(facts, **{store: {key: r for key, r in getattr(facts, store).items() if key != order_id}})

    return apply


def ledger(*entries: tuple[str, int, str]) -> Break:
    def apply(facts: Facts, order_id: str) -> Facts:
        written = tuple(LedgerFact(order_id, *entry) for entry in entries)
        return replace(facts, ledger={**facts.ledger, order_id: written})

    return apply


def cause_of_another_order(facts: Facts, order_id: str) -> Facts:
    other = next(o for o in facts.orders if o != order_id)
    return changed(CHARGED, cause=event(facts, other, CREATED).address)(facts, order_id)


def confirmed_too(facts: Facts, order_id: str) -> Facts:
    return copied(CANCELLED, topic=CONFIRMED, cause=Address(RESERVED, 0, 1))(facts, order_id)


def cancelled_unheard(facts: Facts, order_id: str) -> Facts:
    return row("reservations", status="awaiting_payment")(without(CANCELLED)(facts, order_id), order_id)


def stock(change: Callable[[StockFact], StockFact]) -> Break:
    return lambda facts, _order_id: replace(facts, stock=[change(s) for s in facts.stock])


ALWAYS: list[tuple[str, str, Break]] = [
    ("each-event-once", "confirmed", copied(CHARGED)),
    ("each-event-once", "refunded", copied(REFUNDED, event_id="payment.refunded<again")),
    ("event-id-follows-cause", "confirmed", changed(RESERVED, event_id="drawn")),
    ("event-id-follows-cause", "declined", changed(CREATED, event_id="")),
    ("cause-is-legal", "confirmed", changed(CHARGED, cause=None)),
    ("cause-is-legal", "confirmed", changed(CHARGED, cause=None, deadline="1700000000000")),
    ("cause-is-legal", "confirmed", changed(CONFIRMED, cause=Address(CHARGED, 0, 0))),
    ("cause-is-legal", "confirmed", changed(CREATED, cause=Address(CREATED, 0, 0))),
    ("cause-is-on-the-log", "confirmed", changed(CHARGED, cause=Address(CREATED, 0, 10_000))),
    ("cause-is-on-the-log", "refunded", cause_of_another_order),
    ("cause-is-on-the-log", "confirmed", without(CREATED)),
    ("cause-came-first", "confirmed", changed(CREATED, early=False)),
    ("cause-came-first", "confirmed", changed(CHARGED, timestamp_ms=1)),
    ("one-answer-per-cause", "confirmed", copied(CHARGED, topic=FAILED, body=None)),
    ("one-partition-per-order", "refunded", changed(REFUNDED, partition=7)),
    ("events-never-contradict", "confirmed", copied(CHARGED, topic=FAILED, body=None)),
    ("events-never-contradict", "confirmed", copied(RESERVED, topic=SHORT)),
    ("events-never-contradict", "refunded", confirmed_too),
    ("events-never-contradict", "confirmed", without(CHARGED)),
    ("each-event-once", "released", copied(RELEASED)),
    ("events-never-contradict", "released", without(CANCELLED)),
    ("event-has-its-state", "released", row("reservations", status="reserved")),
    ("order-iff-order-created", "confirmed", no_row("orders")),
    ("order-iff-order-created", "declined", without(CREATED)),
    ("event-has-its-state", "confirmed", no_row("payments")),
    ("event-has-its-state", "declined", row("payments", status="charged")),
    ("event-has-its-state", "refunded", row("orders", status="pending")),
    ("event-has-its-state", "confirmed", row("reservations", status="awaiting_payment")),
    ("event-tells-what-the-database-says", "confirmed", row("orders", total=1)),
    ("event-tells-what-the-database-says", "confirmed", row("orders", customer_id="eve")),
    ("event-tells-what-the-database-says", "refunded", changed(REFUNDED, body=Money("pay", 1, "USD"))),
    ("state-has-its-cause", "confirmed", without(RESERVED)),
    ("state-has-its-cause", "declined", without(FAILED)),
    ("state-has-its-cause", "refunded", without(REFUNDED)),
    ("confirmed-is-charged-once", "confirmed", row("payments", amount=1)),
    ("confirmed-is-charged-once", "confirmed", row("payments", currency="EUR")),
    ("confirmed-is-charged-once", "confirmed", row("payments", status="refunded")),
    ("confirmed-is-charged-once", "free", no_row("payments")),
    ("confirmed-is-charged-once", "free", ledger(("charge", 1, "USD"))),
    ("confirmed-is-charged-once", "confirmed", ledger()),
    ("confirmed-is-reserved-once", "confirmed", row("reservations", items=(("cd-1", 40),))),
    ("confirmed-is-reserved-once", "confirmed", row("reservations", status="failed")),
    ("confirmed-is-reserved-once", "free", no_row("reservations")),
    ("cancelled-nets-to-zero", "refunded", ledger(("charge", 500, "USD"))),
    ("cancelled-nets-to-zero", "declined", ledger(("charge", 500, "USD"))),
    ("cancelled-nets-to-zero", "refunded", row("orders", refunded=1)),
    ("cancelled-nets-to-zero", "refunded", row("payments", status="charged")),
    ("cancelled-holds-nothing", "declined", row("reservations", status="reserved")),
    ("cancelled-holds-nothing", "refunded", row("reservations", status="reserved")),
    ("payment-is-what-the-provider-says", "confirmed", ledger()),
    ("payment-is-what-the-provider-says", "free", ledger(("charge", 500, "USD"), ("charge", 500, "USD"))),
    ("payment-is-what-the-provider-says", "refunded", ledger(("charge", 500, "USD"), ("refund", 400, "USD"))),
    ("payment-is-what-the-provider-says", "declined", ledger(("charge", 10_001, "USD"))),
    ("payment-is-what-the-provider-says", "confirmed", ledger(("refund", 500, "USD"))),
    ("payment-is-what-the-provider-says", "confirmed", ledger(("charge", 500, "EUR"))),
]
ONLY_WHEN_QUIET: list[tuple[str, str, Break]] = [
    ("state-is-published", "confirmed", without(CONFIRMED)),
    ("state-is-published", "declined", cancelled_unheard),
    ("all-is-finished", "confirmed", without(CONFIRMED)),
    ("all-is-finished", "declined", cancelled_unheard),
]


def an_order(facts: Facts, kind: str) -> str | None:
    return next((o.order_id for o in facts.orders.values() if KINDS[kind](facts, o)), None)


def histories_with(kind: str, seed: int) -> tuple[Facts, str]:
    for offset in range(100):
        facts = finished(seed + offset, cancels=kind == "released")
        order_id = an_order(facts, kind)
        if order_id is not None:
            return facts, order_id
    raise AssertionError(f"the model never ends {kind}")


@pytest.mark.parametrize(("law", "kind", "broken"), ALWAYS)
@settings(max_examples=10)
@given(seed=st.integers(0, 1_000_000))
def test_a_planted_violation_is_caught_while_the_saga_runs(law, kind, broken, seed):
    """What no order in flight can look like is found at once, by law and order id."""
    facts, order_id = histories_with(kind, seed)
    caught = {(v.law, v.order_id) for v in judge(broken(facts, order_id), RUNNING).violations}
    assert (law, order_id) in caught


def test_money_in_a_violation_is_written_for_people():
    """5.00 USD, not 500: a person reads it, and acts on it."""
    facts, order_id = histories_with("refunded", 0)
    found = judge(ledger(("charge", 500, "USD"))(facts, order_id), RUNNING).violations
    assert "cancelled, but the provider has a charge of 5.00 USD" in {violation.detail for violation in found}
    order = facts.orders[order_id]
    [wrong] = [
        v.detail for v in judge(row("orders", refunded=1)(facts, order_id), RUNNING).violations if "of" in v.detail
    ]
    total = to_text(order.total, "USD")
    assert f"a refund of 0.01 USD of {total}, but the payment is refunded ({total})" in wrong


@pytest.mark.parametrize(("law", "kind", "broken"), ONLY_WHEN_QUIET)
@settings(max_examples=10)
@given(seed=st.integers(0, 1_000_000))
def test_what_may_be_in_flight_is_caught_when_all_is_quiet(law, kind, broken, seed):
    """An event that may yet come is no violation, except with --finished."""
    facts, order_id = histories_with(kind, seed)
    running, quiet = judge(broken(facts, order_id), RUNNING), judge(broken(facts, order_id), QUIET)
    assert running.violations == []
    assert running.open == 1
    assert (law, order_id) in {(v.law, v.order_id) for v in quiet.violations}


def test_what_was_given_back_before_it_was_set_aside_is_caught_when_all_is_quiet():
    """Inventory answers two partitions with the two events: the second one may become visible first."""
    facts, order_id = histories_with("released", 0)
    broken = without(RESERVED)(facts, order_id)
    law = "events-never-contradict"
    assert law not in {violation.law for violation in judge(broken, RUNNING).violations}
    assert (law, order_id) in {(violation.law, violation.order_id) for violation in judge(broken, QUIET).violations}


def test_what_was_given_back_without_its_event_is_caught_when_all_is_quiet():
    """The event may yet come; and an order that never was set aside needs none."""
    facts, order_id = histories_with("released", 0)
    broken = without(RELEASED)(facts, order_id)
    assert judge(broken, RUNNING).violations == []
    [violation] = judge(broken, QUIET).violations
    assert (violation.law, violation.order_id) == ("released-is-reserved-and-cancelled", order_id)


def test_an_order_that_is_pending_long_after_its_deadline_is_caught():
    """Not within the margin and the difference of clocks, not without a deadline, not if it is parked."""
    facts, order_id = histories_with("confirmed", 0)
    pending = row("orders", status="pending", deadline_ms=5_000)(without(CONFIRMED)(facts, order_id), order_id)
    rules = Rules(FLOW, deadline_margin_ms=100, clock_skew_ms=10)
    for read_ms, broken in ((0, 0), (5_110, 0), (5_111, 1)):
        violations = judge(replace(pending, orders_read_ms=read_ms), rules).violations
        assert [(v.law, v.order_id) for v in violations] == [("no-order-is-overdue", order_id)] * broken
    late = replace(pending, orders_read_ms=10**9)
    assert "pending 999995 s after its deadline" in judge(late, rules).violations[0].detail
    parked = {order_id: (ParkedFact(order_id, "order-service", 1, "ValueError: no"),)}
    assert judge(replace(late, parked=parked), rules).violations == []
    assert judge(row("orders", deadline_ms=0)(late, order_id), rules).violations == []


@pytest.mark.parametrize(("kind", "broken"), [(kind, broken) for _, kind, broken in ONLY_WHEN_QUIET])
def test_an_order_that_is_parked_is_named_and_not_called_lost(kind, broken):
    """When all is quiet, the only thing to say of it is where it is parked; while the saga runs, nothing."""
    facts, order_id = histories_with(kind, 1)
    parked = {order_id: (ParkedFact(order_id, "inventory-service", 2, "ValueError: no"),)}
    facts = replace(broken(facts, order_id), parked=parked)
    assert judge(facts, RUNNING).violations == []
    [violation] = judge(facts, QUIET).violations
    assert (violation.law, violation.order_id) == ("nothing-is-parked", order_id)
    assert f"ValueError: no; see inventory-service parked show {order_id}" in violation.detail


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        ("reserved-stock-adds-up", stock(lambda s: replace(s, reserved=s.reserved + 1))),
        ("stock-covers-reservations", stock(lambda s: replace(s, on_hand=s.reserved - 1))),
        ("stock-covers-reservations", stock(lambda s: replace(s, reserved=-1))),
        ("reserved-stock-adds-up", lambda facts, _: replace(facts, stock=[])),
    ],
)
def test_stock_that_does_not_add_up_is_caught_by_sku(law, broken):
    """Reserved is the sum over the reservations, and never more than there is."""
    facts, order_id = histories_with("confirmed", 0)
    caught = [v for v in judge(broken(facts, order_id), RUNNING).violations if v.law == law]
    assert caught
    assert all(v.order_id == "" and v.detail.startswith("cd-") for v in caught)


def test_every_law_is_caught_breaking_somewhere_in_this_file():
    """No law is without a planted violation, and each says in one line what must hold."""
    planted = {law for law, _, _ in (*ALWAYS, *ONLY_WHEN_QUIET)} | {
        "reserved-stock-adds-up",
        "stock-covers-reservations",
        "nothing-is-parked",
        "released-is-reserved-and-cancelled",
        "no-order-is-overdue",
    }
    assert planted == set(DESCRIPTIONS)
    assert all(text.endswith(".") and "\n" not in text for text in DESCRIPTIONS.values())


def test_a_copy_with_the_same_id_and_bytes_is_allowed_at_least_once_and_only_then():
    """With at-least-once delivery an event may stand twice on the log, if it is the very same."""
    facts, order_id = histories_with("refunded", 0)
    lenient = Rules(FLOW, finished=True, at_least_once=True)
    for topic in (CREATED, CHARGED, SHORT, CANCELLED, REFUNDED):
        assert judge(copied(topic)(facts, order_id), lenient).violations == []
        assert judge(copied(topic)(facts, order_id), QUIET).violations != []
        for other in ({"digest": 1}, {"event_id": "another"}, {"cause": Address(CREATED, 0, 77)}):
            laws = {v.law for v in judge(copied(topic, **other)(facts, order_id), lenient).violations}
            assert "each-event-once" in laws


def test_an_event_published_after_the_databases_were_read_may_be_ahead_of_them():
    """What became visible only after the snapshots may tell of states that these do not have yet."""
    facts, order_id = histories_with("refunded", 0)
    late = changed(REFUNDED, early=False)(row("payments", status="charged")(facts, order_id), order_id)
    late = row("orders", refunded=0)(late, order_id)
    assert judge(late, RUNNING).violations == []
    assert judge(late, RUNNING).open == 1
    assert judge(late, QUIET).violations != []


def test_clocks_may_differ_by_as_much_as_the_rules_say():
    """A time stamp is evidence only beyond the clocks' tolerance."""
    facts, order_id = histories_with("confirmed", 0)
    cause = event(facts, order_id, CREATED)
    skewed = changed(CHARGED, timestamp_ms=cause.timestamp_ms - 300)(facts, order_id)
    assert judge(skewed, Rules(FLOW, clock_skew_ms=300)).violations == []
    assert {v.law for v in judge(skewed, Rules(FLOW, clock_skew_ms=299)).violations} == {"cause-came-first"}


def test_an_expired_beginning_proves_nothing_by_what_it_lacks():
    """Where a topic's first records are gone, a missing one is no violation; everything else still is."""
    facts, order_id = histories_with("confirmed", 0)
    created = event(facts, order_id, CREATED)
    cut = without(CREATED)(facts, order_id)
    cut = replace(cut, log=replace(cut.log, truncated={(CREATED, created.partition): created.offset + 1}))
    assert judge(cut, QUIET).violations == []
    broken = copied(CHARGED)(cut, order_id)
    assert {v.law for v in judge(broken, QUIET).violations} == {"each-event-once"}


def cut_behind(facts: Facts, order_id: str, topic: str, **oldest: int) -> Facts:
    """Let the partition of an order's event begin behind it; `oldest` is what the first one left says of itself."""
    gone = event(facts, order_id, topic)
    tp = (topic, gone.partition)
    events = {o: [e for e in some if not _is_gone(e, gone)] for o, some in facts.log.events.items()}
    rest = [e for some in events.values() for e in some if (e.topic, e.partition) == tp]
    left = min(rest, key=lambda e: e.offset, default=None)
    found = {} if left is None else {tp: Oldest(oldest.get("timestamp_ms", left.timestamp_ms), left.order_id)}
    log = replace(facts.log, events=events, truncated={tp: gone.offset + 1}, oldest=found)
    return replace(facts, log=log)


def _is_gone(one: EventFact, last: EventFact) -> bool:
    return (one.topic, one.partition) == (last.topic, last.partition) and one.offset <= last.offset


def eventless(facts: Facts, placed_ms: int) -> Facts:
    """Add an order that is confirmed, charged and reserved although there is no event of it at all."""
    order = next(o for o in facts.orders.values() if o.status == "confirmed" and o.total > 0)
    added = replace(order, order_id="a-ghost", placed_ms=placed_ms)
    rows = {store: {**getattr(facts, store), "a-ghost": getattr(facts, store)[order.order_id]} for store in STORES}
    ghosts = {store: {**found, "a-ghost": _renamed(found["a-ghost"])} for store, found in rows.items()}
    return replace(facts, **ghosts | {"orders": {**facts.orders, "a-ghost": added}})


STORES = ("payments", "reservations", "ledger")


def _renamed(found: object) -> object:
    if isinstance(found, tuple):
        return tuple(replace(entry, order_id="a-ghost") for entry in found)
    return replace(found, order_id="a-ghost")


EXACT = Rules(FLOW, finished=True, clock_skew_ms=0)
END_MS = 10_000_000


def of_the_ghost(facts: Facts) -> list[str]:
    return [v.law for v in judge(facts, EXACT).violations if v.order_id == "a-ghost"]


def first_order(facts: Facts) -> str:
    return min(facts.orders.values(), key=lambda o: o.placed_ms).order_id


def test_an_order_that_was_placed_after_what_expired_is_judged_fully():
    """One lost record does not make the laws blind: nine are still broken by an order of which there is no event."""
    whole = eventless(finished(3), END_MS)
    broken = of_the_ghost(whole)
    assert len(broken) == 9
    cut = whole
    for topic in (CREATED, CHARGED, RESERVED, CONFIRMED):
        first = min((e for some in cut.log.events.values() for e in some if e.topic == topic), key=lambda e: e.offset)
        lost = cut_behind(cut, first.order_id, topic)
        log = replace(
            lost.log,
            truncated={**cut.log.truncated, **lost.log.truncated},
            oldest={**cut.log.oldest, **lost.log.oldest},
        )
        cut = replace(lost, log=log)
    assert of_the_ghost(cut) == broken


def test_an_older_order_is_not_called_broken_and_is_counted():
    """It may have lost the event; the others are judged."""
    facts = finished(3)
    order_id = first_order(facts)
    verdict = judge(cut_behind(facts, order_id, CREATED), EXACT)
    assert (verdict.violations, verdict.not_judged) == ([], 1)
    assert judge(facts, EXACT).not_judged == 0
    ghost = judge(eventless(cut_behind(facts, order_id, CREATED), 1), EXACT)
    assert ghost.not_judged == 2
    unknown = judge(eventless(cut_behind(facts, order_id, CREATED), 0), EXACT)
    assert unknown.not_judged == 2


def test_a_clock_that_is_behind_is_corrected_by_when_the_order_was_placed():
    """The first record left says that it was written an hour ago; its order was placed later than the one cut off."""
    facts = finished(3)
    order_id = first_order(facts)
    cut = cut_behind(facts, order_id, CREATED, timestamp_ms=1)
    verdict = judge(cut, EXACT)
    assert (verdict.violations, verdict.not_judged) == ([], 1)


def test_a_clock_that_is_ahead_makes_more_orders_count_as_not_judged():
    """Nobody is called broken for it, and it is said."""
    facts = finished(3)
    ghosted = eventless(facts, END_MS)
    cut = cut_behind(ghosted, first_order(facts), CREATED, timestamp_ms=END_MS + 3_600_000)
    verdict = judge(cut, EXACT)
    assert verdict.not_judged == 2
    assert "order-iff-order-created" not in of_the_ghost(cut)
    assert "order-iff-order-created" in of_the_ghost(cut_behind(ghosted, first_order(facts), CREATED))


def test_orders_of_other_partitions_are_judged_where_nothing_is_left_of_one():
    """Their other events say in which partition they are."""
    facts = finished(3)
    created = [e for some in facts.log.events.values() for e in some if e.topic == CREATED]
    last = max((e for e in created if e.partition == 0), key=lambda e: e.offset)
    cut = cut_behind(facts, last.order_id, CREATED)
    assert cut.log.oldest == {}
    assert judge(cut, EXACT).not_judged == sum(e.partition == 0 for e in created)
    other = next(e for e in created if e.partition == 1)
    broken = without(CREATED)(cut, other.order_id)
    assert "order-iff-order-created" in {v.law for v in judge(broken, EXACT).violations if v.order_id == other.order_id}


def test_without_a_row_the_time_is_that_of_the_order_s_id():
    """A UUIDv7 begins with it; what is none tells nothing."""
    saga = Saga("018f4e2a-7b00-7000-8000-000000000000", None, None, None, (), (), frozenset())
    assert saga.placed_ms == 0x018F4E2A7B00
    assert replace(saga, order_id="c06b1eb7-ad56-4f4b-9d1e-6f3b0b1a2c3d").placed_ms is None
    assert replace(saga, order_id="order-1").placed_ms is None


def test_events_tell_where_to_look():
    """A finding about a record names topic, partition and offset."""
    facts, order_id = histories_with("confirmed", 0)
    address = event(facts, order_id, CHARGED).address
    [violation] = judge(changed(CHARGED, event_id="drawn")(facts, order_id), QUIET).violations
    assert violation.where == (address,)
    assert str(address) == f"payment.charged/{address.partition}/{address.offset}"


def test_topics_of_effects_come_before_those_of_their_causes():
    """The order in which the ends of the topics are noted follows from the declared reactions."""
    order = FLOW.reverse_topological()
    assert all(order.index(topic) < order.index(cause) for topic, causes in FLOW.causes.items() for cause in causes)
