"""A database that cannot be written any more ends a worker at work, cleanly, and after the repair it goes on."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import read_only
from tests.support.saga import SERVICES, SESSION, Saga
from tests.support.saga.outages import busy
from tests.support.saga.processes import Worker

UNWRITABLE = 7


def busy_payments(saga: Saga) -> Worker:
    """Start a worker of each service and return the payment service's when it is at work."""
    return busy(saga)[SERVICES.index("payment_service")]


def assert_ended(worker: Worker, *words: str) -> None:
    """With code 7 and one sentence that says what and why."""
    assert worker.wait() == UNWRITABLE
    last = worker.log.splitlines()[-1]
    assert last.startswith("error: ")
    assert [word for word in (*words, "cannot write to ", "restart: nothing is lost") if word not in last] == []
    assert "Traceback" not in worker.log


def assert_another_ends_too(saga: Saga, *words: str) -> None:
    """A supervisor that starts it again meanwhile does no harm."""
    assert_ended(saga.start("payment_service", *SESSION), *words)


def assert_goes_on(saga: Saga) -> None:
    """Every order that was under way ends, and every law holds."""
    saga.start("payment_service", *SESSION)
    saga.settle()


def test_a_full_disk(own_saga: Saga) -> None:
    """A limit on the size of files stands for the disk's end (RLIMIT_FSIZE)."""
    payment = busy_payments(own_saga)
    resource.prlimit(payment.pid, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
    assert_ended(payment, "payment-service.db")
    assert_goes_on(own_saga)


def test_a_sqlite_file_that_becomes_read_only(own_saga: Saga) -> None:
    """By its own mark, which needs no rights that a container has not."""
    words = ("payment-service.db", "attempt to write a readonly database")
    payment = busy_payments(own_saga)
    with read_only.marked(Path(own_saga.env["PAYMENT_SERVICE_DATABASE"].removeprefix("sqlite:///"))) as mark:
        own_saga.until(lambda: mark() or not payment.running, "it went on")
        assert_ended(payment, *words)
        assert_another_ends_too(own_saga, *words)
    assert_goes_on(own_saga)


@pytest.fixture
def disk(own_saga: Saga, tmp_path: Path) -> Iterator[read_only.SmallDisk]:
    """A disk of its own that can fail, for a worker of that saga."""
    disk = read_only.SmallDisk(tmp_path / "disk")
    try:
        disk.make()
    except read_only.CannotMount as why:
        pytest.skip(f"no file system that can fail: {why}")
    yield disk
    own_saga.workers.kill_all()
    disk.remove()


def test_a_file_system_that_becomes_read_only(own_saga: Saga, disk: read_only.SmallDisk) -> None:
    """As ext4 does at the first error that it finds, whoever has files open: SQLite's log and its index too."""
    own_saga.env["PAYMENT_SERVICE_DATABASE"] = f"sqlite:///{disk.folder}/payment-service.db"
    payment = busy_payments(own_saga)
    disk.fail()
    assert_ended(payment, "payment-service.db")
    assert_another_ends_too(own_saga, "payment-service.db")
    disk.repair()
    assert_goes_on(own_saga)


def test_a_postgresql_that_becomes_read_only(own_saga: Saga, postgres_url: str) -> None:
    """For the sessions that there are, too; the server answers all the time."""
    own_saga.env["PAYMENT_SERVICE_DATABASE"] = postgres_url
    payment = busy_payments(own_saga)
    with read_only.server(postgres_url):
        assert_ended(payment, "PostgreSQL", "read-only transaction")
        assert_another_ends_too(own_saga, "PostgreSQL", "read-only transaction")
    assert_goes_on(own_saga)
