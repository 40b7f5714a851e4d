"""A worker inside somebody's own process: `Worker.run` returns how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from eventbus import Ending, Worker, WorkerConfig
from eventbus.log import TopicMissing
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import Playground
from tests.support.engines.sample import PingService
from tests.support.saga.processes import PATIENCE


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, "it was not so in time"
        time.sleep(0.05)


def test_a_worker_that_is_stopped_returns(sqlite_playground: Playground) -> None:
    """It runs in any thread, installs no signal handler, and can be run again in the same process."""
    playground = sqlite_playground
    service = playground.service()
    letters = [service.dead_letters(), service.resolutions()]
    playground.admin.remove(letters)
    playground.admin.create(letters, playground.partitions, {"max.message.bytes": "1114124"})
    for answered in (10, 20):
        config = WorkerConfig(playground.bootstrap, playground.url, instance="one")
        worker, endings = Worker(service, config), list[Ending]()
        thread = threading.Thread(target=lambda run=worker.run, to=endings: to.append(run()))  # type: ignore[misc]
        thread.start()
        playground.send(range(10))
        wait_until(lambda n=answered, to=endings: len(playground.pongs()) >= n or bool(to))  # type: ignore[misc]
        worker.stop()
        thread.join(PATIENCE)
        assert endings == [Ending(0, None)]
        assert len(playground.pongs()) == answered


def test_what_a_person_must_mend_is_returned(broker: Broker, tmp_path: Path) -> None:
    """The process continues, and decides itself what that means."""
    config = WorkerConfig(broker.bootstrap_servers, f"sqlite:///{tmp_path}/pings.db", instance="one")
    code, error = Worker(PingService(), config).run()
    assert (code, type(error)) == (5, TopicMissing)
