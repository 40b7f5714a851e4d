"""A worker that hangs ends by itself, and the next one goes on; one that was stopped for a while does not end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventbus.worker.watchdog import EXIT_CODE, MOST_SECONDS
from saga.kafka.topics_file import read_topics
from tests.support.brokers.kafka_node import Broker
from tests.support.saga import SERVICES, SESSION, Saga, headers_of

ORDERS = 200
STOPPED_SECONDS = MOST_SECONDS + 10


@pytest.fixture
def saga(fresh_broker: Broker, tmp_path: Path) -> Iterator[Saga]:
    """A saga for one test, with orders that wait for a payment worker."""
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers)
    saga.make_topics(2)
    saga.import_orders("hang", ORDERS, "cd-1")
    saga.start("order_service").wait_ready()
    yield saga
    saga.close()
    saga.admin.remove([*(topic.name for topic in read_topics()), *(name.replace("_", "-") for name in SERVICES)])


def assert_charged_once(saga: Saga) -> None:
    saga.until(lambda: len(saga.records("payment.charged")) >= ORDERS, "not every order was charged")
    ids = Counter(headers_of(record)["ce_id"] for record in saga.records("payment.charged"))
    assert (len(ids), max(ids.values())) == (ORDERS, 1)
    assert saga.rows("payment-service", "select count(*) from payment") == [(ORDERS,)]


@pytest.mark.parametrize("step", ["during offsets", "before database commit", "during commit"])
def test_a_worker_that_hangs_ends_and_the_next_one_goes_on(saga: Saga, step: str) -> None:
    """/livez says it first; the log says which step, for how long and where. Nothing is lost or repeated."""
    hung = saga.start("payment_service", SAGA_FAILPOINT=f"{step}:1:hang")
    hung.wait_for("partitions.assigned")
    saga.until(lambda: hung.get("/livez")[0] == 503, "/livez did not say it")
    assert f"{step!r} has taken" in hung.get("/livez")[1]
    assert hung.running, "/livez says it before the end"
    assert hung.wait() == EXIT_CODE
    (said,) = hung.events("worker.stuck")
    assert (said["level"], said["step"]) == ("critical", step)
    assert said["seconds"] <= MOST_SECONDS
    assert "_hang" in said["stack"]
    assert "start it again: nothing is lost" in said["why"]
    saga.start("payment_service").wait_ready()
    assert_charged_once(saga)


def test_a_worker_that_was_stopped_for_a_while_goes_on(saga: Saga) -> None:
    """SIGSTOP, a suspended machine: the time in which nothing of it ran does not count."""
    worker = saga.start("payment_service", *SESSION)
    worker.wait_for("batch.handled")
    worker.stop()
    time.sleep(STOPPED_SECONDS)
    worker.resume()
    assert_charged_once(saga)
    assert worker.get("/livez") == (200, "ok\n")
    assert not worker.events("worker.stuck")
    assert worker.terminate() == 0
