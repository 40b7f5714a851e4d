"""What a worker says about itself is bounded, whatever happens how often."""

from __future__ import annotations

from structlog.testing import capture_logs

from eventbus.log import Partition
from eventbus.worker.telemetry import Telemetry

WAITING = Partition("a", 1)
LABELS = {"topic": "a", "partition": "1", "reason": "schema_registry"}


def test_a_warning_is_said_once_in_a_while_whichever_order_it_is_about():
    """Orders' ids aside, what differs is said; a thousand orders that wait for one provider are one line."""
    with capture_logs() as said:
        telemetry = Telemetry("some-service", "one")
        for number in range(1_000):
            telemetry.warn(f"the answer to the charge 01980c4e-8f3a-7cc2-a1d5-{number:012x} was lost")
        telemetry.warn("order.created/1 cannot be read")
        telemetry.warn("order.created/2 cannot be read")
    assert [line["why"].partition(" ")[0] for line in said] == ["the", "order.created/1", "order.created/2"]


def test_a_partition_that_is_paused_is_not_ready_until_it_is_resumed():
    telemetry = Telemetry("some-service", "one")
    telemetry.turned(ready=1, owned=2, pending=0)
    with capture_logs() as said:
        telemetry.paused(WAITING, "schema_registry", "a/1 waits")
        assert telemetry.not_ready() == ["a/1 waits"]
        assert telemetry.registry.get_sample_value("saga_partition_paused", LABELS) == 1
        telemetry.resumed(WAITING)
    assert telemetry.not_ready() == []
    assert telemetry.registry.get_sample_value("saga_partition_paused", LABELS) is None
    assert [(line["event"], line["partition"]) for line in said] == [
        ("partition.paused", "a/1"),
        ("partition.resumed", "a/1"),
    ]
