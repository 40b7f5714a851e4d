"""Versions side by side: workers of two releases on one group and one log, rolled forward and back."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from fastavro import schemaless_reader

from eventbus.avro_schema import written_with
from eventbus.database import connect
from eventbus.serde.framing import FRAME
from eventbus.serde.registry import Registry, registry_at
from order_service import repository as order_repository
from order_service.domain import AlreadyConfirmed
from order_service.service import OrderService
from schemas import EVENTS, IDS
from tests.support.saga import SERVICES, SESSION, Saga, outages
from tests.support.saga.processes import Worker
from tests.support.saga.releases import NEWEST, WRITTEN, earlier_release

ORDERS = 150
REFUSED = 40
"""So many orders more are above the limit, before every exchange of a worker."""
LIMIT = 50_000
PAYMENT, OTHERS = ("payment_service",), ("order_service", "inventory_service")
Roll = tuple[int, tuple[str, ...], tuple[str, ...]]
ROLLS: list[Roll] = [(1, OTHERS, PAYMENT), (2, PAYMENT, OTHERS)]
"""The earlier release, and which services are exchanged first, forward and back."""


class Fleet:
    """Two workers a service, each of one release or the other, exchanged one at a time while orders flow."""

    def __init__(self, saga: Saga, old: Path) -> None:
        self._saga, self._old = saga, {"PYTHONPATH": str(old)}
        self._workers: dict[tuple[str, str], Worker] = {}
        self._are_old: dict[tuple[str, str], bool] = {}

    def start(self, instance: str, *, old: bool, of: Iterable[str] = SERVICES) -> None:
        """Start, or exchange in good order, the worker of this name in each of these services."""
        modules = list(of)
        before = [self._workers[module, instance] for module in modules if (module, instance) in self._workers]
        for worker in before:
            worker.signal(signal.SIGTERM)
        assert [worker.wait() for worker in before] == [0] * len(before)
        for module in modules:
            env = self._old if old else {}
            self._workers[module, instance] = self._saga.start(module, *SESSION, instance=instance, **env)
            self._are_old[module, instance] = old
        for module in modules:
            self._workers[module, instance].wait_ready()

    def all_are(self, module: str, *, old: bool) -> bool:
        """Whether every worker of this service is of this release."""
        return {is_old for (of, _), is_old in self._are_old.items() if of == module} == {old}

    def all_running(self) -> bool:
        """Whether nobody ended by itself."""
        return all(worker.running for worker in self._workers.values())

    def dead_letters(self) -> list[dict[str, object]]:
        """What any of them could not read."""
        return [line for worker in self._workers.values() for line in worker.events("record.dead_lettered")]


class Log:
    """What lies on the topics, as it was written: by the writer's schema, not by this release's."""

    def __init__(self, saga: Saga, registry: Registry) -> None:
        self._saga, self._registry = saga, registry

    def written(self, topic: str) -> dict[str, dict[str, Any]]:
        """Return the events of a topic by the order's id, and with each its `schema`."""
        return {record.key().decode(): self._read(record) for record in self._saga.records(topic)}

    def limits_read_by(self, release: int) -> set[str]:
        """Return the orders above the limit whose cancellation was written by this earlier release's workers.

        One that writes the first version of order.cancelled is of the first release. The second one's writes what the
        newest writes; but it does not know the new symbol, so it reads the default, and says nothing of a code.
        """
        refusals = self.written("payment.failed")
        limits = {order for order, failed in refusals.items() if failed.get("code") == "LIMIT_EXCEEDED"}
        ends = self.written("order.cancelled")
        if release == 1:
            old = {order for order, end in ends.items() if end["schema"] == released("order.cancelled", 1)}
        else:
            old = {order for order, end in ends.items() if "LIMIT_EXCEEDED" not in end["reason"]}
        assert all(refusals[order]["error"] == ends[order]["reason"] for order in limits & old)
        return limits & old

    def _read(self, record: Message) -> dict[str, Any]:
        value = record.value() or b""
        schema = self._registry.schema_of(FRAME.unpack_from(value)[1])
        fields: Any = schemaless_reader(BytesIO(value[FRAME.size :]), schema, None)
        return {**fields, "schema": schema}


def released(topic: str, version: int) -> dict[str, Any]:
    """Return what stands in the file of a released version."""
    return written_with(json.loads((IDS.parent / f"released/{topic}.v{version}.avsc").read_text(encoding="utf-8")))


@pytest.mark.parametrize("roll", ROLLS, ids=lambda roll: f"release {roll[0]}")
@pytest.mark.parametrize("ids", ["file", pytest.param("registry", marks=outages.LONG)])
def test_two_releases_work_side_by_side_and_are_rolled_forward_and_back(
    own_saga: Saga, tmp_path: Path, ids: str, roll: Roll, request: pytest.FixtureRequest
) -> None:
    """Old, both, new, both, old, with orders in flight all the time, some placed by the old code: the laws hold.

    On the way old order workers alone read what new payment workers write: refusals with a symbol that came after them.
    With a registry the old release has never heard of the new versions; without one it must ship them (readers first).
    """
    saga, (release, *order) = own_saga, roll
    saga.env["PAYMENT_GATEWAY"] += f"&decline-above={LIMIT}"
    old = earlier_release(release, tmp_path / "old", knows_the_next=ids == "file")
    check: tuple[str, ...] = ()
    if ids == "registry":
        url = saga.env["SCHEMA_REGISTRY_URL"] = request.getfixturevalue("small_registry").url
        assert saga.run("saga", "schemas", "register", "--schema-registry-url", url).code == 0
        check = ("--schema-registry-url", url)
    saga.stock(cd_1=ORDERS // 2)  # most orders are cancelled
    log = Log(saga, registry_at(saga.env.get("SCHEMA_REGISTRY_URL"), EVENTS))
    fleet = Fleet(saga, old)
    fleet.start("a", old=True)
    for is_old, modules, instance in product((False, True), order, "ba"):
        name = f"{modules[0]}-{instance}-{is_old}"
        with placed_by(saga, old if is_old else None):
            saga.import_orders(f"{name}-refused", REFUSED, "cd-1", total=LIMIT + 1)
            saga.in_the_middle(name, ORDERS, "cd-1")
        fleet.start(instance, old=is_old, of=modules)
        if fleet.all_are("order_service", old=True) and fleet.all_are("payment_service", old=False):
            read = log.limits_read_by(release)
            saga.import_orders(f"{name}-unknown", REFUSED, "cd-1", total=LIMIT + 1)
            saga.until(lambda seen=read: log.limits_read_by(release) > seen, "no old worker read the new symbol")
    assert log.limits_read_by(release)
    saga.settle(*check)
    assert fleet.all_running()
    assert fleet.dead_letters() == []
    for topic, newest in NEWEST.items():
        used = [event["schema"] for event in log.written(topic).values()]
        versions = sorted({WRITTEN[release][topic], newest})
        assert [number for number in range(1, newest + 1) if released(topic, number) in used] == versions
    codes = {failed.get("code") for failed in log.written("payment.failed").values()}
    assert codes == {None if release == 1 else "DECLINED", "LIMIT_EXCEEDED"}
    assert any(end["reason"].endswith("(LIMIT_EXCEEDED)") for end in log.written("order.cancelled").values())


@contextmanager
def placed_by(saga: Saga, release: Path | None) -> Iterator[None]:
    """Run the commands of another release meanwhile."""
    before = saga.env
    saga.env = before | ({"PYTHONPATH": str(release)} if release else {})
    yield
    saga.env = before


INVENTORY, REST = ("inventory_service",), ("order_service", "payment_service")
FORWARD_AND_BACK = [
    *((False, modules, instance) for modules in (INVENTORY, REST) for instance in "ba"),
    *((True, modules, instance) for modules in (REST, INVENTORY) for instance in "ba"),
]
SILENT_RELEASE = "released-is-reserved-and-cancelled"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_orders_are_cancelled_while_two_releases_work_side_by_side(
    own_saga: Saga, tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """The earlier release knows no deadlines and no inventory.released, and publishes root events by their ids.

    It ships the new version of order.created, as its readers must without a registry, and does not write it.
    Its databases are upgraded under its workers. At every step some orders in flight are cancelled and some become
    overdue, so an old worker hears of cancellations that nobody of its release made: it gives back what it set aside,
    without the event. That alone is found by `saga check`. What it leaves of deadlines, a new worker clears in the end.
    """
    saga, old = own_saga, earlier_release(3, tmp_path / "old", knows_the_next=True)
    if database == "postgresql":
        saga.env |= {f"{module.upper()}_DATABASE": request.getfixturevalue("postgres_url") for module in SERVICES}
    fleet = Fleet(saga, old)
    with placed_by(saga, old):
        saga.stock(cd_1=100_000)
    fleet.start("a", old=True)
    for module in SERVICES:
        assert saga.run(module, "database", "upgrade").code == 0
    cancelled: list[str] = []
    for is_old, modules, instance in FORWARD_AND_BACK:
        with placed_by(saga, old if is_old else None):
            saga.import_orders(f"{modules[0]}-{instance}-{is_old}", FEW, "cd-1")
        cancelled += cancel_some(saga)
        saga.import_orders(f"{modules[0]}-{instance}-{is_old}-soon", FEW, "cd-1", more=("--order-deadline", "50ms"))
        fleet.start(instance, old=is_old, of=modules)
    saga.until(lambda: not saga.pending(), "not every order had ended")
    overdue = overdue_orders(saga)
    assert cancelled
    assert overdue
    laws = saga.until(lambda: only_silent_releases(saga), "the laws were broken")
    assert laws <= {SILENT_RELEASE}
    assert fleet.all_running()
    assert fleet.dead_letters() == []
    causes = {record.key().decode() for record in saga.records("order.cancelled") if not has_cause(record)}
    assert causes == {*cancelled, *overdue}
    left = LEFT.format(time.time_ns() // 1_000_000)
    assert saga.rows("order-service", left), "no old worker left a deadline"
    for instance in "ba":  # either may own the partition whose owner fires
        fleet.start(instance, old=False, of=["order_service"])
    saga.until(lambda: not saga.rows("order-service", left), "deadlines of orders that have ended were left")
    assert overdue_orders(saga) == overdue
    assert saga.shelf()["cd-1"]["reserved"] == saga.summary()["confirmed"]


FEW = 20
LEFT = "select order_id from orders where deadline_at < {}"
"""Orders whose deadline had passed at this time (ms since 1970) and is still in their row."""


def cancel_some(saga: Saga) -> list[str]:
    """Cancel some orders that are pending, as the command does; return those that were not confirmed meanwhile."""
    pending = saga.rows("order-service", "select order_id from orders where status = 'pending' order by order_id desc")
    service, done = OrderService(lambda: time.time_ns() // 1_000_000, lambda: ""), []
    url = saga.env["ORDER_SERVICE_DATABASE"]
    with closing(connect(url, service=service.name, schema=order_repository.SCHEMA)) as database:
        for (order_id,) in pending[::3]:
            with suppress(AlreadyConfirmed):
                done.append(service.cancel_order(order_id, "on request", database, saga.codec).order.order_id)
    return done


def overdue_orders(saga: Saga) -> set[str]:
    """Return the orders that nobody answered in time."""
    rows = saga.rows("order-service", "select order_id from orders where reason like 'nobody answered within%'")
    return {order_id for (order_id,) in rows}


def only_silent_releases(saga: Saga) -> set[str] | None:
    """Return the broken laws once they are no others."""
    done = saga.run("saga", "check", "--quiescent", "--json")
    laws = {violation["law"] for violation in json.loads(done.stdout or '{"violations": [{"law": ""}]}')["violations"]}
    return laws | {SILENT_RELEASE} if laws <= {SILENT_RELEASE} else None


def has_cause(record: Message) -> bool:
    return any(name == "ce_causationid" for name, _ in record.headers() or [])
