"""The profile of a service measures what it says: each nanosecond of the engine's thread once, for the right stage."""

from __future__ import annotations

import threading
import time

import pytest

from tests.bench.profile import table
from tests.bench.stage_clock import Cost, StageClock, holder, measuring_cost
from tests.bench.stages import ONCE, STAGES, TURN, WORK

FREE = Cost(0, 0)


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def milliseconds(spent: dict[str, int], stage: str) -> float:
    return spent[stage] / 1e6


@pytest.mark.parametrize("name", [name for stage in STAGES for name in stage.functions])
def test_every_function_that_is_measured_is_there(name):
    """A stage that was renamed is renamed in the table as well: else its time would count elsewhere, unnoticed."""
    owner, last = holder(name)
    assert last in vars(owner)


def test_each_function_belongs_to_one_stage_and_what_counts_as_work_is_measured():
    names = [name for stage in STAGES for name in stage.functions]
    assert len(names) == len(set(names))
    assert set(WORK) < set(names)
    assert len({stage.step for stage in STAGES}) == len(STAGES)
    assert len(TURN.functions) == 1


def test_a_stage_is_measured_without_those_that_it_calls():
    clock = StageClock()
    inner = clock.within("inner", lambda: (burn(0.03), time.sleep(0.05)), works=True)
    middle = clock.within("middle", lambda: (burn(0.01), inner()), works=False)
    clock.outermost("turn", lambda: (burn(0.005), middle(), inner()))()
    cpu, wall = clock.spent(FREE)
    assert 60 <= milliseconds(cpu, "inner") < 100
    assert 10 <= milliseconds(cpu, "middle") < 30
    assert 5 <= milliseconds(cpu, "turn") < 30
    assert milliseconds(wall, "inner") - milliseconds(cpu, "inner") >= 95


def test_an_error_leaves_the_stages_as_they_were():
    clock = StageClock()

    def fail() -> None:
        raise LookupError

    failing = clock.within("failing", fail, works=True)

    def turn() -> None:
        with pytest.raises(LookupError):
            failing()
        burn(0.02)

    clock.outermost("turn", turn)()
    assert milliseconds(clock.spent(FREE).cpu, "turn") >= 20


def test_a_turn_without_work_does_not_count():
    """A worker that waits for its partitions, or for a backlog, costs nothing."""
    clock = StageClock()
    idle, busy = (clock.within(stage, lambda: burn(0.05), works=works) for stage, works in (("idle", 0), ("busy", 1)))
    turn = clock.outermost("turn", lambda stages: [stage() for stage in stages])
    turn([idle])
    assert not clock.spent(FREE).cpu
    turn([idle, busy])
    turn([idle])
    assert 50 <= milliseconds(clock.spent(FREE).cpu, "idle") < 100


def test_other_threads_are_not_measured():
    clock = StageClock()
    stage = clock.within("stage", lambda: burn(0.02), works=True)

    def turn() -> None:
        thread = threading.Thread(target=stage)
        thread.start()
        thread.join()
        clock.within("work", lambda: None, works=True)()

    clock.outermost("turn", turn)()
    assert "stage" not in clock.spent(FREE).cpu
    stage()
    assert "stage" not in clock.spent(FREE).cpu


def test_what_measuring_costs_is_subtracted_from_the_caller_and_the_called():
    clock = StageClock()
    stage = clock.within("stage", lambda: None, works=True)
    clock.outermost("turn", lambda: [stage() for _ in range(100)])()
    free, paid = clock.spent(FREE), clock.spent(Cost(inside=7, outside=5))
    for before, after in zip(free, paid, strict=True):
        assert before["stage"] - after["stage"] == 700
        assert before["turn"] - after["turn"] == 500
    cost = measuring_cost()
    assert cost.inside > 0
    assert cost.outside > 0


def test_the_table_has_microseconds_an_event_and_the_waiting_beside_them():
    spent = {
        "cpu": {"decode": 4_000_000, "publish": 1_000_000, ONCE.step: 5_000_000},
        "wall": {"decode": 4_000_000, "publish": 3_500_000, ONCE.step: 900_000_000},
    }
    lines = table("payment-service", spent, 1_000)
    assert lines[0].startswith("| payment-service | us | waiting, us |")
    assert "| decode | 4.0 | 0.0 | Avro into events, with its guards |" in lines
    assert any(line.startswith("| publish | 1.0 | 2.5 |") for line in lines)
    assert lines[-1].startswith("| **all** | 5.0 | 2.5 |")
