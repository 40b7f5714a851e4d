"""Laws between the log and the databases, order by order.

The ends of the topics were noted before the databases were read (`early` events are below them) and again after. So an
early event has the state that published it, and a state has the events that led to it; every other difference may be in
flight, and is checked only with `finished`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from saga.check.facts import EventFact, Money, PlacedOrder, Saga
from saga.check.rules import LawFinding, Rules, finding
from schemas import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
)


class Trace(NamedTuple):
    """The statuses that a row may have after an event was published, and those that it may have before."""

    store: str
    after: frozenset[str]
    before: frozenset[str | None]


class Origin(NamedTuple):
    """How a row got its status: the event that publishes it, or, if there is none, the events that were consumed."""

    published_by: str | None
    heard: frozenset[str]


def _trace(store: str, after: str, before: str = "") -> Trace:
    return Trace(store, frozenset(after.split()), frozenset((None, *before.split())))


AWAITING = "awaiting_payment awaiting_items"
TRACES = {
    OrderConfirmed.topic: _trace("order", "confirmed", "pending"),
    OrderCancelled.topic: _trace("order", "cancelled", "pending"),
    PaymentCharged.topic: _trace("payment", "charged refunded"),
    PaymentFailed.topic: _trace("payment", "declined"),
    PaymentRefunded.topic: _trace("payment", "refunded", "charged cancelled"),
    InventoryReserved.topic: _trace("reservation", "reserved cancelled", AWAITING),
    InventoryReservationFailed.topic: _trace("reservation", "failed cancelled", AWAITING),
    InventoryReleased.topic: _trace("reservation", "cancelled", f"reserved {AWAITING}"),
}
ORIGINS = {
    ("order", "confirmed"): Origin(OrderConfirmed.topic, frozenset()),
    ("order", "cancelled"): Origin(OrderCancelled.topic, frozenset()),
    ("payment", "charged"): Origin(PaymentCharged.topic, frozenset()),
    ("payment", "declined"): Origin(PaymentFailed.topic, frozenset()),
    ("payment", "refunded"): Origin(PaymentRefunded.topic, frozenset()),
    ("payment", "cancelled"): Origin(None, frozenset({OrderCancelled.topic})),
    ("reservation", "awaiting_payment"): Origin(None, frozenset({OrderCreated.topic})),
    ("reservation", "awaiting_items"): Origin(None, frozenset({PaymentCharged.topic})),
    ("reservation", "reserved"): Origin(InventoryReserved.topic, frozenset()),
    ("reservation", "failed"): Origin(InventoryReservationFailed.topic, frozenset()),
    ("reservation", "cancelled"): Origin(None, frozenset({OrderCancelled.topic})),
}


def order_iff_order_created(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """Every order.created has its order, and every order its order.created."""
    created = [event for event in saga.events if event.topic == OrderCreated.topic]
    if saga.order is None:
        for event in created:
            if rules.settled(event):
                yield finding("order.created is on the log, but the order service has no such order", event)
    elif rules.lacks(saga, OrderCreated.topic) and (rules.finished or _was_decided(saga, rules)):
        yield finding(f"the order is {saga.order.status}, but order.created is not on the log")


def _was_decided(saga: Saga, rules: Rules) -> bool:
    """Return whether its order.created was published; it can be cancelled on request before that."""
    if saga.status("order") == "cancelled" and OrderCancelled.topic in rules.flow.on_request:
        return OrderCancelled.topic in saga.topics
    return saga.status("order") != "pending"


def event_has_its_state(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """A published event agrees with the database of the service that published it."""
    for event in saga.events:
        trace = TRACES.get(event.topic)
        status = saga.status(trace.store) if trace is not None else None
        if trace is None or status in trace.after or (status in trace.before and not rules.settled(event)):
            continue
        yield finding(f"{event.topic} is on the log, but the {trace.store} is {status or 'unknown'}", event)


def event_tells_what_the_database_says(saga: Saga, _rules: Rules) -> Iterator[LawFinding]:
    """Customer, items, amounts and currencies of an event equal those in the database."""
    for event in saga.events:
        known = _known(saga, event)
        if event.body is not None and known is not None and event.body != known:
            yield finding(f"{event.topic} has {_shown(event.body)}, the database has {_shown(known)}", event)


def state_has_its_cause(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """Every state was caused by an event on the log, or by a deadline."""
    for store in ("order", "payment", "reservation"):
        status = saga.status(store)
        origin = ORIGINS.get((store, status or ""))
        if origin is None or _may_have_no_cause(saga, rules, origin.published_by):
            continue
        causes = rules.flow.causes.get(origin.published_by or "", frozenset()) | origin.heard
        if causes and all(rules.lacks(saga, cause) for cause in causes):
            yield finding(f"the {store} is {status}, but there is no {' or '.join(sorted(causes))} on the log")
    if saga.order is not None and saga.order.refunded and rules.lacks(saga, PaymentRefunded.topic):
        yield finding(f"the order has a refund, but there is no {PaymentRefunded.topic} on the log")


def _may_have_no_cause(saga: Saga, rules: Rules, topic: str | None) -> bool:
    """Return whether a person or a deadline may have caused the state that this event reports, and no event did."""
    if topic not in rules.flow.on_request and topic not in rules.flow.overdue:
        return False
    return all(event.cause is None for event in saga.events if event.topic == topic)


def state_is_published(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """When nothing is in flight, every decision is on the log."""
    if not rules.finished:
        return
    for store in ("order", "payment", "reservation"):
        status = saga.status(store)
        origin = ORIGINS.get((store, status or ""))
        if origin is not None and origin.published_by is not None and rules.lacks(saga, origin.published_by):
            yield finding(f"the {store} is {status}, but {origin.published_by} is not on the log")
    refunds = [event for event in saga.events if event.topic == PaymentRefunded.topic]
    for refund in refunds:
        of_a_charge = refund.cause is None or refund.cause.topic != OrderCreated.topic
        if of_a_charge and rules.lacks(saga, PaymentCharged.topic):
            yield finding(f"{PaymentRefunded.topic} refunds a charge that was never published", refund)


def _known(saga: Saga, event: EventFact) -> PlacedOrder | Money | None:
    order, payment = saga.order, saga.payment
    if isinstance(event.body, PlacedOrder):
        return None if order is None else PlacedOrder(order.customer_id, order.total, order.currency, order.items)
    if payment is None or payment.payment_id is None:
        return None
    return Money(payment.payment_id, payment.amount, payment.currency)


def _shown(body: PlacedOrder | Money) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in body._asdict().items())
