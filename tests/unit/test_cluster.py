"""What the broker is asked from outside, and what is an answer."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaException, TopicPartition

from choreography.cluster import offsets_of


def answers(*offsets: int) -> dict[TopicPartition, Future[SimpleNamespace]]:
    given: dict[TopicPartition, Future[SimpleNamespace]] = {}
    for number, offset in enumerate(offsets):
        given[TopicPartition("order.created", number)] = Future()
        given[TopicPartition("order.created", number)].set_result(SimpleNamespace(offset=offset))
    return given


def test_offsets_are_returned_by_place() -> None:
    """None is asked, none is answered."""
    assert offsets_of(answers(0, 7)) == {("order.created", 0): 0, ("order.created", 1): 7}
    assert offsets_of({}) == {}


def test_a_lost_answer_about_offsets_is_an_error() -> None:
    """librdkafka reports -1001 without one: `saga check` would read nothing and find nothing wrong."""
    with pytest.raises(KafkaException, match="_TRANSPORT"):
        offsets_of(answers(0, -1001))
