"""A partition is read from its checkpoint on, whatever librdkafka is still asking the broker about it."""

from __future__ import annotations

from choreography.chaos.proxy import Api, Fault, Proxy
from tests.support.engines import playground_of
from tests.support.kafka_node import Broker


def test_no_late_answer_about_offsets_moves_a_partition_to_its_end(
    broker: Broker, proxy: Proxy, tmp_path: object
) -> None:
    """Slow answers to ListOffsets: a consumer that was assigned a logical offset would go there after the seek."""
    playground = playground_of(broker.bootstrap_servers, f"sqlite:///{tmp_path}/service.db")
    for _ in range(20):  # batches of their own: one fetch takes only the first of each partition
        playground.send(range(20))
    worker = playground.worker(bootstrap=proxy.bootstrap_servers, fetch_message_max_bytes="100")
    proxy.next(Api.LIST_OFFSETS, Fault(delay=1.5), times=4)
    try:
        playground.turn_until(lambda: worker.ready() == 4)
        playground.settle(400)
        playground.assert_exactly_once(400)
    finally:
        playground.close()
