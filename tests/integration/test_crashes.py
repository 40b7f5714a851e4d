"""A worker may die at any step: the next one publishes what was decided, repeats nothing, loses nothing."""

from __future__ import annotations

import pytest

from tests.support.engines import Crash, Playground

STEPS = [
    "polled",
    "remote done",
    "before database commit",
    "after database commit",
    "begun",
    "produced",
    "offsets sent",
    "committed",
    "published",
]


def test_every_event_is_handled_and_answered_once(playground: Playground) -> None:
    """Without any fault: effects once, answers once and in order, nothing left in the outbox after a clean stop."""
    playground.worker()
    playground.send(range(300))
    playground.send(range(200), topic="pang")
    playground.settle(500)
    playground.close()
    playground.workers.clear()
    playground.assert_exactly_once(500)


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_a_step_loses_and_repeats_nothing(playground: Playground, step: str) -> None:
    """Killed right there; a worker of the same name goes on: the aborted or undecided transaction is invisible."""
    playground.send(range(100))
    first = playground.worker()
    playground.turn_until(lambda: first.ready() == 4)
    playground.send(range(100))
    first.crash_at(step)
    with pytest.raises(Crash):
        playground.turn_until(lambda: False)
    playground.abandon(first)
    playground.worker()
    playground.send(range(100))
    playground.settle(300)
    playground.assert_exactly_once(300)


def test_offsets_reset_to_the_beginning_repeat_nothing(playground: Playground) -> None:
    """The checkpoint is the truth: resetting the group's offsets by hand changes nothing."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

    worker = playground.worker(session_timeout_ms="6000")  # so long its group expects it back
    playground.send(range(100))
    playground.settle(100)
    worker.engine.close()
    playground.workers.clear()
    by_hand = Consumer({"bootstrap.servers": playground.bootstrap, "group.id": playground.group})
    playground.turn_until(lambda: not playground.admin.members(playground.group))
    offsets = [TopicPartition(topic, number, 0) for topic in ("ping", "pang") for number in range(2)]
    by_hand.commit(offsets=offsets, asynchronous=False)
    by_hand.close()
    again = playground.worker("two")
    playground.turn_until(lambda: again.ready() == 4)
    playground.send(range(50))
    playground.settle(150)
    playground.assert_exactly_once(150)
