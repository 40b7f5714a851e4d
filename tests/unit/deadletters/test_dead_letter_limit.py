"""The number of a partition's last 10,000 records that may be bad, consecutive or not, is limited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.deadletters.limit import WINDOW, DeadLetterLimit
from eventbus.log import Partition

HERE, THERE = Partition("t", 0), Partition("t", 1)


def allowed(limit: DeadLetterLimit, batch: list[bool], partition: Partition = HERE) -> int | None:
    """Handle a batch, in which True is bad, as a decision does; return the index at which it had to stop, if so."""
    bad: list[int] = []
    for index, is_bad in enumerate(batch):
        if is_bad and not limit.allows(partition, index, len(bad)):
            limit.note(partition, index, bad)
            return index
        bad += [index] * is_bad
    limit.note(partition, len(batch), bad)
    return None


@pytest.mark.parametrize("batches", [[101], [100, 1], [1] * 101, [40, 40, 40]])
def test_a_hundred_in_a_row_are_allowed_however_they_are_cut_into_batches(batches: list[int]) -> None:
    """The next one stops the partition, and so does its retry; other partitions are counted separately."""
    limit = DeadLetterLimit(100)
    handled = [allowed(limit, [True] * size) for size in batches]
    assert handled[:-1] == [None] * (len(batches) - 1)
    assert sum(batches[:-1]) + handled[-1] == 100
    assert allowed(limit, [True]) == 0
    assert allowed(limit, [True], THERE) is None


def test_one_in_a_hundred_is_allowed_for_ever_and_not_more_often() -> None:
    """Up to the limit in the last 10,000."""
    limit = DeadLetterLimit(100)
    assert [allowed(limit, [True] + [False] * 99) for _ in range(500)] == [None] * 500
    stopped = [allowed(limit, [True] + [False] * 98) for _ in range(110)]
    assert 0 in stopped


@given(st.lists(st.lists(st.booleans(), max_size=40), max_size=20), st.integers(1, 10))
def test_it_stops_where_a_count_of_the_window_says(batches: list[list[bool]], most: int) -> None:
    """As a count over all handled records does, which is the rule."""
    limit, handled = DeadLetterLimit(most), list[bool]()
    for batch in batches:
        stopped = allowed(limit, batch)
        for is_bad in batch if stopped is None else batch[:stopped]:
            assert not is_bad or sum(handled[-WINDOW + 1 :]) < most
            handled.append(is_bad)
        if stopped is not None:
            assert sum(handled[-WINDOW + 1 :]) >= most
