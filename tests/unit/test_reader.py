"""What everything reads the log with that follows it from outside, without a real broker."""

from __future__ import annotations

from confluent_kafka import Producer

from choreography.reader import Reader
from tests.support.processes import PATIENCE


def test_looking_for_new_partitions_waits_for_a_broker_that_is_away():
    """It neither ends the reading nor is it taken for an answer: what was known is still read."""
    broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    [node] = broker.list_topics("there", timeout=PATIENCE).brokers.values()
    with Reader(f"{node.host}:{node.port}", ["there"], look_seconds=0) as reader:
        while not reader.at_end:
            reader.read(0.1)
        positions = reader.positions
        del broker
        assert [reader.read(0.1) for _ in range(3)] == [[], [], []]
        assert reader.positions == positions
        assert reader.at_end
