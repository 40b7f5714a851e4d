"""Whose fault an unknown outcome is: an order is refused only when others are answered while it is not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from eventbus import TryAgain, Unasked
from eventbus.engine.assignment import Owned
from eventbus.engine.batch import PartitionBatch
from eventbus.engine.calls import CIRCUIT_BREAKER_THRESHOLD, NotMade
from eventbus.engine.delivery import Delivery
from eventbus.engine.unanswered import ATTEMPTS_AT_LEAST, Unanswered
from eventbus.log import Partition, Record
from eventbus.store.blocked_keys import BlockedKey

LANE, OTHER = Partition("ping", 0), Partition("ping", 1)
NO_ANSWER = TryAgain("the provider answers 500")
ERRORS = [TryAgain("500"), ConnectionError("reset"), TimeoutError("no answer")]


def part(partition: Partition, outcomes: dict[int, Any], block: BlockedKey | None = None) -> PartitionBatch:
    records = {offset: Record(partition, offset, b"", b"", 0, []) for offset in outcomes}
    items = [Delivery(record, record, called=True, outcome=outcomes[offset]) for offset, record in records.items()]
    return PartitionBatch(Owned(partition, 0.0), items, 0, blocked=block)


class Batches:
    """Notes batches of one partition: what came of the call about each offset."""

    def __init__(self) -> None:
        self.unanswered = Unanswered()

    def note(self, outcomes: dict[int, Any], partition: Partition = LANE) -> None:
        self.note_parts([part(partition, outcomes)])

    def note_parts(self, parts: list[PartitionBatch]) -> None:
        self.unanswered.note(parts, [item for each in parts for item in each.items])

    def refused(self, *offsets: int, partition: Partition = LANE) -> list[bool]:
        return [self.unanswered.is_refused((partition, offset)) for offset in offsets]


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_who_has_no_outcome_again_and_again_while_others_have_is_refused(batches: Batches, error: Exception) -> None:
    others = dict.fromkeys(range(1, 10), "answer")
    for _ in range(ATTEMPTS_AT_LEAST - 1):
        batches.note({0: error} | others)
        assert batches.refused(0) == [False]
    batches.note({0: error} | others)
    assert batches.refused(0, 1) == [True, False]


def test_one_other_that_is_answered_is_enough_after_some_attempts(batches: Batches) -> None:
    attempts = 0
    while not batches.refused(0)[0]:
        batches.note({0: NO_ANSWER, 1: "answer"})
        attempts += 1
    assert attempts == 4


def test_a_provider_that_is_away_for_all_refuses_nobody(batches: Batches) -> None:
    """However long; neither those who were asked nor those who were not asked any more."""
    for _ in range(100):
        batches.note(
            dict.fromkeys(range(CIRCUIT_BREAKER_THRESHOLD), NO_ANSWER)
            | dict.fromkeys(range(CIRCUIT_BREAKER_THRESHOLD, 50), NotMade("away"))
        )
        assert not any(batches.refused(*range(50)))
    assert batches.unanswered.is_unclear()


def test_an_answer_that_nobody_was_asked_for_says_nothing_about_the_provider(batches: Batches) -> None:
    """An order that is free of charge ends while the provider is away."""
    for _ in range(100):
        batches.note({0: NO_ANSWER, 1: Unasked("free"), 2: ValueError("a mistake in the code")})
        assert batches.refused(0) == [False]


def test_who_was_not_asked_is_not_refused(batches: Batches) -> None:
    """The circuit breaker gave the rest of the batch up: that is no attempt of theirs."""
    for _ in range(100):
        batches.note({0: NotMade("away"), 1: "answer"})
    batches.note({0: NO_ANSWER, 1: "answer"})
    assert batches.refused(0) == [False]


def test_an_answer_in_between_begins_the_count_anew(batches: Batches) -> None:
    for _ in range(ATTEMPTS_AT_LEAST - 1):
        batches.note({0: NO_ANSWER, 1: "answer"})
    batches.note({0: "answer", 1: "answer"})
    batches.note({0: NO_ANSWER, 1: "answer"})
    assert batches.refused(0) == [False]


def test_several_are_refused_at_once_the_later_the_more_they_are(batches: Batches) -> None:
    """Also where most are: as long as some are answered, those behind them come through."""
    attempts = {}
    for refused in (2, 10, 18):
        batches = Batches()
        while not batches.refused(0)[0]:
            batches.note(dict.fromkeys(range(refused), NO_ANSWER) | dict.fromkeys(range(refused, 20), "answer"))
            attempts[refused] = attempts.get(refused, 0) + 1
        assert batches.refused(*range(20)) == [True] * refused + [False] * (20 - refused)
        assert batches.unanswered.is_unclear() == (refused > 2)
    assert attempts == {2: 3, 10: 6, 18: 26}


@pytest.mark.parametrize("fails", [0.1, 0.5, 0.9])
def test_a_rate_limit_that_hits_calls_at_random_refuses_few(fails: float) -> None:
    """Whatever share of the orders it hits in each batch."""
    chance, batches = random.Random(7), Batches()
    left, refused = set(range(1_000)), 0
    while left:
        batch = sorted(left)[:32]
        outcomes = {offset: NO_ANSWER if chance.random() < fails else "answer" for offset in batch}
        batches.note(outcomes)
        refused += sum(batches.refused(*batch))
        left -= {offset for offset in batch if outcomes[offset] == "answer" or batches.refused(offset)[0]}
    assert refused < 60


def test_others_may_be_answered_in_other_partitions_between_two_attempts(batches: Batches) -> None:
    """The partition of the refused order is held back meanwhile, and nothing but it is asked there."""
    batches.note({0: NO_ANSWER})
    for _ in range(4):
        assert batches.refused(0) == [False]
        batches.note({0: "answer"}, OTHER)
        batches.note({0: NO_ANSWER})
    assert batches.refused(0) == [True]


def test_what_was_answered_before_the_provider_went_away_counts_once(batches: Batches) -> None:
    batches.note({0: "answer", 1: NO_ANSWER})
    for _ in range(100):
        batches.note({1: NO_ANSWER})
        assert batches.refused(1) == [False]


def test_nobody_is_refused_at_an_attempt_at_which_no_other_was_answered(batches: Batches) -> None:
    """It had no outcome often enough, but at this moment the provider is away."""
    for _ in range(10):
        batches.note({0: NO_ANSWER, 1: "answer"})
    assert batches.refused(0) == [True]
    batches.note({0: NO_ANSWER})
    assert batches.refused(0) == [False]


def test_the_answers_to_parked_orders_tell_that_the_provider_works_their_refusals_tell_nothing(
    batches: Batches,
) -> None:
    block = BlockedKey("parked", *LANE, 1, 1, 1, 0, 0, "")
    for _ in range(4):
        batches.note({10: NO_ANSWER})
        batches.note_parts([part(LANE, {1: "answer", 2: NO_ANSWER, 3: NO_ANSWER}, block)])
    batches.note({10: NO_ANSWER})
    assert batches.refused(10) == [True]
    assert batches.refused(2) == [False]


def test_nothing_is_remembered_of_who_was_dealt_with(batches: Batches) -> None:
    """Answered, parked, dead-lettered, or owned by another worker: no memory is kept."""
    for start in range(0, 1_000, 10):
        batches.note({start: NO_ANSWER, start + 1: "answer"})
    batches.note({2_000: "answer"})
    assert not batches.unanswered._suspects
    assert not batches.unanswered._batches
    batches.note({3_000: NO_ANSWER})
    batches.unanswered.forget([LANE])
    assert not batches.unanswered._suspects


@pytest.mark.parametrize(
    ("others", "alone"),
    [({}, False), ({1: "answer"}, True), ({1: "answer", 2: NO_ANSWER}, True), ({1: NO_ANSWER, 2: NO_ANSWER}, False)],
)
def test_it_is_alone_if_most_others_are_answered(batches: Batches, others: dict[int, Any], alone: bool) -> None:
    batches.note({0: NO_ANSWER} | others)
    assert batches.unanswered.is_alone((LANE, 0)) is alone


def test_it_is_not_alone_for_a_batch_of_before(batches: Batches) -> None:
    """Its call was not made in the last batch: that tells nothing about it."""
    batches.note({0: NO_ANSWER, 1: "answer"})
    batches.note({0: NotMade("the provider is down"), 1: NO_ANSWER, 2: NO_ANSWER})
    assert not batches.unanswered.is_alone((LANE, 0))
