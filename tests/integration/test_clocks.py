"""The time of day jumps an hour either way: nothing is lost or doubled, and what is parked is retried all the same."""

from __future__ import annotations

import random
import time

import pytest
from confluent_kafka import Producer

from eventbus import WorkingSet, reacts_to
from eventbus.engine.config import EngineConfig
from eventbus.publishing import publish
from tests.support.engines import CODEC, Playground
from tests.support.engines.sample import Ping, PingService, Pong, Starter, Tally, _count

HOUR_MS = 3_600_000


class Clock:
    """The time of day as a host tells it that is `ahead` by so many milliseconds."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead


class Service(PingService):
    """Cannot handle numbers below zero until it is mended."""

    mended = False

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        pong = _count(ping, tallies)
        if ping.number < 0 and not self.mended:
            raise RuntimeError("a mistake in the code")
        return pong


@pytest.fixture
def clock(playground: Playground) -> Clock:
    playground.now_ms = clock = Clock()
    playground.tuning = EngineConfig(prune_after=0.2, retry_most=0.5)
    return clock


def send(playground: Playground, *pings: Ping) -> None:
    producer = Producer({"bootstrap.servers": playground.bootstrap, "partitioner": "murmur2_random"})
    for ping in pings:
        producer.produce("ping", CODEC.encode(ping), ping.key)
    producer.flush()


@pytest.mark.parametrize("jump", [-HOUR_MS, HOUR_MS], ids=["set back", "set ahead"])
def test_a_parked_order_is_retried_within_a_minute_although_the_clock_jumps(
    playground: Playground, clock: Clock, jump: int
) -> None:
    """Within the longest pause between two retries, which is half a second here. Beside it another one is due later."""
    service = Service()
    playground.make_service = lambda: service
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    send(playground, Ping("A", -1), Ping("B", 1))
    playground.turn_until(lambda: playground.sql("select max(attempts) from fence")[0][0] == 3)
    clock.ahead += jump
    playground.turn_until(lambda: playground.sql("select attempts from fence")[0][0] > 4)
    send(playground, Ping("C", -1))
    playground.turn_until(lambda: len(playground.sql("select key from fence")) == 2)
    seen = dict(playground.sql("select key, attempts from fence"))
    playground.turn_until(lambda: all(n > seen[key] for key, n in playground.sql("select key, attempts from fence")))
    service.mended = True
    playground.settle(3)
    assert playground.sql("select key from fence") == []
    playground.assert_exactly_once(3)


def test_a_clock_that_jumps_all_the_time_changes_nothing(playground: Playground, clock: Clock) -> None:
    """Every look at it gives another hour; workers come and go."""
    chance = random.Random(7)
    playground.now_ms = lambda: time.time_ns() // 1_000_000 + chance.randrange(-HOUR_MS, HOUR_MS)
    service = Service()
    playground.make_service = lambda: service
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    send(playground, *(Ping(f"bad-{number}", -1) for number in range(5)))
    playground.send(range(100))
    playground.settle(100)
    playground.abandon(worker)
    playground.worker("two")
    service.mended = True
    playground.send(range(50))
    playground.settle(155)
    playground.assert_exactly_once(155)


def test_root_events_whose_ids_go_backwards_are_all_published(sqlite_playground: Playground) -> None:
    """Ids that sort by time, made by a clock that is set back again and again, while a worker publishes."""
    playground = sqlite_playground

    class Starts(Starter):
        """A class of its own, with a name of its own."""

    playground.make_service = Starts
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    for number in range(300, 0, -1):
        with worker.database.transaction() as tx:
            publish(tx, CODEC, playground.group, [Ping(f"{number:012x}", 1)])
        if number % 50 == 0:
            worker.engine.run_once()
    playground.turn_until(lambda: len(playground.admin.read("ping")) >= 300)
    keys = [message.key() for message in playground.admin.read("ping")]
    assert len(keys) == len(set(keys)) == 300
