"""An order whose answers never come is cancelled by the order service, and undone by whoever answers later."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.saga import SESSION, Saga, headers_of


@pytest.fixture(autouse=True)
def _without_workers(saga: Saga) -> Iterator[None]:
    """Each test begins without workers of the one before."""
    yield
    saga.workers.kill_all()


def place(saga: Saga, deadline: str) -> str:
    placed = saga.place("cd-1=1", wait=0, more=("--order-deadline", deadline))
    return str(placed["order_id"])


def await_cancelled(saga: Saga, order_id: str) -> None:
    cancelled = f"select 1 from orders where status = 'cancelled' and order_id = '{order_id}'"
    saga.until(lambda: saga.rows("order-service", cancelled), "it was not cancelled")
    saga.until(lambda: saga.records("order.cancelled", order_id), "it was not published")


def why(saga: Saga, order_id: str) -> str:
    tracker = ("--tracker", f"{saga.folder}/tracker-of-{order_id}.db")
    assert saga.run("saga", "track", "--no-follow", *tracker).code == 0
    return str(saga.ask("saga", "why", order_id, *tracker)["why"])


def overdue(saga: Saga) -> list[str]:
    """Return the orders that `saga check` finds pending after their deadline."""
    found = saga.run("saga", "check", "--deadline-margin", "0", "--clock-skew", "0", "--json")
    violations = json.loads(found.stdout)["violations"]
    return [each["order_id"] for each in violations if each["law"] == "no-order-is-overdue"]


def test_an_order_that_no_worker_cancels_is_found(saga: Saga) -> None:
    """Until a worker of the order service runs again: by `saga check` in its database, by `saga why` on the log."""
    for module in ("payment_service", "inventory_service"):  # their databases are looked into
        saga.start(module, *SESSION).wait_ready()
    saga.workers.kill_all()
    saga.start("order_service", *SESSION).wait_ready()
    order_id = place(saga, "4s")
    saga.until(lambda: saga.records("order.created", order_id), "it was not published")
    saga.workers.kill_all()
    assert "; cancels itself in " in (told := why(saga, order_id)) or "its deadline passed " in told
    saga.until(lambda: order_id in overdue(saga), "it was not found")
    assert "; its deadline passed " in why(saga, order_id)
    for module in ("order_service", "payment_service", "inventory_service"):
        saga.start(module, *SESSION).wait_ready()
    await_cancelled(saga, order_id)
    saga.settle()
    assert order_id not in overdue(saga)


@pytest.mark.quick
def test_an_order_that_nobody_answers_cancels_itself(saga: Saga) -> None:
    """Neither payment nor inventory runs. Started later they charge and reserve nothing that is not undone."""
    saga.stock(cd_1=10)
    saga.start("order_service", *SESSION).wait_ready()
    order_id = place(saga, "2s")
    await_cancelled(saga, order_id)
    order = saga.ask("order_service", "show", order_id)
    assert (order["status"], order["reason"]) == ("cancelled", "nobody answered within 2 s")
    assert order["deadline_at"] is None
    [cancelled] = saga.records("order.cancelled", order_id)
    headers = headers_of(cancelled)
    assert headers["ce_id"] == f"order.cancelled@{headers['ce_deadline']}/{order_id}"
    assert "ce_causationid" not in headers
    assert why(saga, order_id).endswith(
        " after order.created, because its deadline had passed: payment-service had not answered"
    )
    for module in ("payment_service", "inventory_service"):
        saga.start(module, *SESSION).wait_ready()
    released = f"select 1 from reservation where status = 'cancelled' and order_id = '{order_id}'"
    saga.until(lambda: saga.rows("inventory-service", released), "inventory has not heard of it")
    saga.settle()
    assert len(saga.records("order.cancelled", order_id)) == 1
    assert saga.shelf()["cd-1"]["reserved"] == 0


@pytest.mark.parametrize("step", ["deadlines found", "after database commit:2"], ids=["found", "decided"])
def test_a_worker_that_is_killed_while_it_fires_leaves_it_to_the_next_one(saga: Saga, step: str) -> None:
    """By SIGKILL, in a process of its own: the order is cancelled once. The first commit is about order.created."""
    victim = saga.start("order_service", *SESSION, SAGA_FAILPOINT=step)
    victim.wait_ready()
    order_id = place(saga, "2s")
    assert victim.wait() != 0
    for module in ("order_service", "payment_service", "inventory_service"):
        saga.start(module, *SESSION).wait_ready()
    await_cancelled(saga, order_id)
    saga.settle()
    assert len(saga.records("order.cancelled", order_id)) == 1


def test_a_worker_can_be_told_to_end_what_was_placed_without_a_deadline(saga: Saga) -> None:
    """Counted from its start. A worker that is not told lets the order wait."""
    order_id = place(saga, "0")
    saga.start("order_service", *SESSION).wait_ready()
    saga.until(lambda: saga.records("order.created", order_id), "it was not published")
    saga.workers.kill_all()
    assert saga.ask("order_service", "show", order_id)["status"] == "pending"
    saga.start("order_service", "--order-deadline", "1s", *SESSION, instance="b").wait_ready()
    await_cancelled(saga, order_id)
    assert saga.ask("order_service", "show", order_id)["reason"] == "nobody answered within 1 s"
