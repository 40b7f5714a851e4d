"""An order is pending, then confirmed or cancelled; every event is decided in every state."""

from __future__ import annotations

import pytest

from order_service.domain import (
    MAX_REASON,
    OrderContradiction,
    OrderRequest,
    Progress,
    RequestConflict,
    cancel,
    check_repeated,
    confirm,
    expire,
    new_order,
    note_refund,
)

PENDING = Progress("o", 2933, "USD", "pending", None, 0, 1)
CONFIRMED = PENDING._replace(status="confirmed")
CANCELLED = PENDING._replace(status="cancelled", reason="first")
REFUNDED = CANCELLED._replace(refunded=2933)
SET = {"deadline_at": 900_001, "deadline_set_at": 1}
NOW = 7

EVENTS = {
    "inventory.reserved": lambda order: confirm(order, NOW),
    "payment.failed or inventory.reservation.failed": lambda order: cancel(order, "why", NOW),
    "payment.refunded": lambda order: note_refund(order, 2933, "USD", NOW),
    "its deadline": lambda order: expire(order, 900_001, NOW),
}
STATES = {"unknown": None, "pending": PENDING, "confirmed": CONFIRMED, "cancelled": CANCELLED, "refunded": REFUNDED}
STATES |= {f"{name} with a deadline": order._replace(**SET) for name, order in STATES.items() if order is not None}
SAME, CONTRADICTION = "same", "contradiction"

DECISIONS = {
    ("unknown", "inventory.reserved"): CONTRADICTION,
    ("unknown", "payment.failed or inventory.reservation.failed"): CONTRADICTION,
    ("unknown", "payment.refunded"): CONTRADICTION,
    ("pending", "inventory.reserved"): CONFIRMED._replace(updated_at=NOW),
    ("pending", "payment.failed or inventory.reservation.failed"): CANCELLED._replace(reason="why", updated_at=NOW),
    ("pending", "payment.refunded"): CONTRADICTION,
    ("confirmed", "inventory.reserved"): SAME,
    ("confirmed", "payment.failed or inventory.reservation.failed"): CONTRADICTION,
    ("confirmed", "payment.refunded"): CONTRADICTION,
    ("cancelled", "inventory.reserved"): SAME,
    ("cancelled", "payment.failed or inventory.reservation.failed"): SAME,
    ("cancelled", "payment.refunded"): REFUNDED._replace(updated_at=NOW),
    ("refunded", "inventory.reserved"): SAME,
    ("refunded", "payment.failed or inventory.reservation.failed"): SAME,
    ("refunded", "payment.refunded"): SAME,
    **dict.fromkeys([(name, "its deadline") for name in STATES if "with" not in name], CONTRADICTION),
}
OVERDUE = CANCELLED._replace(reason="nobody answered within 15 min", updated_at=NOW)
DECISIONS |= {
    (f"{name} with a deadline", event): decision
    for (name, event), decision in DECISIONS.items()
    if name not in ("unknown", "refunded", "cancelled", "confirmed") and event != "its deadline"
}
DECISIONS |= {
    (f"{name} with a deadline", event): decision if isinstance(decision, str) else decision._replace(**SET)
    for (name, event), decision in DECISIONS.items()
    if name in ("refunded", "cancelled", "confirmed") and event != "its deadline"
}
DECISIONS |= {
    ("pending with a deadline", "its deadline"): OVERDUE,
    ("confirmed with a deadline", "its deadline"): CONFIRMED,
    ("cancelled with a deadline", "its deadline"): CANCELLED,
    ("refunded with a deadline", "its deadline"): REFUNDED,
}
"""A final order has a deadline only if a worker of an older release, which knows of none, has ended it."""


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_is_decided_in_every_state(state, event):
    """What an event does to an order is what the table says, and nothing at all where it says `same`."""
    expected = DECISIONS[state, event]
    if expected == CONTRADICTION:
        with pytest.raises(OrderContradiction):
            EVENTS[event](STATES[state])
    elif expected == SAME:
        assert EVENTS[event](STATES[state]) is STATES[state]
    else:
        assert EVENTS[event](STATES[state]) == expected


@pytest.mark.parametrize(("amount", "currency"), [(2932, "USD"), (2933, "EUR"), (0, "USD")])
def test_only_the_whole_total_can_be_given_back(amount, currency):
    """A refund of another amount or currency contradicts the order."""
    with pytest.raises(OrderContradiction, match=r"2933 USD"):
        note_refund(CANCELLED, amount, currency, NOW)


def test_the_refund_of_a_free_order_changes_nothing():
    """With a total of 0 the money is back from the start."""
    free = CANCELLED._replace(total=0)
    assert note_refund(free, 0, "USD", NOW) is free


def test_a_reason_fits_every_database():
    """PostgreSQL keeps no NUL, and nobody reads a reason of megabytes."""
    reason = cancel(PENDING, "a\0b" + "x" * 5_000, NOW).reason
    assert reason.startswith("a bx")
    assert len(reason) == MAX_REASON


REQUEST = OrderRequest("customer", 2933, "USD", (("CD-04", 2),), "r")


def test_a_repeated_request_is_the_same_order():
    """The same request id with the same content starts nothing new."""
    check_repeated(new_order("o", REQUEST, NOW), REQUEST)


@pytest.mark.parametrize(
    "change",
    [{"customer_id": "other"}, {"total": 2934}, {"currency": "EUR"}, {"items": (("CD-04", 3),)}],
    ids=lambda change: next(iter(change)),
)
def test_a_request_id_stands_for_one_content(change):
    """The same request id with any other content is refused, naming the order it belongs to."""
    with pytest.raises(RequestConflict, match="order o"):
        check_repeated(new_order("o", REQUEST, NOW), REQUEST._replace(**change))


def test_a_new_order_is_pending_and_nothing_is_refunded():
    """What a request starts is the request's content, pending."""
    order = new_order("o", REQUEST, NOW)
    assert order[:6] == ("o", "r", "customer", 2933, "USD", (("CD-04", 2),))
    assert order[6:] == ("pending", None, 0, NOW, NOW, None, None)
    assert not order.is_final


def test_a_new_order_has_the_deadline_of_its_length():
    """Counted from when it was placed; with 0 it has none."""
    order = new_order("o", REQUEST, NOW, 900_000)
    assert (order.deadline_at, order.deadline_set_at) == (NOW + 900_000, NOW)


def test_a_deadline_that_was_moved_meanwhile_cancels_nothing():
    """Only the one that the order has now."""
    with pytest.raises(OrderContradiction, match="its deadline is 900001, not 5"):
        expire(PENDING._replace(**SET), 5, NOW)
