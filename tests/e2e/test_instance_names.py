"""Instance names are leased in the database: of one name there is one live worker, whatever hosts are called.

Host names, temporary folders and the group protocol decide nothing.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventbus.database import connect
from eventbus.serde.plans import Planner
from saga.kafka.topics_file import read_topics
from tests.support.brokers.kafka_node import Broker
from tests.support.saga import SERVICES, SESSION, Saga, headers_of
from tests.support.saga.processes import Worker
from tests.support.stopwatch import Stopwatch

HOST = socket.gethostname()
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""A command in a pid namespace of its own: it has pid 1, as in a container."""
LONG_SECONDS = 60
LONG_SESSION = ("--kafka-config", f"session.timeout.ms={LONG_SECONDS * 1000}")
"""Partitions that come back sooner did not wait for the session to end. The group can be deleted only after it."""


@pytest.fixture
def saga(fresh_broker: Broker, tmp_path: Path, database_url: str) -> Iterator[Saga]:
    """A saga for one test, its payment service on SQLite or on PostgreSQL."""
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers, PAYMENT_SERVICE_DATABASE=database_url)
    saga.make_topics(4)
    yield saga
    saga.close()
    saga.admin.remove([*(topic.name for topic in read_topics()), *(name.replace("_", "-") for name in SERVICES)])


def unnamed(saga: Saga, folder: str, *arguments: str, inside: tuple[str, ...] = ()) -> Worker:
    """Start a worker without --instance, with a temporary folder of its own."""
    place = saga.folder / folder
    place.mkdir(exist_ok=True)
    env = saga.env | {"TMPDIR": str(place)}
    return saga.workers.start("payment_service", *arguments, env=env, inside=inside)


def name_of(worker: Worker) -> str:
    worker.wait_for("worker.started")
    [started, *_] = worker.events("worker.started")
    assert started["codec"] == Planner().kind
    return str(started["instance"])


def until_charged(saga: Saga, count: int) -> None:
    saga.until(lambda: len(saga.records("payment.charged")) >= count, "not every order was charged")
    ids = Counter(headers_of(record)["ce_id"] for record in saga.records("payment.charged"))
    assert (len(ids), max(ids.values())) == (count, 1)


@pytest.mark.parametrize("folders", ["one temporary folder", "private temporary folders"])
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_two_workers_that_start_at_the_same_moment_have_two_names_and_both_work(
    saga: Saga, protocol: str, folders: str
) -> None:
    """On two hosts with one name, under systemd's PrivateTmp, in cloned machines."""
    extra = ("--kafka-config", f"group.protocol={protocol}")
    private = folders.startswith("private")
    workers = [unnamed(saga, number if private else "1", *extra) for number in "12"]
    assert sorted(name_of(worker) for worker in workers) == [f"{HOST}-1", f"{HOST}-2"]
    for worker in workers:
        worker.wait_ready()
    saga.import_orders("names", 200, "cd-1")
    saga.start("order_service")
    until_charged(saga, 200)
    assert all(worker.running for worker in workers)
    listed = saga.ask("payment_service", "workers")
    assert [each["name"] for each in listed] == [f"{HOST}-1", f"{HOST}-2"]
    assert sorted(each["pid"] for each in listed) == sorted(worker.pid for worker in workers)
    assert {each["host"] for each in listed} == {HOST}
    assert [worker.terminate() for worker in workers] == [0, 0]
    assert saga.ask("payment_service", "workers") == [], "who stops releases its name"


def test_many_pairs_that_start_at_the_same_moment_never_share_a_name(saga: Saga) -> None:
    """Neither may end: each pair is killed, and the next one has the same two names at once."""
    for _ in range(5):
        pair = [unnamed(saga, number) for number in "12"]
        assert sorted(name_of(worker) for worker in pair) == [f"{HOST}-1", f"{HOST}-2"]
        for worker in pair:
            worker.kill()


@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode != 0,
    reason="needs the right to make a pid namespace",
)
def test_containers_on_one_network_have_different_names_and_a_killed_one_gets_its_name_back(saga: Saga) -> None:
    """One host name, one pid, no common /tmp and no common process table: only the database tells them apart."""
    workers = [unnamed(saga, number, inside=CONTAINER) for number in "12"]
    assert sorted(name_of(worker) for worker in workers) == [f"{HOST}-1", f"{HOST}-2"]
    assert [each["pid"] for each in saga.ask("payment_service", "workers")] == [1, 1]
    first, second = sorted(workers, key=name_of)
    first.kill()
    assert name_of(unnamed(saga, "1", inside=CONTAINER)) == f"{HOST}-1", "its lease ended"
    assert second.running


@pytest.mark.parametrize("name", ["a", None])
def test_a_killed_worker_has_its_name_and_its_partitions_back_at_once(saga: Saga, name: str | None) -> None:
    """Static membership: the session of the dead one is not waited for."""
    named = ("--instance", name) if name else ()
    first = unnamed(saga, "1", *LONG_SESSION, *named)
    first.wait_ready()
    first.kill()
    since = Stopwatch()
    again = unnamed(saga, "1", *LONG_SESSION, *named)
    again.wait_ready()
    assert since.seconds < LONG_SECONDS / 2
    assert name_of(again) == (name or f"{HOST}-1")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_name_that_a_live_worker_holds_is_refused_and_the_other_one_is_not_disturbed(
    saga: Saga, protocol: str
) -> None:
    """Code 4, and a sentence that says whose it is: host, pid and since when."""
    extra = ("--kafka-config", f"group.protocol={protocol}")
    holder = saga.start("payment_service", *extra)
    holder.wait_ready()
    lost = len(holder.events("partitions.lost"))
    (listed,) = saga.ask("payment_service", "workers")
    twin = saga.start("payment_service", *extra)
    assert twin.wait() == 4
    said = twin.log.splitlines()[-1]
    assert f"(host {HOST}, pid {holder.pid}, since {listed['since']}) has the instance name 'a'" in said
    assert "give each worker its own --instance" in said
    assert "Traceback" not in twin.log
    assert holder.ready
    assert len(holder.events("partitions.lost")) == lost
    assert holder.terminate() == 0


def test_a_worker_whose_name_was_taken_over_stops(saga: Saga) -> None:
    """One that stood still, or was cut off from its database, for longer than its lease: code 4, and says so."""
    worker = saga.start("payment_service")
    worker.wait_ready()
    with_database(saga, "update instance_lease set nonce = 'another', host = 'elsewhere', pid = 7")
    assert worker.wait() == 4
    said = worker.log.splitlines()[-1]
    assert "another worker (host elsewhere, pid 7, since" in said
    assert "has taken over the instance name 'a'" in said


def test_a_worker_keeps_its_name_while_it_stands_still_and_nobody_wants_it(saga: Saga) -> None:
    worker = saga.start("payment_service", *SESSION)
    worker.wait_ready()
    worker.signal(signal.SIGSTOP)
    (before,) = saga.ask("payment_service", "workers")
    worker.signal(signal.SIGCONT)
    saga.until(lambda: saga.ask("payment_service", "workers")[0]["last_seen"] > before["last_seen"], "no renewal")
    assert worker.terminate() == 0


def with_database(saga: Saga, statement: str, *parameters: Any) -> None:
    """Change the payment service's database by hand."""
    database = connect(saga.env["PAYMENT_SERVICE_DATABASE"], service="payment-service", schema="")
    with database.transaction() as tx:
        tx.execute(statement, *parameters)
    database.close()
