"""The crash matrix misses no cell and hides nothing: what was not reached, late or broken makes it fail."""

from __future__ import annotations

import pytest

from eventbus.worker.failpoints import STEPS
from tests.crash_matrix import report
from tests.crash_matrix.cells import CANNOT_OCCUR, ON_DECIDED, ON_OVERDUE, ORDERS, SMALL_STEPS, cells, small
from tests.crash_matrix.run import Outcome
from tests.support.saga import SERVICES


def good() -> Outcome:
    return Outcome("payment_service", "taken", 1, reached=True, exit_code=-9, recovered=1.0, progress=1.5, ended=2.0)


def test_every_step_of_every_service_is_a_cell_or_has_a_reason() -> None:
    """With each number of orders in flight, and some with what people decided instead."""
    whole = list(cells())
    steps = len(STEPS) * len(SERVICES) - len(CANNOT_OCCUR)
    decided = sum(map(len, ON_DECIDED.values())) * len(SERVICES) + len(ON_OVERDUE)
    assert len(whole) == len(set(whole)) == len(ORDERS) * steps + decided
    assert len(small()) == len(SMALL_STEPS) + len(ON_DECIDED) + 1


def test_a_run_without_fault_passes() -> None:
    outcomes = [good(), good()]
    assert not report.failed(outcomes)
    assert "back within 5 s: 2 of 2" in list(report.as_text(outcomes))


def test_what_the_machine_kept_from_running_makes_nobody_late() -> None:
    """Seconds in which somebody waited for a CPU or the disk are the machine's."""
    slow = good()
    slow.recovered, slow.progress = 8.0, 9.0
    assert report.late([slow]) == [slow]
    slow.held = 4.5
    assert report.late([slow]) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("reached", False, "NOT REACHED"),
        ("violations", ["sold twice"], "VIOLATION"),
        ("recovered", 5.1, "LATE"),
        ("progress", None, "LATE"),
    ],
)
def test_one_fault_makes_it_fail_and_is_named(name: str, value: object, said: str) -> None:
    """In the text, and counted in the JSON."""
    bad = good()
    setattr(bad, name, value)
    assert report.failed([good(), bad])
    assert any(line.startswith(said) for line in report.as_text([good(), bad]))
    shown = report.as_json([good(), bad], {})
    assert (shown["runs"], bool(shown["not_reached"] or shown["violations"] or shown["late"])) == (2, True)
