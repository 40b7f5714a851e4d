"""Mistakes of operators in `make chaos`: who has to refuse, how it is mended, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saga.check.facts import EventFact, LogFacts
from tests.chaos.faults import Happened
from tests.chaos.fleet import Fleet, Refusal
from tests.chaos.halted import Halt
from tests.chaos.recoveries import unmoved
from tests.chaos.recreated import KeptEvents
from tests.chaos.timeline import PlannedFault


def test_a_refusal_is_judged_where_only_its_own_fault_was_felt() -> None:
    """A worker cannot find out while the broker is away."""
    restore = Happened(PlannedFault(0, "restore", "order-service", 5), began=100, ended=110)
    refusal = Refusal("restore", "order-service/1", 100, 2)
    assert unmoved(refusal, [restore])
    assert not unmoved(refusal, [restore, Happened(PlannedFault(0, "broker", "broker/1", 5), 85, 91)])
    assert unmoved(refusal, [restore, Happened(PlannedFault(0, "broker", "broker/1", 5), 80, 89)])
    assert unmoved(refusal, [restore, Happened(PlannedFault(0, "kill", "payment-service/1", 1), 100, 101)])


def test_what_a_deleted_topic_held_is_judged_with_what_is_on_the_log_now() -> None:
    """An order has its events of before and of now; one that is there twice is there twice."""
    before = [event_fact("order.created", 1), event_fact("payment.charged", 2)]
    kept = KeptEvents()
    kept.keep(LogFacts({"a": before}, {}), "payment.charged")
    now = LogFacts({"a": [before[0], event_fact("payment.charged", 0)], "b": [event_fact("order.created", 3)]}, {})
    joined = kept.joined(now).events
    assert [(e.topic, e.offset) for e in joined["a"]] == [
        ("payment.charged", 2),
        ("order.created", 1),
        ("payment.charged", 0),
    ]
    assert joined["b"] == now.events["b"]
    kept.keep(kept.joined(now), "payment.charged")
    assert sorted(kept.joined(LogFacts({"a": [before[0]]}, {})).events["a"]) == sorted(joined["a"])


def event_fact(topic: str, offset: int) -> EventFact:
    return EventFact(topic, 0, offset, "a", None, None, early=True, timestamp_ms=0, digest=0, body=None)


class Standing:
    """A worker of nothing: it ends with these codes, one at each start."""

    def __init__(self, folder: Path, *codes: int | None) -> None:
        self.name, self.log, self.wanted = "order-service/1", folder / "log", True
        self.log.write_text("before\n", encoding="ascii")
        self._codes = list(codes)

    def died(self) -> int | None:
        return self._codes[0] if self.wanted else None

    def start(self) -> None:
        self.wanted, self._codes = True, self._codes[1:]

    def said_since(self, size: int) -> str:
        return self.log.read_bytes()[size:].decode()


def halt_of(tmp_path: Path, *codes: int | None) -> tuple[Fleet, Halt, Any]:
    fleet, worker = Fleet(tmp_path, lambda _name: []), Standing(tmp_path, *codes)
    return fleet, Halt(fleet, [worker], "recreate", passing=(5,)), worker  # type: ignore[list-item]


def test_a_worker_that_ends_on_the_way_is_started_again_until_it_refuses(tmp_path: Path) -> None:
    """A code that may come is no death; another one is, and is told."""
    fleet, halt, worker = halt_of(tmp_path, 5, 1, 3, 3)
    worker.log.write_text("before\nwhy it refuses\n", encoding="ascii")
    halt.wait()
    assert [(r.kind, r.worker) for r in fleet.refusals] == [("recreate", "order-service/1")]
    assert [death.code for death in fleet.deaths] == [1]
    assert not worker.wanted
    assert halt.said() == "why it refuses\n"
    halt.again(worker)
    assert len(fleet.refusals) == 1


def test_a_worker_that_goes_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had to refuse."""
    monkeypatch.setattr("tests.chaos.halted.PATIENCE_SECONDS", 0.2)
    with pytest.raises(TimeoutError, match="order-service/1 did not refuse"):
        halt_of(tmp_path, None)[1].wait()
