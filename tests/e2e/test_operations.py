"""What happens to workers in operation: stopped, killed, paused, scaled. Nothing is ever lost, nothing done twice."""

from __future__ import annotations

import itertools
import signal
import time

import pytest

from tests.support.saga import SERVICES, SESSION, Saga
from tests.support.saga.processes import Worker
from tests.support.stopwatch import Stopwatch

STOP_SECONDS = 10
AT_ONCE_SECONDS = 2
REFUNDED = "select order_id from payment where status = 'refunded'"


@pytest.fixture
def ready(saga: Saga) -> Saga:
    """The saga with plenty of cd-1, and no worker of another test."""
    saga.workers.kill_all()
    saga.stock(cd_1=1_000_000)
    return saga


def start(saga: Saga, gateway: str = "", instance: str = "a") -> dict[str, Worker]:
    """Start a worker of each service, payment's with a provider that behaves as `gateway` says; wait for none."""
    env = {"PAYMENT_GATEWAY": f"simulated:///{saga.folder}/provider.db?{gateway}"}
    return {module: saga.start(module, *SESSION, instance=instance, **env) for module in SERVICES}


def test_a_worker_that_is_told_to_stop_under_load_does_so_in_time(ready):
    """Exit code 0 within 10 s, for SIGTERM and SIGINT; started again it goes on, and nothing is lost or doubled."""
    workers = start(ready, "latency-ms=100")
    ready.in_the_middle("sigterm", 3_000, "cd-1")
    for module, number in zip(SERVICES, (signal.SIGTERM, signal.SIGINT, signal.SIGTERM), strict=True):
        stopping = Stopwatch()
        workers[module].signal(number)
        assert workers[module].wait() == 0
        assert stopping.seconds < STOP_SECONDS
        ready.start(module, *SESSION)
    ready.settle()


def test_a_worker_that_is_told_to_stop_leaves_no_entry_behind(ready):
    """What is pending is published, what is published is deleted: resetting offsets by hand then repeats nothing."""
    workers = start(ready)
    ready.import_orders("tidy", 300, "cd-1")
    ready.settle()
    assert [workers[module].terminate() for module in SERVICES] == [0, 0, 0]
    for service in ("order-service", "payment-service", "inventory-service"):
        assert ready.rows(service, "select count(*) from outbox") == [(0,)]
        assert ready.rows(service, "select count(*) from uncaused") == [(0,)]


def hanging(saga: Saga, name: str) -> Worker:
    """Return a payment worker in the middle of calls that take 30 seconds."""
    saga.start("order_service", *SESSION)
    slow = f"simulated:///{saga.folder}/provider.db?latency-ms=30000"
    payment = saga.start("payment_service", *SESSION, PAYMENT_GATEWAY=slow)
    payment.wait_ready()
    saga.until(lambda: not payment.calls, "somebody still asks for its health")
    saga.import_orders(name, 5, "cd-1")
    saga.until(lambda: payment.calls > 0, "the provider was not called")
    return payment


def go_on_and_settle(saga: Saga) -> None:
    saga.workers.kill_all()
    start(saga)
    saga.settle()


def test_a_worker_stops_in_time_although_a_call_hangs(ready):
    """It does not wait for the provider's answer: the next one asks again, with the same key."""
    payment = hanging(ready, "hanging")
    stopping = Stopwatch()
    assert payment.terminate() == 0
    assert stopping.seconds < STOP_SECONDS
    go_on_and_settle(ready)


def test_a_second_signal_ends_a_worker_at_once(ready):
    """With the exit code of a signal; nothing is lost by that either."""
    payment = hanging(ready, "twice")
    stopping = Stopwatch()
    payment.signal(signal.SIGINT)
    payment.signal(signal.SIGTERM)  # another one: two of the same kind could be taken for one
    assert payment.wait() in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert stopping.seconds < AT_ONCE_SECONDS
    go_on_and_settle(ready)


def test_a_slow_provider_does_not_cost_a_worker_its_partitions(ready):
    """Calls that take longer than max.poll.interval.ms: polling goes on meanwhile, nobody is thrown out."""
    interval = ("--kafka-config", "max.poll.interval.ms=10000")
    slow = f"simulated:///{ready.folder}/provider.db?latency-ms=13000"
    payment = ready.start("payment_service", *interval, PAYMENT_GATEWAY=slow)
    ready.start("order_service", *SESSION)
    ready.start("inventory_service", *SESSION)
    payment.wait_ready()
    ready.import_orders("slow", 3, "cd-1")
    ready.settle()
    assert payment.events("partitions.lost") == payment.events("partitions.revoked") == []


def test_workers_that_are_killed_go_on_where_they_were(ready):
    """`kill -9` of all three in the middle of the work, twice; the same names are started again."""
    workers = start(ready, "latency-ms=100")
    for name in ("killed", "killed again"):
        ready.in_the_middle(name, 1_500, "cd-1")
        for worker in workers.values():
            worker.kill()
        workers = start(ready, "latency-ms=100")
    ready.settle()


def test_a_worker_that_wakes_up_after_its_session_is_over_changes_nothing(ready):
    """Stopped for so long that another one has its partitions: what it still holds is refused, and it works on."""
    workers = start(ready, "latency-ms=100")
    second = start(ready, "latency-ms=100", instance="b")["payment_service"]
    second.wait_ready()
    ready.in_the_middle("zombie", 2_000, "cd-1")
    zombie = workers["payment_service"]
    zombie.stop()
    ready.until(lambda: second.metric("saga_partitions_assigned") == 9, "the partitions did not move")
    zombie.resume()
    ready.settle()
    ready.until(
        lambda: (
            zombie.metric("saga_partitions_assigned") + second.metric("saga_partitions_assigned") == 9
            and zombie.metric("saga_partitions_assigned") > 0
        ),
        "the one that woke up got no work again",
    )


def test_workers_come_and_go_under_load(ready):
    """One worker a service, then two, then one again: cooperative rebalancing loses and repeats nothing."""
    first = start(ready, "latency-ms=100")
    ready.in_the_middle("scale", 2_000, "cd-1")
    second = start(ready, "latency-ms=100", instance="b")
    waves = itertools.count()

    def all_ready_under_load() -> bool:
        if ready.pending() < 1_000:
            ready.import_orders(f"wave-{next(waves)}", 1_000, "cd-1")
        return all(worker.ready for worker in second.values())

    ready.until(all_ready_under_load, "the second workers got no partitions")
    ready.in_the_middle("scale back", 1_000, "cd-1")
    assert [worker.terminate() for worker in second.values()] == [0, 0, 0]
    ready.settle()
    for module, worker in first.items():
        partitions = 17 if module == "order_service" else 9 if module == "payment_service" else 13
        ready.until(
            lambda w=worker, p=partitions: w.metric("saga_partitions_assigned") == p, f"{module} did not get all back"
        )


def test_a_provider_that_fails_and_loses_answers_charges_nobody_twice(ready):
    """Every third call fails before or after its effect; both books say the same in the end, refunds included."""
    ready.stock(cd_9=50)
    start(ready, "failure-rate=0.2&lose-reply-rate=0.2")
    ready.import_orders("lossy", 200, "cd-9")
    ready.settle()
    books = ready.ask("payment_service", "ledger")
    assert books["service"] == books["provider"]
    assert ready.shelf()["cd-9"]["reserved"] == 50
    reasons = "select order_id from orders where reason like 'out of stock:%cd-9%'"
    cancelled = {order_id for (order_id,) in ready.rows("order-service", reasons)}
    assert len(cancelled) == 150
    refunded = {order_id for (order_id,) in ready.rows("payment-service", REFUNDED)}
    assert cancelled <= refunded


def test_a_worker_tells_its_metrics(ready):
    """Counts are exact, and what is pending and what is unread is nothing in the end."""
    workers = start(ready)
    for worker in workers.values():
        worker.wait_ready()
    ready.stock(cd_8=60)
    placing = time.monotonic()
    ready.import_orders("metrics", 100, "cd-8")
    ready.settle()
    took = time.monotonic() - placing
    payment = workers["payment_service"]
    assert payment.metric("saga_events_consumed_total", topic="order.created") == 100
    assert payment.metric("saga_events_consumed_total", topic="order.cancelled") == 40
    assert payment.metric("saga_events_published_total", topic="payment.charged") == 100
    assert payment.metric("saga_events_published_total", topic="payment.refunded") == 40
    ready.until(lambda: payment.metric("saga_partitions_assigned") == 9, "it has not all partitions")
    for worker in workers.values():
        ready.until(lambda w=worker: w.get("/livez") == w.get("/readyz") == (200, "ok\n"), "somebody is not well")
        assert worker.metric("saga_transactions_total", outcome="committed") > 0
        events = worker.metric("saga_event_delay_seconds_count")
        assert events > 0
        assert 0 < worker.metric("saga_event_delay_seconds_sum") < events * took
        assert worker.metric("saga_outbox_pending") == 0
        ready.until(lambda w=worker: w.metric("saga_consumer_lag_records") == 0, "something stays unread")
    bad = ready.admin.produce("order.created", b"no-such-order", b"{}")
    ready.until(
        lambda: 'saga_dead_letters_total{reason="not_framed"} 1.0' in payment.get("/metrics")[1],
        f"{bad} was not dead-lettered",
    )


def test_what_a_worker_does_not_serve_is_not_found(ready):
    """And the answer names what there is."""
    worker = ready.start("inventory_service", *SESSION)
    worker.wait_ready()
    assert worker.get("/other") == (404, "try /metrics, /livez or /readyz\n")
