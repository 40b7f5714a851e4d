"""An order whose answers never come is cancelled by the order service, and undone by whoever answers later."""

from __future__ import annotations

import pytest

from tests.support.saga import SESSION, Saga, headers_of

STEPS_BEFORE = {"after database commit": 2, "offsets sent": 3}
"""The first time is for order.created, and for the offsets of the assignment."""


@pytest.mark.quick
def test_an_order_that_nobody_answers_cancels_itself(saga: Saga) -> None:
    """Neither payment nor inventory runs. Started later they charge and reserve nothing that is not undone."""
    saga.stock(cd_1=10)
    saga.start("order_service").wait_ready()
    order_id = saga.place("cd-1=1", wait=0, more=("--order-deadline", "2s"))["order_id"]
    saga.until(lambda: saga.summary().get("cancelled"), "it was not cancelled")
    order = saga.ask("order_service", "show", order_id)
    assert (order["status"], order["reason"]) == ("cancelled", "nobody answered within 2 s")
    assert order["deadline_at"] is None
    [cancelled] = saga.until(lambda: saga.records("order.cancelled", order_id), "it was not published")
    headers = headers_of(cancelled)
    assert headers["ce_id"] == f"order.cancelled@{headers['ce_deadline']}/{order_id}"
    assert "ce_causationid" not in headers
    for module in ("payment_service", "inventory_service"):
        saga.start(module).wait_ready()
    saga.until(
        lambda: saga.rows("inventory-service", "select 1 from reservation where status = 'cancelled'"), "it waits"
    )
    saga.settle()
    assert len(saga.records("order.cancelled", order_id)) == 1
    assert saga.shelf()["cd-1"]["reserved"] == 0


@pytest.mark.parametrize("step", ["deadlines found", "after database commit", "offsets sent"])
def test_a_worker_that_is_killed_while_it_fires_leaves_it_to_the_next_one(saga: Saga, step: str) -> None:
    """By SIGKILL, in a process of its own: the order is cancelled once."""
    victim = saga.start("order_service", *SESSION, SAGA_FAILPOINT=f"{step}:{STEPS_BEFORE.get(step, 1)}")
    victim.wait_ready()
    order_id = saga.place("cd-1=1", wait=0, more=("--order-deadline", "2s"))["order_id"]
    assert victim.wait() != 0
    saga.start("order_service", *SESSION).wait_ready()
    saga.until(lambda: saga.summary().get("cancelled"), "it was not cancelled")
    saga.until(lambda: saga.records("order.cancelled", order_id), "it was not published")
    for module in ("payment_service", "inventory_service"):
        saga.start(module).wait_ready()
    saga.settle()
    assert len(saga.records("order.cancelled", order_id)) == 1


def test_a_worker_can_be_told_to_end_what_was_placed_without_a_deadline(saga: Saga) -> None:
    """Counted from its start. A worker that is not told lets the order wait."""
    saga.start("order_service").wait_ready()
    order_id = saga.place("cd-1=1", wait=0, more=("--order-deadline", "0"))["order_id"]
    saga.workers.kill_all()
    assert saga.summary() == {"pending": 1}
    saga.start("order_service", "--order-deadline", "1s", instance="b").wait_ready()
    saga.until(lambda: saga.summary().get("cancelled"), "it was not cancelled")
    assert saga.ask("order_service", "show", order_id)["reason"] == "nobody answered within 1 s"
