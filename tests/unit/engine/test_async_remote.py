"""A remote function that is an `async def`: declared by being one, and handled like one that blocks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import TryAgain, WorkingSet, reacts_to
from tests.support.engines.sample import Ping, Pong, RemotePingService, Tally, _count


class PatientPingService(RemotePingService):
    """Awaits the answer about a ping; the answer is what the handler receives."""

    async def ask_patiently(self, ping: Ping) -> Any:
        await asyncio.sleep(0)
        return self.call(ping)

    @reacts_to(Ping, remote=ask_patiently)
    def count_ping(self, ping: Ping, answer: Any, tallies: WorkingSet[Tally]) -> Pong:
        assert answer == "answer"
        return _count(ping, tallies)


def test_an_async_remote_function_declares_how_it_is_called():
    """Nothing else has to be said; one that blocks has a thread for each call."""
    assert PatientPingService(print).call_style == "async"
    assert RemotePingService(print).call_style == "threads"


def test_the_handler_receives_what_it_returned_in_the_end(scenario):
    """`scenario` waits for it."""
    service = PatientPingService(lambda _ping: "answer")
    scenario(service, Ping("a", 1)).when(Ping("a", 2)).then(Pong("a", 2, 2))


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_each_event_is_handled_once(seeded, seed):
    """Also where every other call is lost, and where a process dies while its calls are under way."""
    asked = []

    def lossy(ping):
        asked.append(ping)
        if len(asked) % 2:
            raise TryAgain("lost")
        return "answer"

    pings = [Ping(f"ping-{number}", number) for number in range(5)]
    run = seeded([lambda: PatientPingService(lossy)], pings, seed=seed)
    assert sorted(pong.name for pong in run.published(Pong)) == [ping.name for ping in pings]
    assert set(asked) == set(pings)
