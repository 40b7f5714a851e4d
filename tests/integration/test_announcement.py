"""What a worker says about itself goes out by itself, and whatever goes wrong with it is said once and harms nobody."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from eventbus.kafka.config import Connection
from eventbus.kafka.embedded import EmbeddedBroker
from eventbus.manifest import declare
from eventbus.worker.announcement import TOPIC, Announcement
from eventbus.worker.telemetry import Telemetry
from payment_service.service import PaymentService
from saga.kafka.reader import Reader
from tests.support.ports import free_port
from tests.support.saga.processes import PATIENCE
from tests.support.stopwatch import Stopwatch


def announce(servers: str, *there: str, **extra: str) -> list[Any]:
    """Announce, poll as the worker's loop does until it is decided, and return what was logged."""
    connection = Connection(servers, PaymentService.name, "a", extra={n.replace("_", "."): v for n, v in extra.items()})
    structlog.reset_defaults()
    with capture_logs() as said:
        announcement = Announcement(PaymentService, connection, there, Telemetry(PaymentService.name, "a"))
        deadline = time.monotonic() + PATIENCE
        while not announcement.decided:
            assert time.monotonic() < deadline, "it is not decided in time"
            polling = Stopwatch()
            announcement.poll()
            assert polling.seconds < 1, "polling waits for nothing"
            time.sleep(0.05)
    return [line for line in said if line["event"] == "declaration.not_announced"]


def test_it_is_the_declaration_under_service_and_instance() -> None:
    """And nothing is logged."""
    with EmbeddedBroker({TOPIC: 4}) as broker:
        assert announce(broker.bootstrap_servers, TOPIC) == []
        records = []
        with Reader(broker.bootstrap_servers, [TOPIC]) as reader:
            while not reader.at_end:
                records += reader.read(0.2)
    [record] = records
    assert record.key == b"payment-service/a"
    assert record.value == declare(PaymentService).to_json().encode()


@pytest.mark.parametrize(
    ("there", "extra", "why"),
    [
        ([], {}, "choreography.declarations' does not exist"),
        ([TOPIC], {"nonsense": "1"}, "nonsense"),
        ([TOPIC], {"message_timeout_ms": "500"}, "timed out"),
        ([TOPIC], {"message_max_bytes": "1000"}, "too large"),
    ],
)
def test_what_goes_wrong_is_said_once(there: list[str], extra: dict[str, str], why: str) -> None:
    """No topic, no such setting, no broker, a record that is too large."""
    [said] = announce(f"127.0.0.1:{free_port()}", *there, **extra)
    assert why in said["why"]
    assert said["log_level"] == "warning"
