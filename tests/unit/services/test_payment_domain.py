"""A payment is charged or declined, perhaps refunded; every event is decided in every state, with every answer."""

from __future__ import annotations

import pytest

from payment_service.domain import (
    MAX_PAYMENT_ID,
    MAX_REASON,
    Charge,
    Conflict,
    Declined,
    NotAsked,
    NothingTaken,
    Outdated,
    Payment,
    PaymentContradiction,
    Refund,
    charge,
    free_of_charge,
    refund,
    to_ask_for_cancellation,
    to_ask_for_order,
)

CHARGED = Payment("o", "p", 2933, "USD", "charged", None)
DECLINED = Payment("o", None, 2933, "USD", "declined", "too much")
REFUNDED = CHARGED._replace(status="refunded")
CANCELLED = Payment("o", None, 0, "", "cancelled", None)
STATES = {"none": None, "charged": CHARGED, "declined": DECLINED, "refunded": REFUNDED, "cancelled": CANCELLED}
ANSWERS = {
    "charge": Charge("p"),
    "declined": Declined("too much"),
    "refund": Refund("p"),
    "nothing taken": NothingTaken(),
    "conflict": Conflict("the provider knows better"),
    "not asked": NotAsked(),
}
SAME = "same"

ORDER = {
    "none": {
        "charge": CHARGED,
        "declined": DECLINED,
        "refund": Outdated,
        "nothing taken": Outdated,
        "not asked": Outdated,
    },
    "cancelled": {
        "charge": Outdated,
        "declined": Outdated,
        "refund": REFUNDED,
        "nothing taken": SAME,
        "not asked": Outdated,
    },
    "charged": dict.fromkeys(ANSWERS, SAME),
    "declined": dict.fromkeys(ANSWERS, SAME),
    "refunded": dict.fromkeys(ANSWERS, SAME),
}
CANCELLATION = {
    "none": dict.fromkeys(ANSWERS, CANCELLED),
    "cancelled": dict.fromkeys(ANSWERS, SAME),
    "declined": dict.fromkeys(ANSWERS, SAME),
    "refunded": dict.fromkeys(ANSWERS, SAME),
    "charged": {
        "charge": Outdated,
        "declined": Outdated,
        "refund": REFUNDED,
        "nothing taken": PaymentContradiction,
        "not asked": Outdated,
    },
}


def check(decide, state, expected):
    if expected == SAME:
        assert decide() is STATES[state]
    elif isinstance(expected, type):
        with pytest.raises(expected):
            decide()
    else:
        assert decide() == expected


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("state", STATES)
def test_an_order_is_decided_in_every_state_with_every_answer(state, answer):
    """What order.created does is what the table says; a conflict at the provider is always a contradiction."""
    expected = PaymentContradiction if answer == "conflict" else ORDER[state][answer]
    check(lambda: charge(STATES[state], "o", 2933, "USD", ANSWERS[answer]), state, expected)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("state", STATES)
def test_a_cancellation_is_decided_in_every_state_with_every_answer(state, answer):
    """What order.cancelled does is what the table says; a conflict at the provider is always a contradiction."""
    expected = PaymentContradiction if answer == "conflict" else CANCELLATION[state][answer]
    check(lambda: refund(STATES[state], "o", ANSWERS[answer]), state, expected)


@pytest.mark.parametrize("state", ["charged", "declined", "refunded"])
@pytest.mark.parametrize(("total", "currency"), [(2934, "USD"), (2933, "EUR")])
def test_an_order_placed_again_with_other_money_is_a_contradiction(state, total, currency):
    """The same order id stands for one amount of one currency."""
    with pytest.raises(PaymentContradiction, match="2933 USD"):
        charge(STATES[state], "o", total, currency, NotAsked())


@pytest.mark.parametrize("state", STATES)
def test_the_provider_is_asked_for_what_the_decision_needs(state):
    """Whoever was asked as the known state demands is never outdated while the state stays."""
    answers = {"charge": [Charge("p"), Declined("no")], "refund": [Refund("p")], None: [NotAsked()]}
    answers["void"] = [Refund("p"), NothingTaken()]
    for answer in answers[to_ask_for_order(STATES[state])]:
        charge(STATES[state], "o", 2933, "USD", answer)
    for answer in answers[to_ask_for_cancellation(STATES[state])]:
        refund(STATES[state], "o", answer)


def test_a_free_order_goes_on_without_the_provider_and_is_given_back_without_it():
    """A total of 0 is charged and refunded under a payment id made from the order id."""
    paid = charge(None, "o", 0, "USD", free_of_charge("o", "charge"))
    assert paid == Payment("o", "free-o", 0, "USD", "charged", None)
    assert refund(paid, "o", free_of_charge("o", "refund")).status == "refunded"


def test_a_free_order_that_was_cancelled_before_is_neither_charged_nor_refunded():
    """A cancellation that came first stays what it is."""
    assert charge(CANCELLED, "o", 0, "USD", free_of_charge("o", "void")) is CANCELLED


def test_what_is_published_fits_the_language_whatever_came_in():
    """An order id of 200 characters still makes a payment id, and a provider's text every database takes."""
    assert len(free_of_charge("o" * 200, "charge").payment_id) == MAX_PAYMENT_ID
    assert charge(None, "o", 1, "USD", Declined("a\0b" + "x" * 5_000)).error == "a b" + "x" * (MAX_REASON - 3)
