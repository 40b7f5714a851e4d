"""The walked flow: every way a saga can go."""

from __future__ import annotations

from saga.flow.model import Edge, Flow
from saga.flow.progress import runs
from saga.services import SERVICES
from tests.support.saga.declarations import declared, reaction

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
    assert flow.reverse_topological().index("b.failed") < flow.reverse_topological().index("a.asked")
