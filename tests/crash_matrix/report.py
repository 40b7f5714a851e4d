"""What came out: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.bench.report import percentile
from tests.crash_matrix.cells import CANNOT_OCCUR
from tests.crash_matrix.run import Outcome

BACK_SECONDS = 5.0
"""A worker that is started again under its old name has to be back within so many seconds."""
TIMES = ("recovered", "progress", "ended")


def as_json(outcomes: Sequence[Outcome], surroundings: dict[str, Any]) -> dict[str, Any]:
    """Return the report with stable keys."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "surroundings": surroundings,
        "runs": len(outcomes),
        "reached": sum(outcome.reached for outcome in outcomes),
        "violations": sum(len(outcome.violations) for outcome in outcomes),
        "not_reached": [outcome.as_dict() for outcome in outcomes if not outcome.reached],
        "late": [outcome.as_dict() for outcome in late(outcomes)],
        "seconds": {name: times(outcomes, name) for name in TIMES},
        "cannot_occur": [
            {"step": step, "service": service, "why": why} for (step, service), why in CANNOT_OCCUR.items()
        ],
        "cells": [outcome.as_dict() for outcome in outcomes],
    }


def times(outcomes: Sequence[Outcome], name: str) -> dict[str, float] | None:
    """Return percentiles of one of the TIMES, in seconds."""
    values = [value for outcome in outcomes if (value := getattr(outcome, name)) is not None]
    if not values:
        return None
    return {
        "p50": round(percentile(values, 50), 2),
        "p99": round(percentile(values, 99), 2),
        "max": round(max(values), 2),
    }


def late(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return where the restarted worker was not back in time: partitions recovered, the first batch done.

    What the machine kept from running meanwhile does not count.
    """
    return [
        outcome
        for outcome in outcomes
        if any(value is None or value - outcome.held > BACK_SECONDS for value in (outcome.recovered, outcome.progress))
    ]


def failed(outcomes: Sequence[Outcome]) -> bool:
    """Return whether anything is not as it has to be."""
    return bool(late(outcomes)) or any(outcome.violations or not outcome.reached for outcome in outcomes)


def as_text(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Return the report line by line: a line a step, then what went wrong, then the sums."""
    steps = list(dict.fromkeys(outcome.step for outcome in outcomes))
    width = max(map(len, steps), default=4)
    yield f"{'step':{width}}  runs  not reached  violations  back p50   max"
    for step in steps:
        here = [outcome for outcome in outcomes if outcome.step == step]
        yield f"{step:{width}}  {_counts(here)}  {_back(here)}"
    yield ""
    yield from (f"NOT REACHED: {_where(outcome)}" for outcome in outcomes if not outcome.reached)
    yield from (f"VIOLATION: {_where(outcome)}: {what}" for outcome in outcomes for what in outcome.violations)
    yield from (
        f"LATE: {_where(outcome)}: partitions {outcome.recovered}, first batch {outcome.progress}"
        for outcome in late(outcomes)
    )
    yield f"{len(outcomes)} runs, {sum(len(outcome.violations) for outcome in outcomes)} violations"
    for name in TIMES:
        yield f"seconds after the restart, {name}: {times(outcomes, name)}"
    yield f"back within {BACK_SECONDS:g} s: {len(outcomes) - len(late(outcomes))} of {len(outcomes)}"


def _counts(outcomes: Sequence[Outcome]) -> str:
    missed = sum(not outcome.reached for outcome in outcomes)
    return f"{len(outcomes):4}  {missed:11}  {sum(len(outcome.violations) for outcome in outcomes):10}"


def _back(outcomes: Sequence[Outcome]) -> str:
    back = times(outcomes, "progress")
    return f"{back['p50']:8.2f}  {back['max']:4.2f}" if back else ""


def _where(outcome: Outcome) -> str:
    flying = outcome.decided or f"{outcome.orders} in flight"
    return f"{outcome.service} at {outcome.step!r}, {flying}, exit code {outcome.exit_code}"
