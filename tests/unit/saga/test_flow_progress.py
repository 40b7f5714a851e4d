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
RELEASED = "inventory.released"


def names(handlers):
    return {handler.name for handler in handlers}


def test_services_and_events_come_in_the_order_of_the_saga():
    """Whatever order the declarations come in."""
    assert [service.service for service in Flow.of(SERVICES[::-1]).services] == [
        "order-service",
        "payment-service",
        "inventory-service",
    ]
    assert list(FLOW.events) == [CREATED, CHARGED, FAILED, RESERVED, SHORT, CONFIRMED, CANCELLED, REFUNDED, RELEASED]


def test_a_saga_can_go_four_ways():
    """All is well; a person cancels it; something is missing and the money goes back; the charge is refused."""
    assert runs(FLOW, CREATED) == [
        (CREATED, CHARGED, RESERVED, CONFIRMED),
        (CREATED, CHARGED, RESERVED, CANCELLED, REFUNDED, RELEASED),
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
    assert len(FLOW.edges) == 13


def test_what_a_person_may_request_can_happen_before_every_step_until_the_end():
    """And the service that was asked publishes no other ending; one that another service decided does not stop it."""
    steps = (
        declared("a-service", reaction("b.done", "a.ended"), initiates=("a.asked",), completes=("a.ended",)),
        declared("b-service", reaction("a.asked", "b.done")),
    )
    asked = declared(
        "a-service",
        reaction("b.done", "a.ended"),
        initiates=("a.asked",),
        completes=("a.ended",),
        aborts=("a.stopped",),
        on_request=("a.stopped",),
    )
    assert runs(Flow(steps), "a.asked") == [("a.asked", "b.done", "a.ended")]
    assert set(map(frozenset, runs(Flow([asked, steps[1]]), "a.asked"))) == {
        frozenset({"a.asked", "b.done", "a.ended"}),
        frozenset({"a.asked", "b.done", "a.stopped"}),
    }


def test_a_cycle_is_followed_once():
    """Then the way out; and its events have an order all the same when it is declared."""
    ring = [
        declared("a-service", reaction("b.failed", "a.asked", "a.ended", repeats=True), initiates=("a.asked",)),
        declared("b-service", reaction("a.asked", "b.done", "b.failed")),
    ]
    flow = Flow(ring)
    assert runs(flow, "a.asked") == [("a.asked", "b.done"), ("a.asked", "b.failed", "a.ended")]
    assert flow.reverse_topological().index("b.failed") < flow.reverse_topological().index("a.asked")
