"""What everything reads the log with that follows it from outside, without a real broker."""

from __future__ import annotations

from eventbus.kafka.embedded import EmbeddedBroker
from saga.kafka.reader import Reader


def test_looking_for_new_partitions_waits_for_a_broker_that_is_away():
    """It neither ends the reading nor is it taken for an answer: what was known is still read."""
    with EmbeddedBroker({"there": 2}) as broker, Reader(broker.bootstrap_servers, ["there"], look_seconds=0) as reader:
        while not reader.at_end:
            reader.read(0.1)
        positions = reader.positions
        broker.close()
        assert [reader.read(0.1) for _ in range(3)] == [[], [], []]
        assert reader.positions == positions
        assert reader.at_end
