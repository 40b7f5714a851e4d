"""An order whose answers never come is cancelled by the order service, and undone by whoever answers later."""

from __future__ import annotations

import pytest

from tests.support.saga import Saga, headers_of


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
