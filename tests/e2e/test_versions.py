"""Versions side by side: workers of two releases on one group and one log, rolled forward and back."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventbus.codec import FRAME
from eventbus.event import parse
from eventbus.registry import registry_at
from schemas import EVENTS, IDS
from tests.support import outages
from tests.support.first_release import SECOND, first_release
from tests.support.processes import Worker
from tests.support.saga import SERVICES, SESSION, Saga

ORDERS = 300


class Fleet:
    """Two workers a service, each of one release or the other, exchanged one at a time while orders flow."""

    def __init__(self, saga: Saga, old: Path) -> None:
        self._saga, self._old = saga, {"PYTHONPATH": str(old)}
        self._workers: dict[tuple[str, str], Worker] = {}

    def start(self, instance: str, *, old: bool) -> None:
        """Start, or exchange in good order, the worker of this name in each service."""
        before = [worker for (_, name), worker in self._workers.items() if name == instance]
        for worker in before:
            worker.signal(signal.SIGTERM)
        assert [worker.wait() for worker in before] == [0] * len(before)
        for module in SERVICES:
            env = self._old if old else {}
            self._workers[module, instance] = self._saga.start(module, *SESSION, instance=instance, **env)
        for module in SERVICES:
            self._workers[module, instance].wait_ready()

    def all_running(self) -> bool:
        """Whether nobody ended by itself."""
        return all(worker.running for worker in self._workers.values())

    def dead_letters(self) -> list[dict[str, object]]:
        """What any of them could not read."""
        return [line for worker in self._workers.values() for line in worker.events("record.dead_lettered")]


def released(topic: str, version: int) -> str:
    """Return what stands in the file of a released version."""
    return (IDS.parent / f"released/{topic}.v{version}.avsc").read_text(encoding="utf-8")


@pytest.mark.parametrize("ids", ["file", pytest.param("registry", marks=outages.LONG)])
def test_two_releases_work_side_by_side_and_are_rolled_forward_and_back(
    own_saga: Saga, tmp_path: Path, ids: str, request: pytest.FixtureRequest
) -> None:
    """Old, both, new, both, old, with orders in flight all the time, some placed by the old code: the laws hold.

    With a registry the old release has never heard of the new versions; without one it must ship them (readers first).
    """
    saga = own_saga
    old = first_release(tmp_path / "old", knows_the_next=ids == "file")
    check: tuple[str, ...] = ()
    if ids == "registry":
        url = saga.env["SCHEMA_REGISTRY_URL"] = request.getfixturevalue("small_registry").url
        assert saga.run("choreography", "schemas", "register", "--schema-registry-url", url).code == 0
        check = ("--schema-registry-url", url)
    saga.stock(cd_1=ORDERS // 2)  # most orders are cancelled
    fleet = Fleet(saga, old)
    fleet.start("a", old=True)
    for instance, is_old in (("b", False), ("a", False), ("b", True), ("a", True)):
        with placed_by(saga, old if is_old else None):
            saga.in_the_middle(f"{instance}-{is_old}", ORDERS, "cd-1")
        fleet.start(instance, old=is_old)
    saga.settle(*check)
    assert fleet.all_running()
    assert fleet.dead_letters() == []
    registry = registry_at(saga.env.get("SCHEMA_REGISTRY_URL"), EVENTS)
    for topic in SECOND:
        used = {FRAME.unpack_from(record.value() or b"")[1] for record in saga.records(topic)}
        assert [registry.schema_of(number) for number in sorted(used)] == [
            parse(json.loads(released(topic, version))) for version in (1, 2)
        ]


@contextmanager
def placed_by(saga: Saga, release: Path | None) -> Iterator[None]:
    """Run the commands of another release meanwhile."""
    before = saga.env
    saga.env = before | ({"PYTHONPATH": str(release)} if release else {})
    yield
    saga.env = before
