"""`saga simulate`."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.simulation import DAMAGES, KINDS
from saga.check.rules import LawViolation
from saga.simulate.saga import Case, Outcome, simulate

AT_ONCE = 25
"""The number of seeds that a process is given at a time."""


@dataclass(slots=True)
class SimulationTally:
    """The result of many runs."""

    seeds: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    schedules: set[int] = field(default_factory=set)
    violating: list[tuple[int, list[LawViolation]]] = field(default_factory=list)

    def add(self, told: _RunSummary) -> None:
        """Add one run."""
        self.seeds += 1
        self.steps += told.steps
        self.faults.update(told.faults)
        self.schedules.add(told.schedule)
        if told.violations:
            self.violating.append((told.seed, told.violations))


@dataclass(frozen=True, slots=True)
class _RunSummary:
    """The summary of a run that a process sends to its parent."""

    seed: int
    steps: int
    faults: list[str]
    schedule: int
    violations: list[LawViolation]


@click.command("simulate")
@click.option("--seeds", type=click.IntRange(1), default=10_000, show_default=True, help="How many runs.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first run's seed.")
@click.option("--seed", type=click.IntRange(0), help="Run only this seed.")
@click.option("--trace", is_flag=True, help="With --seed: print what happened, step by step.")
@click.option("--orders", type=click.IntRange(1, 100), default=3, show_default=True, help="Orders in each run.")
@click.option("--workers", type=click.IntRange(1, 9), default=2, show_default=True, help="Workers of each service.")
@click.option(
    "--faults",
    default=",".join(KINDS),
    help=f"The faults, separated by commas: {', '.join(KINDS)}, or none; or {' or '.join(DAMAGES)}, after which"
    " workers must refuse to continue.",
)
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes; by default one per core.")
@click.option("--stop-at-first", is_flag=True, help="Stop at the first violation.")
@cli.as_json
def simulate_command(*, seed: int | None, trace: bool, first: int, seeds: int, as_json: bool, **how: Any) -> None:
    """Simulate the saga under every kind of fault, each run determined by its seed; the same seed is the same run.

    The engine, the handlers, the SQL (SQLite in memory) and the Kafka adapter are the real ones; brokers, network,
    clock, processes and the payment provider are models. Every run ends with a check of the laws of `saga check`, and
    every order must end. Exit 1 when a law is broken; then the shortest trace that was found is printed. Ctrl-C ends
    it with the report of the runs until then.

    Example: saga simulate --seeds 1000
    """
    case = Case(0, how["orders"], how["workers"], _kinds(how["faults"]))
    if trace and seed is None:
        raise click.UsageError("--trace shows one run: select it with --seed")
    if seed is not None:
        _show(replace(case, seed=seed), trace=trace)
        return
    started = time.monotonic()
    tally = SimulationTally()
    bar = click.progressbar(length=seeds, label="simulating", file=sys.stderr, hidden=not sys.stderr.isatty())
    with suppress(KeyboardInterrupt), bar:
        for told in _runs(case, range(first, first + seeds), how["jobs"]):
            tally.add(told)
            bar.update(1)
            if how["stop_at_first"] and tally.violating:
                break
    tally.violating.sort(key=lambda found: found[0])
    seconds = time.monotonic() - started
    if as_json:
        cli.print_json(_as_json(tally, seconds))
    else:
        click.echo("\n".join(_lines(tally, seconds)))
        for number, _ in tally.violating[:1]:
            _show(replace(case, seed=number), trace=True)
    if tally.violating:
        sys.exit(1)


def _kinds(text: str) -> tuple[str, ...]:
    named = [name.strip() for name in text.split(",") if name.strip()] if text != "none" else []
    for name in named:
        if name not in KINDS and name not in DAMAGES:
            raise click.BadParameter(f"{name!r} is none of {', '.join((*KINDS, *DAMAGES))}", param_hint="--faults")
    return tuple(named)


def _runs(case: Case, seeds: range, jobs: int) -> Iterator[_RunSummary]:
    one = partial(_told, case)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _prepare) as pool:
        yield from pool.imap(one, seeds, chunksize=AT_ONCE)


def _prepare() -> None:
    """Leave Ctrl-C to the parent, which ends its children; collect cyclic garbage rarely."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(200_000, 20, 100)


def _told(case: Case, seed: int) -> _RunSummary:
    outcome = simulate(replace(case, seed=seed))
    return _RunSummary(seed, outcome.steps, [f.kind for f in outcome.happened], outcome.schedule, outcome.violations)


def shortest(outcome: Outcome) -> Outcome:
    """Return the run with the fewest orders and faults, then the fewest steps, that still breaks a law; traced."""
    best = outcome
    for orders in range(1, outcome.case.orders + 1):
        for count in range(len(outcome.happened) + 1):
            tried = [
                simulate(replace(outcome.case, orders=orders, faults=faults))
                for faults in itertools.combinations(outcome.happened, count)
            ]
            broken = [run for run in tried if run.violations]
            if broken:
                best = min(broken, key=lambda run: run.steps)
                return simulate(best.case, tracing=True)
    return simulate(best.case, tracing=True)


def _show(case: Case, *, trace: bool) -> None:
    """Print one run; if it breaks a law, the shortest run that breaks one."""
    outcome = simulate(case, tracing=True)
    if outcome.violations:
        outcome = shortest(outcome)
    case = outcome.case
    click.echo(f"seed {case.seed}, {case.orders} orders, {case.workers} workers a service")
    for fault in outcome.happened:
        click.echo(f"fault: {fault}")
    if trace:
        click.echo("\n".join(outcome.trace))
    for violation in outcome.violations:
        click.echo(f"broken: {violation.law} {violation.order_id} {violation.detail}")
    if outcome.violations:
        sys.exit(1)
    click.echo("every law holds")


def _lines(tally: SimulationTally, seconds: float) -> Iterator[str]:
    yield (
        f"{tally.seeds} runs, {len(tally.schedules)} different schedules, {tally.steps} steps,"
        f" in {seconds:.0f} s ({tally.seeds / max(seconds, 1e-9):.0f} a second)"
    )
    yield "faults: " + (", ".join(f"{kind} {count}" for kind, count in tally.faults.most_common()) or "none")
    yield f"violations: {len(tally.violating)}"
    for seed, violations in tally.violating[:10]:
        first = violations[0]
        yield f"  seed {seed}: {first.law} {first.order_id} {first.detail}"


def _as_json(tally: SimulationTally, seconds: float) -> dict[str, Any]:
    return {
        "seeds": tally.seeds,
        "schedules": len(tally.schedules),
        "steps": tally.steps,
        "seconds": round(seconds, 1),
        "faults": dict(tally.faults),
        "violations": [
            {"seed": seed, "law": v.law, "order_id": v.order_id, "detail": v.detail}
            for seed, violations in tally.violating
            for v in violations
        ],
    }
