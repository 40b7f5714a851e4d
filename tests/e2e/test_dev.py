"""`saga dev`: everything in one terminal, restarted when a source changes, and nothing left after Ctrl-C."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saga.kafka.cluster import Cluster
from saga.kafka.topics_file import read_topics
from tests.conftest import do_without
from tests.support.brokers.admin import Admin
from tests.support.brokers.docker_engine import NoImage, engine, pull_unless_here
from tests.support.brokers.kafka_container import IMAGE
from tests.support.brokers.kafka_node import Broker
from tests.support.saga import Saga
from tests.support.saga.processes import PATIENCE, environment, saga_environment

ROOT = Path(__file__).parents[2]
PACKAGES = ("eventbus", "schemas", "order_service", "payment_service", "inventory_service", "saga", "deploy")
SERVICES = ("order-service", "payment-service", "inventory-service")
ORDER = ("place", "--customer", "42", "--total", "29.33", "--item", "CD-04=2", "--wait", "90", "--json")
MARK = "DEV_TEST_MARK"


class Terminal:
    """`saga dev`, from a copy of the sources, and what it prints. Its processes are marked in their environment."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: str) -> None:
        self.source, self.mark = folder / "source", uuid.uuid4().hex
        for package in PACKAGES:
            shutil.copytree(ROOT / package, self.source / package, ignore=shutil.ignore_patterns("__pycache__"))
        self._output = folder / "dev.out"
        with self._output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "saga", "dev", "--port", "0", *arguments],
                env=env | {MARK: self.mark},
                cwd=self.source,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")

    def says(self, pattern: str) -> bool:
        assert self.process.poll() is None, self.text
        return re.search(pattern, self.text, re.MULTILINE) is not None

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.text, re.MULTILINE))

    def ready(self, times: int = 1) -> bool:
        ready = all(self.count(rf"^{service} +\| .*ready after") == times for service in SERVICES)
        return self.says("The page is at http") and ready

    def left(self) -> list[str]:
        """Return the command lines of its processes that still run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has ended, or is another user's
                continue
        return found

    def ctrl_c(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(env: dict[str, str], *arguments: str) -> Terminal:
        started.append(Terminal(tmp_path, env, *arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        print(each.text)


def until(saga: Saga, so: Callable[[], object], otherwise: str) -> None:
    saga.until(so, otherwise, PATIENCE)


def placed(env: dict[str, str], source: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "order_service", *ORDER],
        env=env,
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    order: dict[str, object] = json.loads(done.stdout)
    return order


def test_it_runs_the_saga_restarts_what_changes_and_leaves_nothing(
    fresh_broker: Broker, tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    """On a Kafka that is given: with its topics as they are, and the databases of the environment.

    A child that dies waits for the next change.
    """
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers)
    topics = [topic.name for topic in read_topics() if topic.kind == "events"]
    Admin(fresh_broker.bootstrap_servers).create(topics[1:], partitions=3)
    env = saga_environment(tmp_path, fresh_broker.bootstrap_servers, SAGA_TRACKER=str(tmp_path / "tracker.db"))
    dev = terminal(env)
    until(saga, dev.ready, "it was not ready")
    assert dev.says(f"the broker is the Kafka at {fresh_broker.bootstrap_servers}")
    there = Cluster(fresh_broker.bootstrap_servers).partitions()
    assert {len(there[topic]) for topic in topics} == {3}, "the missing one has as many"
    saga.stock(CD_04=100)
    assert placed(env, dev.source)["status"] == "confirmed"
    assert dev.says(r"^payment-service +\| .* handled 1 order.created, to publish: 1 payment.charged")
    until(saga, lambda: dev.says(r"^page +\| .*tracked \d+ event"), "the page does not say what it has read")
    assert not dev.count(r"^[a-z-]+ +\| \{"), "sentences, no JSON"

    domain = dev.source / "payment_service" / "domain.py"
    domain.write_text(domain.read_text() + "\n# changed\n")
    until(saga, lambda: dev.count(r"^payment-service +\| .*ready after") == 2, "it was not restarted")
    assert dev.says(r"domain.py changed: restarting payment-service, page$")
    assert [dev.count(rf"^{name} +\| .*ready after") for name in ("order-service", "inventory-service")] == [1, 1]

    right = domain.read_text()
    domain.write_text("this is no Python")
    until(
        saga, lambda: dev.says("payment-service ended with code 1: it is started again after the next"), "nobody said"
    )
    domain.write_text(right)
    until(saga, lambda: dev.count(r"^payment-service +\| .*ready after") == 3, "it was not started again")
    assert placed(env, dev.source)["status"] == "confirmed"

    assert len(dev.left()) == 5
    assert dev.ctrl_c() == 0
    assert dev.left() == []
    stopped = re.findall(r"^(\S+) +\| .*\[info\] stopped$", dev.text, re.MULTILINE)
    assert stopped[-3:] == list(SERVICES), "in order"


def test_without_a_broker_it_starts_kafka_in_docker_and_removes_it(
    tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    """All of its data is in a folder, which another terminal can use by one line, and which is gone at the end."""
    try:
        engine()
        pull_unless_here(IMAGE)
    except NoImage as why:
        do_without("Docker engine", why)
    dev = terminal(environment())
    saga = Saga(tmp_path, "")
    until(saga, dev.ready, "it was not ready")
    [port] = re.findall(r"the broker is apache/kafka:\S+ in Docker, at 127.0.0.1:(\d+)$", dev.text, re.MULTILINE)
    assert containers(port)
    folder = confirmed_through_its_folder(dev)
    assert dev.ctrl_c() == 0
    assert not folder.exists()
    assert (dev.left(), containers(port)) == ([], "")


def test_without_docker_it_runs_the_embedded_broker(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """And says so, because that one has no transactions."""
    dev = terminal(environment(PATH=str(tmp_path)))
    until(Saga(tmp_path, ""), dev.ready, "it was not ready")
    assert dev.says("the broker is the embedded one, at .*: there is no Docker here. It has no transactions")
    folder = confirmed_through_its_folder(dev)
    assert dev.ctrl_c() == 0
    assert not folder.exists()
    assert dev.left() == []


def confirmed_through_its_folder(dev: Terminal) -> Path:
    [file] = re.findall(r"for commands in another terminal:  \. (\S+)$", dev.text, re.MULTILINE)
    exports = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", Path(file).read_text(), re.MULTILINE))
    assert placed(environment(**exports), dev.source)["status"] == "confirmed"
    return Path(file).parent


def containers(port: str) -> str:
    listed = ["docker", "ps", "--all", "--quiet", "--filter", f"name=saga-dev-{port}"]
    return subprocess.run(listed, capture_output=True, text=True, check=True).stdout
