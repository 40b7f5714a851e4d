"""A cut of `make crash-matrix`: the payment service dies at ten steps, with orders in flight."""

from __future__ import annotations

from tests.crash_matrix import report
from tests.crash_matrix.__main__ import crash
from tests.crash_matrix.cells import small
from tests.support.brokers.kafka_node import Broker


def test_a_worker_that_is_killed_at_a_step_changes_nothing_and_is_soon_back(fresh_broker: Broker) -> None:
    """Each died by SIGKILL right there, was back within 5 s under its old name, and every law holds."""
    outcomes = crash(small(), fresh_broker.bootstrap_servers)
    assert len(outcomes) == len(small())
    assert not report.failed(outcomes), "\n".join(report.as_text(outcomes))
