"""Failpoints: every step has its name in one place, a wrong name is refused, and the right moment is the Nth."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

import eventbus
from eventbus.worker.failpoints import STEPS, UNDER_WAY, BadFailpoint, Failpoint, failpoint
from tests.crash_matrix.cells import CANNOT_OCCUR, SMALL_STEPS
from tests.support.saga.processes import PATIENCE

CALL = re.compile(r'failpoint\(\s*"([^"]+)"')
SOURCES = Path(eventbus.__file__).parent.rglob("*.py")
LOG = structlog.get_logger()


def counted(step: str, times: int = 1) -> tuple[Failpoint, list[str]]:
    died: list[str] = []
    return Failpoint(step, times, lambda: died.append(step)), died


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.01)


def test_the_steps_that_are_named_are_those_that_the_code_calls() -> None:
    """No name without a call, no call without a name, none twice."""
    called = [step for source in SOURCES for step in CALL.findall(source.read_text(encoding="utf-8"))]
    assert sorted(called) == sorted(STEPS)
    assert len(STEPS) == len(set(STEPS))


def test_whatever_else_names_steps_names_these() -> None:
    assert set(UNDER_WAY) <= set(STEPS)
    assert {step for step, _ in CANNOT_OCCUR} <= set(STEPS)
    assert set(SMALL_STEPS) <= set(STEPS)


@pytest.mark.parametrize("spec", ["no such step", "polled:0", "polled:-1", "polled:x", ":2"])
def test_a_failpoint_that_cannot_be_is_refused(spec: str) -> None:
    """A rehearsal that never happens would look like one that went well."""
    with pytest.raises(BadFailpoint, match="SAGA_FAILPOINT"):
        failpoint(spec, LOG)


@pytest.mark.parametrize("spec", [None, ""])
def test_without_the_variable_no_step_does_anything(spec: str | None) -> None:
    with structlog.testing.capture_logs() as said:
        at = failpoint(spec, LOG)
        for step in STEPS:
            at(step)
    assert said == []


def test_a_failpoint_that_is_set_is_warned_of() -> None:
    """Nobody runs with it unawares."""
    with structlog.testing.capture_logs() as said:
        failpoint("begun:7", LOG)
    (line,) = said
    assert (line["log_level"], line["event"], line["step"], line["times"]) == ("warning", "failpoint.set", "begun", 7)


def test_it_dies_when_the_step_is_reached_for_the_nth_time() -> None:
    """Neither earlier nor at another step."""
    point, died = counted("begun", times=3)
    for step in ("begun", "produced", "begun", "produced"):
        point.at(step)
    assert died == []
    point.at("begun")
    assert died == ["begun"]


def test_at_a_call_it_dies_while_the_call_is_under_way() -> None:
    """At a drawn moment after it began."""
    point, died = counted("during commit")
    point.at("during commit")
    until(lambda: died == ["during commit"])


def test_a_call_that_was_quicker_is_not_died_in_and_the_next_one_is() -> None:
    """The next step says that the call is over: a death after that would be another step's."""
    point, died = counted("remote under way")
    for _ in range(200):
        point.at("remote under way")
        point.at("remote done")
    survived = not died
    time.sleep(0.2)
    assert bool(died) is not survived, "no death after the call"
    point.at("remote under way")
    until(lambda: bool(died))


def test_a_failpoint_of_kind_hang_is_a_moment_also_at_a_call() -> None:
    """The worker's own thread is to block there, not a timer's."""
    hung: list[str] = []
    point = Failpoint("during commit", 1, lambda: hung.append("hangs"), timed=False)
    point.at("during commit")
    assert hung == ["hangs"]
    with pytest.raises(BadFailpoint, match="STEP:N:hang"):
        failpoint("during commit:1:sleep", LOG)
