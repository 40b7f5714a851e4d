"""What a person sees in a worker's terminal, on a real Kafka."""

from __future__ import annotations

import re

from tests.support.saga import Saga

LINE = re.compile(r"\d\d:\d\d:\d\d \[info\] ")
START = ["connected to Kafka at", "payment-service has started as", "assigned: 9 partitions of 3 topics", "ready after"]


def test_a_start_is_a_few_lines_and_a_batch_is_one(saga: Saga) -> None:
    """No partition by its name, no warning; then how many events of which topics, an order, the lag."""
    worker = saga.start("payment_service", "--log-format", "console")
    worker.wait_ready()
    saga.start("order_service").wait_ready()
    order = saga.place("cd-1=1", wait=0)["order_id"]
    worker.wait_for("handled")
    assert worker.terminate() == 0
    lines = worker.log.splitlines()
    assert all(LINE.match(line) for line in lines), worker.log
    said = [LINE.sub("", line) for line in lines]
    assert "order.created/0" not in worker.log, "a line a partition"
    assert said[0].startswith("metrics and health: port")
    start = said[1 : 1 + len(START)]
    assert all(line.startswith(begun) for line, begun in zip(start, START, strict=True)), start
    [handled] = [line for line in said if line.startswith("handled")]
    assert re.fullmatch(rf"handled 1 order.created, to publish: 1 payment.\w+; e.g. {order}; \d+ ms, lag \d+", handled)
    assert said[-1] == "stopped"
