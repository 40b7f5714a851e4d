"""The walked flow: what is due, who waits, what can still happen, and every way a saga can go."""

from __future__ import annotations

import pytest

from choreography.check.command import SERVICES
from choreography.flow.model import Edge, Flow
from choreography.flow.progress import after, due, runs, waiting
from tests.support.declarations import declared, reaction

FLOW = Flow.of(SERVICES)
CREATED, CHARGED, FAILED = "order.created", "payment.charged", "payment.failed"
RESERVED, SHORT = "inventory.reserved", "inventory.reservation.failed"
CONFIRMED, CANCELLED, REFUNDED = "order.confirmed", "order.cancelled", "payment.refunded"


def names(handlers):
    return {handler.name for handler in handlers}


def test_services_and_events_come_in_the_order_of_the_saga():
    """Whatever order the declarations come in."""
    assert [service.service for service in Flow.of(SERVICES[::-1]).services] == [
        "order-service",
        "payment-service",
        "inventory-service",
    ]
    assert list(FLOW.events) == [CREATED, CHARGED, FAILED, RESERVED, SHORT, CONFIRMED, CANCELLED, REFUNDED]


def test_a_saga_can_go_three_ways():
    """All is well; something is missing and the money goes back; the charge is refused."""
    assert runs(FLOW, CREATED) == [
        (CREATED, CHARGED, RESERVED, CONFIRMED),
        (CREATED, CHARGED, SHORT, CANCELLED, REFUNDED),
        (CREATED, FAILED, CANCELLED),
    ]


@pytest.mark.parametrize(
    ("happened", "possible", "whose_turn"),
    [
        ([], set(FLOW.events), set()),
        ([CREATED], set(FLOW.events) - {CREATED}, {"payment-service charge_payment"}),
        (
            [CREATED, CHARGED],
            {RESERVED, SHORT, CONFIRMED, CANCELLED, REFUNDED},
            {"inventory-service remember_items", "inventory-service reserve_inventory"},
        ),
        ([CREATED, CHARGED, RESERVED], {CONFIRMED}, {"order-service confirm_order"}),
        ([CREATED, CHARGED, RESERVED, CONFIRMED], set(), set()),
        ([CREATED, FAILED], {CANCELLED}, {"order-service cancel_unpaid_order"}),
        ([CREATED, FAILED, CANCELLED], set(), set()),
        ([CREATED, CHARGED, SHORT], {CANCELLED, REFUNDED}, {"order-service cancel_unreserved_order"}),
        ([CREATED, CHARGED, SHORT, CANCELLED], {REFUNDED}, {"payment-service refund_payment"}),
        ([CREATED, CHARGED, SHORT, CANCELLED, REFUNDED], set(), set()),
    ],
)
def test_what_can_still_happen_is_what_the_flow_allows(happened, possible, whose_turn):
    """And whose turn it is, in every situation that an order can be in."""
    assert after(FLOW, happened) == possible
    assert names(due(FLOW, happened)) == whose_turn


def test_inventory_waits_for_the_money_until_it_comes_or_the_order_is_cancelled():
    """And for the items, where the money came first."""
    assert [(h.name, awaited) for h, awaited in waiting(FLOW, [CREATED])] == [
        ("inventory-service remember_items", (CHARGED,))
    ]
    assert [awaited for _, awaited in waiting(FLOW, [CHARGED])] == [(CREATED,)]
    assert waiting(FLOW, [CREATED, CHARGED]) == waiting(FLOW, [CREATED, FAILED, CANCELLED]) == ()


def test_who_undoes_what_is_what_the_handlers_declare():
    """Each step that changed something has its compensation."""
    assert {event: names(handlers) for event, handlers in FLOW.compensates.items()} == {
        CREATED: {"order-service cancel_unpaid_order", "order-service cancel_unreserved_order"},
        CHARGED: {"payment-service refund_payment"},
        RESERVED: {"inventory-service release_inventory"},
    }
    assert FLOW.endings == {CONFIRMED, CANCELLED}


def test_an_edge_names_the_handler_and_a_start_has_none():
    """What is drawn, and what a record's cause is compared with."""
    assert Edge(None, CREATED, "order-service", None) in FLOW.edges
    assert Edge(CANCELLED, REFUNDED, "payment-service", "refund_payment") in FLOW.edges
    assert len(FLOW.edges) == 12


def test_a_cycle_is_followed_once():
    """Then the way out; and its events have an order all the same when it is declared."""
    ring = [
        declared("a-service", reaction("b.failed", "a.asked", "a.ended", repeats=True), initiates=("a.asked",)),
        declared("b-service", reaction("a.asked", "b.done", "b.failed")),
    ]
    flow = Flow(ring)
    assert runs(flow, "a.asked") == [("a.asked", "b.done"), ("a.asked", "b.failed", "a.ended")]
    assert after(flow, ["a.asked", "b.failed"]) == {"a.ended"}
    assert flow.effects_first().index("b.failed") < flow.effects_first().index("a.asked")
