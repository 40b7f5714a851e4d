"""Three brokers, replication 3, min.insync.replicas 2: whatever happens to them, everybody is soon back at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from order_service.repository import all_orders
from saga.demo.plan import DECLINE_ABOVE, Shares, make_plan
from tests.chaos.auditor import Auditor, differences
from tests.chaos.brokers import Brokers
from tests.chaos.customers import Customers, open_orders
from tests.chaos.fleet import MADE_FOR
from tests.chaos.judgement import ENDINGS
from tests.support.brokers.kafka_cluster import KafkaCluster
from tests.support.saga import Saga
from tests.support.saga.outages import LONG, NORMAL_AGAIN_SECONDS, SECONDS, lasting
from tests.support.saga.supervised import Supervised
from tests.support.stopwatch import Stopwatch

DURING, AFTER = 60, 40
"""Orders that are placed while a fault lasts, and when it is over."""
FLOW_SECONDS = 6.0
AWAY_SECONDS = 3.0
MIN_ISR_SECONDS = 10.0


@pytest.fixture
def cluster(make_cluster: Callable[..., KafkaCluster]) -> KafkaCluster:
    """Brokers that may be killed."""
    return make_cluster(3)


@pytest.fixture
def saga(cluster: KafkaCluster, tmp_path: Path) -> Iterator[Saga]:
    """A saga on that cluster: two workers of each service, each topic has three copies."""
    provider = f"simulated:///{tmp_path}/provider.db?decline-above={DECLINE_ABOVE}"
    saga = Saga(tmp_path, cluster.bootstrap_servers, PAYMENT_GATEWAY=provider)
    saga.make_topics(4)
    yield saga
    saga.close()


def faults(brokers: Brokers) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield what happens to the brokers; `make outages` kills each of them, else one is killed."""
    yield "rolling restart", lambda: brokers.roll(1)
    for number in (1, 2, 3) if SECONDS else (1,):
        yield f"kill -9 of {number}", lambda: brokers.kill([number], AWAY_SECONDS)  # noqa: B023 - called before the next
    yield "two of three away", lambda: brokers.kill([2, 3], lasting(MIN_ISR_SECONDS))
    yield "leaders moved", brokers.move_leaders
    yield "partitions reassigned", brokers.reassign_some


@LONG
def test_everybody_is_back_soon_after_each_fault_and_every_order_ends_as_it_must(
    saga: Saga, cluster: KafkaCluster
) -> None:
    """Rolling restart, kill -9, fewer than min.insync.replicas, other leaders, new replicas.

    Within 30 s of the end of each all workers are ready and every order has ended; no event is lost or doubled. A
    worker that hangs in the client ends itself, and its supervisor starts it again; no other one ends.
    """
    brokers = Brokers(cluster.bootstrap_servers, {}, cluster, seed=1)
    wanted = list(faults(brokers))
    plan = make_plan((DURING + AFTER) * (len(wanted) + 1), Shares(0.1, 0.1), seed=1)
    saga.stock(**{sku.replace("-", "_"): count for sku, count in plan.stock.items()})
    requests = iter(plan.requests)
    url = saga.env["ORDER_SERVICE_DATABASE"]

    def orders(count: int, seconds: float) -> Customers:
        customers = Customers(url, [next(requests) for _ in range(count)], seconds)
        customers.begin()
        return customers

    with Auditor(cluster.bootstrap_servers, {}) as auditor, Supervised(saga, "ab") as workers:
        saga.until(lambda: workers.ready, "not every worker was ready")
        for name, fault in [("nothing", lambda: time.sleep(1)), *wanted]:
            brokers.wait_until_in_sync()
            during = orders(DURING, FLOW_SECONDS)
            fault()
            again = Stopwatch()
            after = orders(AFTER, 0.1)
            for customers in (during, after):
                customers.wait()
            saga.until(lambda: not saga.pending() and workers.ready, f"after {name}: not every order had ended")
            print(f"{name}: normal again after {again.seconds:.1f} s, {again.held:.1f} s more the machine was busy")
            print(f"exit codes so far {workers.codes}")
            assert again.seconds < NORMAL_AGAIN_SECONDS, name
        report = saga.settle()
        assert workers.terminate() == [0] * 6
        assert set(workers.codes) <= MADE_FOR
        assert not auditor.trouble
        assert list(differences(auditor.live, auditor.read_again())) == []
    assert report["orders"] == len(plan.requests)
    with open_orders(url).snapshot() as tx:
        ended = {str(order.request_id): order.status for order in all_orders(tx)}
    assert ended == {request_id: ENDINGS[ending] for request_id, ending in plan.endings.items()}
