"""The simulator finds what is wrong, says the same thing every time, and finds nothing where nothing is wrong."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eventbus.log import Partition
from eventbus.simulation import DAMAGES, KINDS, Fault, Simulation
from eventbus.simulation.cluster import SimulatedCluster, Written
from eventbus.simulation.faults import RUNNING, STEPS
from eventbus.simulation.troubles import HANDLER_RAISES
from eventbus.store import progress
from eventbus.worker import failpoints
from saga.commands.simulate import shortest, simulate_command
from saga.simulate import saga
from saga.simulate.saga import Case, simulate
from tests.mutants.planted import MUTANTS
from tests.mutants.planting import plant

EVERYTHING = tuple(KINDS)
simulate_module = importlib.import_module("saga.commands.simulate")


def test_every_law_holds_under_drawn_faults() -> None:
    """A cut of what `make simulate` runs: every fault comes about, every step is reached, and nothing is broken."""
    outcomes = [simulate(Case(seed, kinds=EVERYTHING)) for seed in range(20_000, 20_250)]
    assert [(outcome.case.seed, outcome.violations) for outcome in outcomes if outcome.violations] == []
    happened = Counter(fault.kind for outcome in outcomes for fault in outcome.happened)
    assert set(happened) == set(KINDS)
    assert len({outcome.schedule for outcome in outcomes}) == len(outcomes), "no two runs are alike"


def test_every_step_where_a_fault_may_strike_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fault that is drawn for it never comes, and the step is not tried."""
    runs: list[Simulation] = []

    class Kept(Simulation):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            runs.append(self)

    monkeypatch.setattr(saga, "Simulation", Kept)
    stop = Fault("rebalance", "published", 1, "stop a worker")
    trouble = Fault("trouble", "handling", 5, HANDLER_RAISES, 1)
    for seed in range(5):
        simulate(Case(seed, faults=(stop, trouble, Fault("rebalance", "published", 12, "add a worker"))))
        simulate(Case(seed, faults=(Fault("old database", "published", 3, RUNNING, 1),)))
    reached: Counter[str] = Counter()
    for run in runs:
        reached.update(run.steps)
    assert [step for step in STEPS if not reached[step]] == []
    assert set(failpoints.STEPS) <= set(STEPS), "every failpoint is a step of the simulator"


def test_one_seed_is_one_run_in_every_process(tmp_path: Path) -> None:
    """Byte for byte, whatever Python's hash seed is."""
    command = [sys.executable, "-m", "saga", "simulate", "--seed", "11", "--trace"]
    told = [
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, cwd=tmp_path, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(told[0].splitlines()) > 50


def test_ctrl_c_ends_it_with_the_report_of_the_runs_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours that somebody ends have shown something, too."""

    three = list(simulate_module._runs(Case(0), range(3), 1))

    def interrupted(*_given: Any) -> Iterator[Any]:
        yield from three
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate_module, "_runs", interrupted)
    done = CliRunner().invoke(simulate_command, ["--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["seeds"] == 3


def test_a_planted_bug_is_found_shortened_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions that are never put into the outbox: a crash before they are published loses them."""
    monkeypatch.setattr(progress, "add", lambda _tx, _entries: None)
    found = next(o for seed in range(300) if (o := simulate(Case(seed, kinds=EVERYTHING))).violations)
    short = shortest(found)
    assert short.violations
    assert (short.case.orders, len(short.happened)) <= (found.case.orders, len(found.happened))
    assert simulate(short.case, tracing=True).trace == short.trace, "the shortest run can be replayed"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_has_its_place_in_the_source(mutant: Any, tmp_path: Path) -> None:
    """So that `make mutants` does not rot."""
    plant(mutant, tmp_path)
    source = (tmp_path / mutant.file).read_text(encoding="utf-8")
    compile(source, mutant.file, "exec")


def test_the_model_lets_a_late_copy_end_the_next_transaction() -> None:
    """As measured on a real broker: an end of transaction carries an epoch, not which transaction it ends."""
    now = [0.0]
    cluster = SimulatedCluster(lambda: now[0])
    cluster.create_topics(["topic"], 1)
    epoch = cluster.start_producer("producer")
    record = Written("topic", b"key", b"value", [])
    cluster.write("producer", epoch, [record])
    cluster.end_transaction("producer", epoch, commit=True)
    cluster.arrive_late(1.0, "producer", epoch, commit=True)
    cluster.write("producer", epoch, [record])
    tp = Partition("topic", 0)
    assert len(cluster.read(tp, 0, 10)[0]) == 1
    now[0] = 2.0
    cluster.tick()
    assert len(cluster.read(tp, 0, 10)[0]) == 2, "nobody has committed the second one"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "crash,hail"], "'hail' is none of crash, stall"),
        (["--trace"], "select it with --seed"),
        (["--seeds", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_options_are_named(arguments: list[str], said: str) -> None:
    """Exit code 2, and the option with its value."""
    result = CliRunner().invoke(simulate_command, arguments)
    assert result.exit_code == 2
    assert said in result.output


DIES_IN_A_REVOCATION = (
    Fault("rebalance", "polled", 40, "add a worker"),
    Fault("crash", "revoked", 1, seconds=0.5),
)


def test_who_dies_while_it_revokes_leaves_no_partition_to_nobody() -> None:
    """A static member that comes back in the middle of a rebalance gets its share at the end of it."""
    cases = [Case(seed, workers=1, faults=DIES_IN_A_REVOCATION) for seed in range(8)]
    outcomes = [simulate(case) for case in cases]
    assert [outcome.violations for outcome in outcomes if outcome.violations] == []
    assert any(len(outcome.happened) == 2 for outcome in outcomes)


@pytest.mark.parametrize("kind", DAMAGES)
def test_nobody_goes_on_with_a_log_that_is_not_what_it_was(kind: str) -> None:
    """A topic created again or without its end, an older copy of a database: workers refuse, also started again."""
    for seed in range(5):
        assert simulate(Case(seed, kinds=(kind,))).violations == []
