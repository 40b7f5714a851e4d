"""An exception that stays one stops the worker and loses nothing; as soon as the code is mended, it goes on."""

from __future__ import annotations

import pytest

from eventbus import WorkingSet, reacts_to
from eventbus.decision import HandlerFailed
from tests.support.engines import Playground
from tests.support.sample import Ping, PingService, Pong, Tally, _count


class Broken(PingService):
    """Cannot handle names that begin like this one."""

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        if ping.name == "name-0":
            raise RuntimeError("a mistake in the code")
        return _count(ping, tallies)


@pytest.mark.parametrize("broken", [1, 8], ids=["on one partition", "on every partition"])
def test_an_exception_that_stays_one_stops_the_worker(sqlite_playground: Playground, broken: int) -> None:
    """Also when every partition has such a record, and each turn another one fails first."""
    playground = sqlite_playground
    mended, playground.make_service, playground.partitions = playground.make_service, Broken, 8
    playground.recreate_topics()
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 16)
    for partition in range(broken):
        playground.send([0, 1], partition=partition)
    with pytest.raises(HandlerFailed, match=r"count_ping raised on ping/.*name-0.*a mistake in the code"):
        playground.turn_until(lambda: False, 60)
    worker.engine.close()
    playground.workers.clear()
    playground.make_service = mended
    playground.worker("mended")
    playground.settle(2 * broken)
    playground.assert_exactly_once(2 * broken)


class Unsaved(PingService):
    """Decides what its own table refuses."""

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        tallies.put(ping.name, Tally(ping.name, None, 1))  # type: ignore[arg-type]
        return Pong(ping.name, ping.number, 1)


def test_what_the_database_refuses_is_a_failure_like_any_other(playground: Playground) -> None:
    """A NOT NULL or a CHECK that says no: retried, then the worker stops and says where; nothing is half done."""
    mended, playground.make_service = playground.make_service, Unsaved
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    playground.send([0])
    with pytest.raises(HandlerFailed, match=r"the repository raised on ping/"):
        playground.turn_until(lambda: False, 60)
    assert playground.tallied() == 0
    worker.engine.close()
    playground.workers.clear()
    playground.make_service = mended
    playground.worker()
    playground.settle(1)
    playground.assert_exactly_once(1)
