"""One cell: let a worker die at its step, start it again, and see how soon it is back and whether the laws hold."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from eventbus.worker.failpoints import VARIABLE
from tests.crash_matrix.cells import (
    ON_CLOSING,
    ON_REVOCATION,
    ON_TROUBLE,
    OVERDUE,
    OVERDUE_AT_START,
    REDRIVEN,
    SET_AHEAD,
    SKIPPED,
    Cell,
)
from tests.crash_matrix.ground import Ground, waited
from tests.support.saga import SESSION
from tests.support.saga.processes import Worker
from tests.support.stopwatch import Stopwatch

DIES_SECONDS = 100.0
ENDS_SECONDS = 60.0
OWNED_SECONDS = 15.0
"""A group in which somebody died has given every partition to somebody again: the session time-out, and some."""
NUDGE = 20
"""Steps that depend on luck want more work: so many more orders at once, when all others have ended."""
NUDGE_SECONDS = 2.0
"""But after a pause: a worker tidies up only when it has nothing else to do."""
PLACED_WITH = {OVERDUE_AT_START: (1,), SET_AHEAD: (900_000, 3_600_000)}
"""The deadlines of orders, and how far ahead the clock is that sets them, in ms."""


@dataclass(slots=True)
class Outcome:
    """What happened in a cell. Times in seconds, from the start of the new process of the same instance name."""

    service: str
    step: str
    orders: int
    decided: str = ""
    reached: bool = False
    exit_code: int | None = None
    recovered: float | None = None
    """All its partitions are recovered."""
    progress: float | None = None
    """The first batch is in the database."""
    ended: float | None = None
    """Every order has ended."""
    held: float = 0.0
    """So long of it the machine kept somebody from running."""
    violations: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it for the report."""
        return asdict(self)


def run(cell: Cell, ground: Ground) -> Outcome:
    """Run a cell; whatever goes wrong is in its outcome."""
    outcome = Outcome(*cell)
    if cell.decided == REDRIVEN:
        ground.write_poison(cell.service, int(REDRIVEN.split()[0]))
    if cell.decided == OVERDUE:
        ground.let_time_run_out(int(OVERDUE.split()[0]))
    ground.workers[cell.service].terminate()
    victim, others = _start_victim(cell, ground)
    outcome.reached = _dies(cell, ground, victim)
    if not outcome.reached:
        victim.kill()
    outcome.exit_code = victim.wait()
    ground.accept()
    if cell.decided == OVERDUE:
        ground.answer()
    _restart(cell, ground, outcome)
    for other in others:
        other.terminate()
        if not waited(lambda: ground.alone(cell.service), 30):
            outcome.violations.append("the second worker did not leave the group")
    return outcome


def _start_victim(cell: Cell, ground: Ground) -> tuple[Worker, list[Worker]]:
    """Start the worker that is to die; orders wait for it, unless they come while it is closing or revoked."""
    failpoint = {VARIABLE: cell.step}
    if cell.decided:
        if cell.decided == REDRIVEN:
            ground.redrive(cell.service)
        if cell.decided == SKIPPED:
            ground.skip(cell.service)
        return ground.start(cell.service, **failpoint), []
    if cell.step in ON_TROUBLE:
        ground.refuse(cell.service, everything=cell.orders == 1)
    if cell.step not in ON_CLOSING + ON_REVOCATION:
        ground.place(cell.orders, *PLACED_WITH.get(cell.step, ()))
        return ground.start(cell.service, **failpoint), []
    victim = ground.start(cell.service, **failpoint)
    victim.wait_ready()
    if cell.step in ON_CLOSING:
        ground.place(cell.orders)
        time.sleep(random.uniform(0, 0.3))
        victim.signal(signal.SIGTERM)
        return victim, []
    second = ground.start(cell.service, *SESSION, instance="b")
    second.wait_for('"worker.started"')
    ground.place(cell.orders)
    return victim, [second]


def _dies(cell: Cell, ground: Ground, victim: Worker) -> bool:
    """Return whether it died by its own SIGKILL; new orders keep something in flight until then."""
    pause = 0 if cell.step in ON_REVOCATION else NUDGE_SECONDS
    placed_at = time.monotonic()
    deadline = placed_at + DIES_SECONDS
    while time.monotonic() < deadline:
        try:
            return victim.wait(0.05) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            if "key.blocked" in victim.log:
                ground.accept()
            if cell.orders and ground.all_ended() and time.monotonic() - placed_at > pause:
                ground.place(min(cell.orders, NUDGE))
                placed_at = time.monotonic()
    return False


def _restart(cell: Cell, ground: Ground, outcome: Outcome) -> None:
    """Start it again under its old name, with one order more, so that there is something to go on with."""
    ground.place(1)
    started, watch = time.time(), Stopwatch()
    worker = ground.workers[cell.service] = ground.start(cell.service)
    if waited(ground.all_ended, ENDS_SECONDS):
        outcome.ended = time.time() - started
    outcome.held = watch.held
    if not waited(lambda: not ground.unowned(cell.service), OWNED_SECONDS):
        outcome.violations.append(f"nobody owns {', '.join(ground.unowned(cell.service))}")
    waited(lambda: not ground.finished(), ENDS_SECONDS if outcome.ended else 0)
    first = {line["partition"]: _seconds(line, started) for line in reversed(worker.events("partition.recovered"))}
    outcome.recovered = max(first.values(), default=None)
    outcome.progress = next((_seconds(line, started) for line in worker.events("batch.handled")), None)
    if not worker.running:
        outcome.violations.append(f"the worker that was started again ended: {worker.log[-500:]}")
    if moving := ground.finished():
        outcome.violations.append(f"it does not come to rest: {moving}")
    outcome.violations += ground.violations()


def _seconds(line: dict[str, Any], started: float) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp() - started
