"""Every named step is really reached: a crash that is rehearsed at a step that never comes shows nothing."""

from __future__ import annotations

import pytest

from eventbus.store.age import DatabaseTooOld
from eventbus.worker.failpoints import STEPS
from tests.support.databases.copies import backed_up, restore
from tests.support.engines import Playground
from tests.support.engines.sample import Ping, RemotePingService


def test_an_ordinary_life_reaches_every_step(sqlite_playground: Playground) -> None:
    """Assigned, at work with remote calls, trouble, idle, partitions handed over, closed, an old database.

    The steps of deadlines are reached in test_deadlines.py::test_no_deadline_is_held_longer_than_its_own_length.
    """
    playground = sqlite_playground

    class Remote(RemotePingService):
        """A class of its own, so that the test has its own group."""

    troubles = ["once"]

    def call(ping: Ping) -> int:
        if troubles:
            raise ValueError(troubles.pop())
        return ping.number

    playground.make_service = lambda: Remote(call)
    worker = playground.worker("one")
    playground.send(range(10))
    playground.settle(10)
    copy = backed_up(playground)
    playground.send(range(10, 20))
    playground.settle(20)
    playground.turn_until(lambda: worker.seen["tidied"] > 0)
    other = playground.worker("two")
    playground.turn_until(lambda: other.ready() > 0 and worker.ready() + other.ready() == 2)
    playground.close()
    playground.workers.clear()
    restore(playground, copy)
    refused = playground.worker("one")
    with pytest.raises(DatabaseTooOld):
        playground.turn_until(lambda: False)
    steps = [step for step in STEPS if not step.startswith("deadlines ")]
    assert [step for step in steps if not worker.seen[step] and not refused.seen[step]] == []
