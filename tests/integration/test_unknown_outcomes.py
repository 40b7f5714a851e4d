"""A connection breaks in the middle of a transaction: whatever became of it, every answer stands once in the log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.proxy import LATE_COPY, LOSE_REQUEST, LOSE_RESPONSE, Api, NetworkFault, Proxy
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import Playground, Worker, playground_of


@pytest.fixture
def proxied(broker: Broker, proxy: Proxy, tmp_path: object) -> Iterator[tuple[Playground, Worker, Proxy]]:
    """A worker behind the proxy, with its partitions; the test itself talks to the broker directly."""
    playground = playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db")
    worker = playground.worker(bootstrap=proxy.bootstrap_servers, reconnect_backoff_max_ms="200")
    playground.turn_until(lambda: worker.ready() == 4)
    playground.send(range(100))
    playground.settle(100)
    yield playground, worker, proxy
    playground.close()


@pytest.mark.parametrize(
    "api", [Api.PRODUCE, Api.ADD_PARTITIONS_TO_TXN, Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT, Api.END_TXN]
)
@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_RESPONSE], ids=["request lost", "response lost"])
def test_a_request_or_its_response_is_lost(
    proxied: tuple[Playground, Worker, Proxy], api: Api, fault: NetworkFault
) -> None:
    """The connection breaks before or after the broker has seen the request."""
    playground, _worker, proxy = proxied
    proxy.next(api, fault)
    playground.send(range(100))
    playground.settle(200)
    playground.send(range(100))
    playground.settle(300)
    playground.assert_exactly_once(300)


def test_a_commit_whose_outcome_stays_unknown(proxied: tuple[Playground, Worker, Proxy]) -> None:
    """Every answer to EndTxn is lost until the client gives up: a new producer settles it, recovery reads what became
    of it.
    """
    playground, worker, proxy = proxied
    proxy.next(Api.END_TXN, LOSE_RESPONSE, times=2_000)
    playground.send(range(100))
    playground.turn_until(lambda: bool(worker.watch.doubts))
    proxy.forget_faults()
    playground.settle(200)
    playground.send(range(100))
    playground.settle(300)
    playground.assert_exactly_once(300)


def test_a_producer_whose_connection_broke_between_transactions_is_replaced(
    proxied: tuple[Playground, Worker, Proxy],
) -> None:
    """librdkafka may have forgotten its coordinator, and would wait for it for minutes."""
    playground, worker, proxy = proxied
    producer = worker.log._producers._producer
    assert producer is not None
    before = proxy.seen.count(Api.INIT_PRODUCER_ID)
    proxy.cut()
    playground.turn_until(lambda: producer.poll(0) is not None and worker.log._producers._failures.broken > 0)
    assert worker.log._producers._producer is producer
    playground.send(range(100))
    playground.settle(200)
    assert worker.log._producers._producer is not producer
    assert proxy.seen.count(Api.INIT_PRODUCER_ID) > before
    playground.assert_exactly_once(200)


def test_a_repeated_end_of_transaction_cannot_end_the_next_one(proxied: tuple[Playground, Worker, Proxy]) -> None:
    """librdkafka repeats an EndTxn behind a broken connection and reports success; its first copy arrives late.

    By then the suspect producer has been replaced: the copy's epoch is old, and the next transaction stays whole.
    """
    playground, worker, proxy = proxied
    producer = worker.log._producers._producer
    proxy.next(Api.END_TXN, LATE_COPY)
    playground.send(range(100))
    playground.settle(200)
    assert worker.log._producers._producer is not producer, "the producer became suspect"
    playground.send(range(100))
    late: list[bytes] = []

    def arrive_late() -> None:
        late.append(proxy.send_held())

    worker.at("produced", arrive_late)
    worker.crash_at("offsets sent")
    with pytest.raises(BaseException, match="offsets sent"):
        playground.turn_until(lambda: False)
    assert late, "the late copy arrived in the middle of the next transaction"
    assert len(playground.pongs()) == 200, "and ended nothing"
    playground.abandon(worker)
    playground.worker()
    playground.settle(300)
    playground.assert_exactly_once(300)
