"""A reservation takes all items or none; every event is decided in every state, in any order of arrival."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.domain import (
    BelowReserved,
    Change,
    Reservation,
    ReservationContradiction,
    Stock,
    note_cancellation,
    note_items,
    note_payment,
)

ITEMS = (("a", 2), ("b", 1))
ENOUGH = {"a": Stock("a", 10, 3), "b": Stock("b", 1, 0)}
TAKEN = {"a": Stock("a", 10, 5), "b": Stock("b", 1, 1)}

AWAITING_PAYMENT = Reservation("o", "awaiting_payment", ITEMS)
AWAITING_ITEMS = Reservation("o", "awaiting_items", ())
RESERVED = Reservation("o", "reserved", ITEMS)
FAILED = Reservation("o", "failed", ITEMS, "out of stock")
CANCELLED = Reservation("o", "cancelled", ITEMS)
TOMBSTONE = Reservation("o", "cancelled", ())
STATES = {
    "none": None,
    "awaiting payment": AWAITING_PAYMENT,
    "awaiting items": AWAITING_ITEMS,
    "reserved": RESERVED,
    "failed": FAILED,
    "cancelled": CANCELLED,
    "cancelled before the order was heard of": TOMBSTONE,
}
SET_ASIDE = Change(RESERVED, tuple(TAKEN.values()))
SAME = "same"

DECISIONS = {
    "none": (Change(AWAITING_PAYMENT), Change(AWAITING_ITEMS), Change(TOMBSTONE)),
    "awaiting payment": (SAME, SET_ASIDE, Change(CANCELLED)),
    "awaiting items": (SET_ASIDE, SAME, Change(TOMBSTONE)),
    "reserved": (SAME, SAME, Change(CANCELLED, tuple(ENOUGH.values()))),
    "failed": (SAME, SAME, SAME),
    "cancelled": (SAME, SAME, SAME),
    "cancelled before the order was heard of": (SAME, SAME, SAME),
}
EVENTS = {
    "order.created": lambda known, shelf: note_items(known, "o", ITEMS, shelf),
    "payment.charged": lambda known, shelf: note_payment(known, "o", shelf),
    "order.cancelled": lambda known, shelf: note_cancellation(known, "o", shelf),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_is_decided_in_every_state(state, event):
    """What an event does is what the table says, and nothing at all where it says `same`."""
    expected = DECISIONS[state][list(EVENTS).index(event)]
    known = STATES[state]
    change = EVENTS[event](known, (TAKEN if state == "reserved" else ENOUGH).get)
    if expected == SAME:
        assert change.reservation is known
        assert change.stock == ()
    else:
        assert change == expected


@pytest.mark.parametrize("state", ["awaiting payment", "reserved", "failed", "cancelled"])
def test_an_order_placed_again_with_other_items_is_a_contradiction(state):
    """The same order id stands for one list of items."""
    with pytest.raises(ReservationContradiction, match="placed again"):
        note_items(STATES[state], "o", (("a", 3),), ENOUGH.get)


def test_stock_that_lost_what_is_set_aside_is_a_contradiction():
    """Releasing never makes `reserved` negative, and never invents an article."""
    for shelf in ({"a": Stock("a", 10, 1), "b": Stock("b", 1, 1)}, {"a": Stock("a", 10, 5)}):
        with pytest.raises(ReservationContradiction, match="the stock has fewer reserved"):
            note_cancellation(RESERVED, "o", shelf.get)


SHORT = {
    "one article is short": (
        ITEMS,
        {"a": Stock("a", 4, 3), "b": Stock("b", 9, 0)},
        "out of stock: 2 of a wanted, 1 left",
    ),
    "an unknown article": (ITEMS, {"a": Stock("a", 10, 0)}, "out of stock: b is not a known article"),
    "the same article twice": ((("a", 2), ("a", 3)), {"a": Stock("a", 4, 0)}, "out of stock: 5 of a wanted, 4 left"),
    "many articles": (
        tuple((f"x{n}", 1) for n in range(5)),
        {},
        "out of stock: x0 is not a known article; x1 is not a known article; x2 is not a known article; and 2 more",
    ),
}


@pytest.mark.parametrize("case", SHORT)
def test_one_missing_item_sets_nothing_aside_and_says_what_is_missing(case):
    """All items or none; an unknown article is an ordinary shortage."""
    items, shelf, error = SHORT[case]
    change = note_payment(Reservation("o", "awaiting_payment", items), "o", shelf.get)
    assert change == Change(Reservation("o", "failed", items, error), ())


SKUS = st.sampled_from("abcd")
ORDERS = st.lists(st.tuples(SKUS, st.integers(1, 5)), min_size=1, max_size=5).map(tuple)
SHELVES = st.dictionaries(SKUS, st.integers(0, 8)).map(
    lambda counts: {s: Stock(s, n, n // 2) for s, n in counts.items()}
)


def play(events, items, shelf):
    """Return the reservation and the shelf after these events, and all reservations on the way."""
    decide = {
        "items": lambda known: note_items(known, "o", items, shelf.get),
        "payment": lambda known: note_payment(known, "o", shelf.get),
        "cancellation": lambda known: note_cancellation(known, "o", shelf.get),
    }
    known, shelf = None, dict(shelf)
    for event in events:
        known, stock = decide[event](known)
        shelf.update({article.sku: article for article in stock})
        assert all(0 <= article.reserved <= article.on_hand for article in shelf.values())
    return known, shelf


@given(ORDERS, SHELVES)
def test_items_and_money_end_the_same_in_either_order(items, shelf):
    """Which of the two topics is read first makes no difference, to the reservation or to the stock."""
    one, other = (play(events, items, shelf) for events in permutations(["items", "payment"]))
    assert one == other
    assert one[0].status in ("reserved", "failed")


@given(ORDERS, SHELVES, st.permutations(["items", "items", "payment", "payment", "cancellation"]))
def test_whatever_comes_a_cancelled_order_holds_nothing(items, shelf, events):
    """Late, early and repeated events leave the stock of a cancelled order as it was before the order."""
    assert play(events, items, shelf)[1] == shelf


@given(ORDERS, SHELVES, st.permutations(["items", "payment"]))
def test_repeated_events_change_nothing(items, shelf, events):
    """Hearing everything twice is like hearing it once."""
    assert play([*events, *events], items, shelf) == play(events, items, shelf)


def test_stock_is_never_counted_below_what_is_set_aside():
    """A count below `reserved` is refused and says how many are set aside; at `reserved` it is fine."""
    assert Stock("a", 10, 5).counted(5) == Stock("a", 5, 5)
    with pytest.raises(BelowReserved, match="5 of a"):
        Stock("a", 10, 5).counted(4)
