"""A person cancels an order while a worker decides about it: the order's row is locked, and one of them wins."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from eventbus import Codec
from eventbus.database import connect
from eventbus.serde.registry import registry_at
from order_service.domain import AlreadyConfirmed, Order, OrderRequest
from order_service.repository import SCHEMA, find_order
from order_service.service import Cancellation, OrderService
from schemas import InventoryReserved
from tests.support.saga.processes import PATIENCE

EVENTS = OrderService.root_events()
CODEC = Codec(registry_at(None, EVENTS), EVENTS)
REQUEST = OrderRequest("42", 2_933, "USD", (("cd-1", 1),))


@pytest.mark.parametrize("confirms", [True, False])
def test_whoever_locks_the_row_first_wins(database_url: str, confirms: bool) -> None:
    """A worker has decided and not committed: the person waits, and is refused, or wins if the worker rolls back."""
    service = OrderService(lambda: 1, lambda: "o")
    decided, waits = threading.Event(), threading.Event()
    with closing(connect(database_url, service=service.name, schema=SCHEMA)) as database:
        service.create_order(REQUEST, database, CODEC)

        def work() -> None:
            event = InventoryReserved("o")
            with pytest.raises(ZeroDivisionError) if not confirms else threading.Lock(), database.transaction() as tx:
                orders = service.repository.load(tx, [event])
                service.reactions[InventoryReserved].answer(service, event, work=orders)
                service.repository.save(tx, orders)
                decided.set()
                waits.wait(1)  # a person who does not wait for the lock has decided by then
                assert confirms or 1 / 0

        def cancel() -> Cancellation:
            with closing(connect(database_url, service=service.name, schema=SCHEMA)) as own:
                assert decided.wait(PATIENCE)
                try:
                    return service.cancel_order("o", "on request", own, CODEC)
                finally:
                    waits.set()

        with ThreadPoolExecutor(2) as both:
            worker, person = both.submit(work), both.submit(cancel)
            worker.result(PATIENCE)
            if confirms:
                with pytest.raises(AlreadyConfirmed):
                    person.result(PATIENCE)
            else:
                assert not person.result(PATIENCE).repeated
        order: Order | None
        with database.snapshot() as tx:
            order = find_order(tx, "o")
    assert order is not None
    assert order.status == ("confirmed" if confirms else "cancelled")


def test_two_people_cancel_at_once_and_one_of_them_wins(database_url: str) -> None:
    """One order.cancelled waits to be published, with the winner's reason."""
    service = OrderService(lambda: 1, lambda: "o")

    def cancel(number: int) -> Cancellation:
        with closing(connect(database_url, service=service.name, schema=SCHEMA)) as own:
            return service.cancel_order("o", f"on request of {number}", own, CODEC)

    with closing(connect(database_url, service=service.name, schema=SCHEMA)) as database:
        service.create_order(REQUEST, database, CODEC)
        with ThreadPoolExecutor(4) as people:
            done = list(people.map(cancel, range(4)))
        with database.snapshot() as tx:
            waiting = [row[0] for row in tx.rows("select id from uncaused order by number")]
    assert [each.repeated for each in done].count(False) == 1
    assert len({each.order.reason for each in done}) == 1
    assert waiting == ["order.created/o", "order.cancelled/o"]
