"""Partitions are added to one topic only, under running workers: those who use it name it."""

from __future__ import annotations

from tests.e2e.conftest import PARTITIONS
from tests.support.saga import SERVICES, Saga

WHY = f"order.cancelled has {PARTITIONS + 2}, the other topics have {PARTITIONS} partitions: "


def test_a_topic_that_is_grown_alone_is_named_by_whoever_reads_or_writes_it(own_saga: Saga) -> None:
    """Once, and while it works; what is placed meanwhile ends as ever."""
    saga = own_saga
    saga.stock(cd_1=100)
    workers = saga.start_all()
    assert not [line for worker in workers for line in worker.events("topics.uneven")]
    saga.admin.grow(["order.cancelled"], PARTITIONS + 2)
    for worker in workers:
        worker.wait_for(WHY)
    saga.import_orders("meanwhile", 20, "cd-1")
    saga.settle()
    assert [len(worker.events("topics.uneven")) for worker in workers] == [1] * len(SERVICES)
