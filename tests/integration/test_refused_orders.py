"""The other side refuses one order (its outcome stays unknown) and answers all others: it is parked, and they flow.

One that is away for all parks nobody. On both databases, on a real broker.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from eventbus import TryAgain, WorkingSet, reacts_to
from eventbus.engine.config import EngineConfig
from tests.support.engines import CODEC, Playground
from tests.support.engines.sample import Pang, Ping, Pong, RemotePingService, Tally, _count
from tests.support.saga.processes import PATIENCE

FAST = EngineConfig(prune_after=0.2, retry_most=0.5, backoff_most=0.5)


class Provider:
    """Answers about pings, but for those names that it refuses, or about which it hangs."""

    def __init__(self) -> None:
        self.refuses: Callable[[str], bool] = lambda _name: False
        self.hangs: Callable[[str], bool] = lambda _name: False
        self.over = threading.Event()
        self.asked: Counter[Ping] = Counter()
        self.answered: Counter[Ping] = Counter()

    def __call__(self, ping: Ping) -> str:
        self.asked[ping] += 1
        if self.hangs(ping.name):
            self.over.wait(5)
            raise TimeoutError(f"no answer about {ping.name}")
        if self.refuses(ping.name):
            raise TryAgain(f"the provider answers 500 about {ping.name}")
        self.answered[ping] += 1
        return "yes"


class Service(RemotePingService):
    """Asks about pings, and counts pangs without asking anybody."""

    @reacts_to(Pang)
    def count_pang(self, pang: Pang, tallies: WorkingSet[Tally]) -> Pong:
        return _count(pang, tallies)


@pytest.fixture
def provider(playground: Playground) -> Provider:
    """Let the workers of the playground, which has one partition, ask this provider."""
    provider = Provider()
    playground.make_service, playground.tuning = lambda: Service(provider), FAST
    playground.partitions = 1
    playground.recreate_topics()
    return provider


def send(playground: Playground, *events: Ping | Pang, partition: int = -1) -> None:
    producer = Producer({"bootstrap.servers": playground.bootstrap, "partitioner": "murmur2_random"})
    for event in events:
        producer.produce(event.topic, CODEC.encode(event), event.key, partition=partition)
    producer.flush()


def pings(name: str, count: int) -> list[Ping]:
    return [Ping(f"{name}-{number}", 1) for number in range(count)]


def blocks(playground: Playground) -> dict[str, int]:
    """Return how many records wait of each key that is parked."""
    return dict(playground.sql("select key, last - first + 1 from fence"))  # type: ignore[arg-type]


def answers_to(playground: Playground, name: str) -> list[int]:
    pongs = (CODEC.decode("pong", message.key(), message.value()) for message in playground.pongs())
    return [pong.number for pong in pongs if pong.name == name]


def test_one_order_that_is_refused_is_parked_and_all_others_flow(playground: Playground, provider: Provider) -> None:
    """Five, the refused one and two hundred in one partition; later its own, on two topics, which wait behind it.

    Once it is answered they come in order, each with its effect once; nobody was asked otherwise than before.
    """
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    provider.refuses = lambda name: name == "bad"
    send(playground, *pings("a", 5), Ping("bad", 1), *pings("b", 200))
    playground.settle(205)
    assert blocks(playground) == {"bad": 1}
    [(error,)] = playground.sql("select error from fence")
    assert error.endswith(": the provider answers 500 about bad")
    send(playground, Ping("bad", 2), Pang("bad", 3), Ping("c", 1), Pang("c", 1))
    playground.settle(207)
    playground.turn_until(lambda: blocks(playground) == {"bad": 3})
    assert provider.asked[Ping("bad", 2)] == 0, "its turn has not come"
    assert worker.watch.dead == []
    provider.refuses = lambda _name: False
    playground.settle(210)
    in_order = [number for number in answers_to(playground, "bad") if number != 3]
    assert in_order == [1, 2], "the third lies on another topic: between two no order is promised"
    playground.turn_until(lambda: blocks(playground) == {})
    playground.assert_exactly_once(210)
    assert provider.answered[Ping("bad", 1)] == 1


def test_several_that_are_refused_side_by_side(playground: Playground, provider: Provider) -> None:
    """More than are asked at once, at the head of the only partition: it looks further for some to compare with."""
    worker = playground.worker()
    provider.refuses = lambda name: name.startswith("bad")
    send(playground, *pings("bad", 20), *pings("good", 100))
    playground.turn_until(lambda: worker.ready() == 2)
    playground.settle(100)
    playground.turn_until(lambda: len(blocks(playground)) == 20)
    provider.refuses = lambda _name: False
    playground.settle(120)
    playground.assert_exactly_once(120)


def test_refused_ones_in_several_partitions(playground: Playground, provider: Provider) -> None:
    playground.partitions = 4
    playground.recreate_topics()
    worker = playground.worker()
    provider.refuses = lambda name: name.startswith("bad")
    send(playground, *pings("bad", 8), *pings("good", 200))
    playground.turn_until(lambda: worker.ready() == 8)
    playground.settle(200)
    playground.turn_until(lambda: len(blocks(playground)) == 8)
    provider.refuses = lambda _name: False
    playground.settle(208)
    playground.assert_exactly_once(208)


def test_a_provider_that_is_away_parks_nobody(playground: Playground, provider: Provider) -> None:
    """However often it is asked: everybody waits in the log, and goes on when it is back."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    send(playground, *pings("before", 20))
    playground.settle(20)
    provider.refuses = lambda _name: True
    send(playground, *pings("during", 100))
    playground.turn_until(lambda: len(worker.watch.doubts) > 15)
    assert blocks(playground) == {}
    assert playground.tallied() == 20
    provider.refuses = lambda _name: False
    playground.settle(120)
    playground.assert_exactly_once(120)


def test_one_to_whom_nobody_can_be_compared_waits(playground: Playground, provider: Provider) -> None:
    """Nobody knows whether the provider is away, as long as nothing else is asked. Then it is parked."""
    playground.partitions = 2
    playground.recreate_topics()
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    provider.refuses = lambda name: name == "bad"
    send(playground, Ping("bad", 1), partition=0)
    playground.turn_until(lambda: len(worker.watch.doubts) > 8)
    assert blocks(playground) == {}
    sent = 0
    while not blocks(playground):
        sent += 1
        assert sent < 20
        send(playground, Ping("other", 1), partition=1)
        playground.settle(sent)
        doubts = len(worker.watch.doubts)
        playground.turn_until(lambda n=doubts: len(worker.watch.doubts) > n or bool(blocks(playground)))  # type: ignore[misc]
    provider.refuses = lambda _name: False
    playground.settle(sent + 1)
    playground.assert_exactly_once(sent + 1)


def test_one_that_each_poll_returns_alone_is_compared_with_those_behind_it(
    playground: Playground, provider: Provider
) -> None:
    """As the first poll after a seek does on a slow broker. A retry waits until those behind it are read, too."""
    worker = playground.worker()
    poll = worker.log.poll
    worker.log.poll = lambda _most, timeout: poll(1, timeout)  # type: ignore[method-assign]
    playground.turn_until(lambda: worker.ready() == 2)
    provider.refuses = lambda name: name == "bad"
    send(playground, Ping("bad", 1), *pings("good", 5))
    playground.settle(5)
    assert blocks(playground) == {"bad": 1}
    provider.refuses = lambda _name: False
    playground.settle(6)
    playground.assert_exactly_once(6)


def test_one_that_waited_long_is_parked_soon_after_others_come(playground: Playground, provider: Provider) -> None:
    """Its retries are far apart by then. Once others are answered the provider is not down: the next follow quickly."""
    playground.tuning = EngineConfig(prune_after=0.2, retry_most=0.5, backoff_most=60)
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    provider.refuses = lambda name: name == "bad"
    send(playground, Ping("bad", 1))
    playground.turn_until(lambda: len(worker.watch.waits) == 5)
    assert worker.watch.waits[-1] > 1
    send(playground, *pings("good", 3))
    playground.settle(3)
    assert blocks(playground) == {"bad": 1}
    waits = worker.watch.waits[5:]
    assert 2 <= len(waits) <= 5
    assert max(waits) <= 0.1
    provider.refuses = lambda _name: False
    playground.settle(4)
    playground.assert_exactly_once(4)


def test_one_that_hangs_keeps_nobody_waiting(playground: Playground, provider: Provider) -> None:
    """Each call about it takes five seconds: the others of its batch wait for one, and for its retries not at all."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    provider.hangs = lambda name: name == "bad"
    began = time.monotonic()
    send(playground, *pings("a", 5), Ping("bad", 1), *pings("b", 100))
    playground.settle(105)
    assert time.monotonic() - began < PATIENCE / 2
    playground.turn_until(lambda: bool(blocks(playground)))
    slowest, sent = 0.0, 105
    seen = worker.seen["remote under way"]
    while slowest < 5 and worker.seen["retrying"] < 3:
        began, sent = time.monotonic(), sent + 1
        send(playground, Ping(f"c-{sent}", 1))
        playground.turn_until(lambda n=sent: playground.tallied() == n)  # type: ignore[misc]
        slowest = max(slowest, time.monotonic() - began)
    assert worker.seen["remote under way"] > seen
    assert slowest < 3, "while the parked one was asked about, too"
    provider.hangs = lambda _name: False
    provider.over.set()
    playground.settle(sent + 1)
    playground.assert_exactly_once(sent + 1)


def test_one_that_hangs_alone_holds_up_its_worker_for_a_second(playground: Playground, provider: Provider) -> None:
    """It is compared with the calls before it, and not waited for until the gateway's time-out of five seconds."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    send(playground, *pings("a", 5))
    playground.settle(5)
    provider.hangs = lambda name: name == "bad"
    began = time.monotonic()
    send(playground, Ping("bad", 1))
    playground.turn_until(lambda: len(worker.watch.waits) == 1)
    assert time.monotonic() - began < 3
    provider.hangs = lambda _name: False
    provider.over.set()
    playground.settle(6)
    playground.assert_exactly_once(6)


def test_a_rate_limit_parks_few_and_all_come_back(playground: Playground, provider: Provider) -> None:
    """Three calls of five are answered 429: nothing is lost or done twice, and soon nothing is parked any more."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    chance = random.Random(7)
    provider.refuses = lambda _name: chance.random() < 0.6
    send(playground, *pings("name", 300))
    playground.turn_until(lambda: playground.tallied() > 100)
    assert len(blocks(playground)) < 50
    provider.refuses = lambda _name: False
    playground.settle(300)
    playground.turn_until(lambda: blocks(playground) == {})
    playground.assert_exactly_once(300)


def test_who_takes_over_goes_on_with_what_is_parked(playground: Playground, provider: Provider) -> None:
    """A worker dies while it asks about a parked order: another one asks again, with the same question."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    provider.refuses = lambda name: name == "bad"
    send(playground, *pings("a", 5), Ping("bad", 1), *pings("b", 10))
    playground.settle(15)
    seen = worker.seen["remote under way"]
    playground.turn_until(lambda: worker.seen["remote under way"] > seen and worker.engine._retrying.asking is not None)
    playground.abandon(worker)
    playground.worker()
    provider.refuses = lambda _name: False
    playground.settle(16)
    playground.assert_exactly_once(16)
    assert {ping for ping in provider.asked if ping.name == "bad"} == {Ping("bad", 1)}


def test_what_was_asked_about_a_parked_order_does_not_set_the_checkpoint_back(
    playground: Playground, provider: Provider
) -> None:
    """While it is asked about, others are handled in its partition: what they moved stays moved."""
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    provider.hangs = lambda name: name == "bad"
    send(playground, *pings("a", 5), Ping("bad", 1), *pings("b", 10))
    playground.settle(15)
    playground.turn_until(lambda: worker.engine._retrying.asking is not None)
    send(playground, *pings("c", 10))
    playground.settle(25)
    assert worker.engine._retrying.asking is not None, "it still hangs"
    provider.hangs = lambda _name: False
    provider.over.set()
    playground.settle(26)
    playground.abandon(worker)
    playground.worker()
    send(playground, Ping("d", 1))
    playground.settle(27)
    playground.assert_exactly_once(27)
