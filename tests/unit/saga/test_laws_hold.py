"""Correct histories break no law, at whatever moment they are read."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga.check.facts import Facts
from saga.check.laws import judge
from saga.check.rules import Rules
from tests.support.models.saga_model import FLOW, Step, World, finished, read, read_causes_first

SEEDS = st.integers(0, 2**32)


def moving(world: World, pace: float) -> Step:
    """Return what lets a saga go on by a random number of steps, `pace` on the average."""

    def some_steps() -> None:
        for _ in range(int(world.random.expovariate(1 / pace))):
            if steps := world.steps():
                world.random.choice(steps)()

    return some_steps


@settings(max_examples=300)
@given(SEEDS, st.integers(1, 8), st.floats(0.5, 20), st.booleans())
def test_a_running_saga_is_never_called_broken(seed, orders, pace, cancels):
    """What is in flight is no violation, wherever the steps of the saga fall between the single readings."""
    world = World(Random(seed), orders, cancels=cancels)
    assert judge(read(world, moving(world, pace)), Rules(FLOW)).violations == []


def test_in_the_wrong_order_the_same_sagas_would_be_called_broken():
    """The order of reading is what makes the laws sound: with causes read first, many a moment looks broken."""
    worlds = [World(Random(seed), 4) for seed in range(300)]
    broken = [judge(read_causes_first(w, moving(w, 4)), Rules(FLOW)).violations for w in worlds]
    assert sum(map(bool, broken)) >= 5


@settings(max_examples=100)
@given(SEEDS, st.booleans())
def test_a_finished_saga_is_clean_and_has_no_open_order(seed, cancels):
    """When all is quiet, every law holds strictly and nothing is open."""
    verdict = judge(finished(seed, cancels=cancels), Rules(FLOW, finished=True))
    assert (verdict.violations, verdict.orders, verdict.open) == ([], 12, 0)


@settings(max_examples=100)
@given(SEEDS, st.integers(0, 120))
def test_open_orders_are_counted_and_are_violations_only_when_all_should_be_quiet(seed, steps):
    """A saga that was stopped half-way has as many violations of all-is-finished as open orders."""
    world = World(Random(seed), 4)
    for _ in range(steps):
        if possible := world.steps():
            world.random.choice(possible)()
    facts = read(world)
    running, quiet = judge(facts, Rules(FLOW)), judge(facts, Rules(FLOW, finished=True))
    assert running.violations == []
    assert running.open == quiet.open == sum(v.law == "all-is-finished" for v in quiet.violations)
    assert (quiet.open > 0) == bool(set(quiet.violations))


@pytest.mark.parametrize("outcome", ["confirmed", "cancelled"])
def test_the_model_reaches_every_end(outcome):
    """The histories that these tests judge do end in each way, refunds and declined charges among them."""
    facts: list[Facts] = [finished(seed) for seed in range(5)]
    assert any(order.status == outcome for f in facts for order in f.orders.values())
    assert {payment.status for f in facts for payment in f.payments.values()} == {"charged", "declined", "refunded"}
    cancelled = [finished(seed, cancels=True) for seed in range(20)]
    assert any("inventory.released" in {e.topic for e in events} for f in cancelled for events in f.log.events.values())
    assert "cancelled" in {payment.status for f in cancelled for payment in f.payments.values()}
