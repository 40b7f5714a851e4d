"""Stopwatches around functions: the processor time and the waiting of one thread, each nanosecond counted once."""

from __future__ import annotations

import functools
import importlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.bench.stages import STAGES, TURN, WORK

CALIBRATION_CALLS = 20_000


class Spent(NamedTuple):
    """By stage: nanoseconds of processor time and by the clock on the wall."""

    cpu: Counter[str]
    wall: Counter[str]


class Cost(NamedTuple):
    """What measuring one call adds, in nanoseconds: to the stage that is called, and to the one that calls."""

    inside: float
    outside: float


class StageClock:
    """Measures the thread that calls the outermost function; calls of other threads pass through."""

    def __init__(self) -> None:
        self._thread = 0
        self._stack: list[str] = []
        self._cpu = self._wall = 0
        self._turn, self._total = Spent(Counter(), Counter()), Spent(Counter(), Counter())
        self._works = False
        self._turn_calls, self._calls = Counter[tuple[str, str]](), Counter[tuple[str, str]]()

    def outermost(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a stopwatch: what it spends counts if a working function was called in it."""

        @functools.wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            self._thread, self._stack, self._works = threading.get_ident(), [stage], False
            self._turn, self._turn_calls = Spent(Counter(), Counter()), Counter()
            self._cpu, self._wall = time.thread_time_ns(), time.perf_counter_ns()
            try:
                return function(*arguments, **named)
            finally:
                self._charge()
                self._thread = 0
                if self._works:
                    self._total.cpu.update(self._turn.cpu)
                    self._total.wall.update(self._turn.wall)
                    self._calls.update(self._turn_calls)

        return measured

    def within(self, stage: str, function: Callable[..., Any], *, works: bool) -> Callable[..., Any]:
        """Return the function with a stopwatch that stops the caller's meanwhile."""

        @functools.wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*arguments, **named)
            self._works = self._works or works
            self._turn_calls[self._stack[-1], stage] += 1
            self._charge()
            self._stack.append(stage)
            try:
                return function(*arguments, **named)
            finally:
                self._charge()
                self._stack.pop()

        return measured

    def spent(self, cost: Cost) -> Spent:
        """Return what the stages have spent, without what measuring costs."""
        cpu, wall = Counter(self._total.cpu), Counter(self._total.wall)
        for (caller, called), calls in self._calls.items():
            for spent in (cpu, wall):
                spent[caller] -= round(calls * cost.outside)
                spent[called] -= round(calls * cost.inside)
        return Spent(cpu, wall)

    def _charge(self) -> None:
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        stage = self._stack[-1]
        self._turn.cpu[stage] += cpu - self._cpu
        self._turn.wall[stage] += wall - self._wall
        self._cpu, self._wall = cpu, wall


def measuring_cost() -> Cost:
    """Measure a function that does nothing, with a stopwatch and without."""

    def nothing() -> None:
        pass

    def repeat(function: Callable[[], None]) -> None:
        for _ in range(CALIBRATION_CALLS):
            function()

    clock = StageClock()
    clock.outermost("outside", repeat)(clock.within("inside", nothing, works=True))
    began = time.thread_time_ns()
    repeat(nothing)
    bare = time.thread_time_ns() - began
    spent = clock.spent(Cost(0, 0)).cpu
    return Cost(spent["inside"] / CALIBRATION_CALLS, (spent["outside"] - bare) / CALIBRATION_CALLS)


def holder(name: str) -> tuple[Any, str]:
    """Return the module or class that holds a function named `module:name`, and the function's name in it.

    Raises ImportError, AttributeError or TypeError when there is none.
    """
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    if not callable(getattr(owner, last)):
        raise TypeError(f"{name} is no function")
    return owner, last


def install() -> StageClock:
    """Put a stopwatch around every function of the stages."""
    clock = StageClock()
    for stage in STAGES:
        for name in stage.functions:
            owner, last = holder(name)
            function = getattr(owner, last)
            measured = (
                clock.outermost(stage.step, function)
                if stage is TURN
                else clock.within(stage.step, function, works=name in WORK)
            )
            setattr(owner, last, measured)
    return clock
