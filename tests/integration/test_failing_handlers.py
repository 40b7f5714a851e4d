"""A record on which a handler raises is parked with everything that follows for its key; all others flow."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer

from eventbus import WorkingSet, reacts_to
from eventbus.engine import parking
from eventbus.engine.config import EngineConfig
from eventbus.engine.handlers import HandlerFailed
from tests.support.brokers.kafka_node import Broker
from tests.support.engines import CODEC, Playground, Worker, playground_of
from tests.support.engines.sample import Pang, Ping, PingService, Pong, Tallies, Tally, _count

FAST = EngineConfig(prune_after=0.2, retry_most=0.5)


class Service(PingService):
    """Cannot handle numbers below zero until it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.mended = False

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        return self._counted(ping, tallies)

    @reacts_to(Pang)
    def count_pang(self, pang: Pang, tallies: WorkingSet[Tally]) -> Pong:
        return self._counted(pang, tallies)

    def _counted(self, event: Ping | Pang, tallies: WorkingSet[Tally]) -> Pong:
        pong = _count(event, tallies)
        if event.number < 0 and not self.mended:
            raise RuntimeError("a mistake in the code")
        return pong


@pytest.fixture
def service(playground: Playground) -> Service:
    """Let every worker of the playground have one and the same service, which can be mended."""
    service = Service()
    playground.make_service = lambda: service
    playground.tuning = FAST
    playground.partitions = 1
    playground.recreate_topics()
    return service


def send(playground: Playground, *events: Ping | Pang, apart: bool = False) -> None:
    """Send these; `apart`: pings into the first partition, pangs into the second, which another worker has."""
    producer = Producer({"bootstrap.servers": playground.bootstrap, "partitioner": "murmur2_random"})
    for event in events:
        partition = (Ping, Pang).index(type(event)) if apart else -1
        producer.produce(event.topic, CODEC.encode(event), event.key, partition)
        producer.flush()


def answered(playground: Playground) -> list[tuple[str, int]]:
    pongs = (CODEC.decode("pong", message.key(), message.value()) for message in playground.pongs())
    return [(pong.name, pong.number) for pong in pongs]


def parked(playground: Playground) -> list[tuple[str, str]]:
    return playground.sql("select key, topic from parked order by key, position")  # type: ignore[return-value]


A0, A1, A2, A3 = (Ping("A", number) for number in (0, -1, 2, 3))
B0 = Ping("B", 0)


@pytest.mark.quick
def test_the_script_of_five_records(playground: Playground, service: Service) -> None:
    """A0, A1 (which fails), A2, B0, A3: A0 and B0 are answered, A1, A2 and A3 wait and come in order once it is mended.

    In between a record comes whose key is not UTF-8: it stops nobody. A restart changes nothing either.
    """
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    send(playground, A0, A1, A2)
    producer = Producer({"bootstrap.servers": playground.bootstrap})
    producer.produce("ping", CODEC.encode(A2), b"\xff\xfe")
    producer.flush()
    send(playground, B0, A3)
    playground.turn_until(lambda: len(parked(playground)) == 3)
    playground.settle(2)
    assert answered(playground) == [("A", 0), ("B", 0)]
    assert worker.watch.dead == ["key_mismatch"]
    send(playground, Pang("A", 4), Ping("B", 5))
    playground.turn_until(lambda: parked(playground) == [("A", "ping")] * 3 + [("A", "pang")])
    playground.abandon(worker)
    worker = playground.worker()
    playground.turn_until(lambda: worker.seen["retrying"] > 0)
    playground.settle(3)
    assert answered(playground) == [("A", 0), ("B", 0), ("B", 5)]
    service.mended = True
    playground.settle(7)
    assert answered(playground)[3:] == [("A", -1), ("A", 2), ("A", 3), ("A", 4)]
    assert parked(playground) == playground.sql("select key from fence") == []
    playground.assert_exactly_once(7)


def test_the_parked_go_with_their_partition(playground: Playground, service: Service) -> None:
    """Who takes the partition over tries them again, also what another worker has read from another topic."""
    playground.partitions = 2
    playground.recreate_topics()
    one = playground.worker("one", session_timeout_ms="6000")
    playground.turn_until(lambda: one.ready() == 4)
    two = playground.worker("two", session_timeout_ms="6000")
    playground.turn_until(lambda: one.ready() == two.ready() == 2)
    send(playground, A0, A1, apart=True)
    playground.turn_until(lambda: parked(playground) == [("A", "ping")])
    send(playground, Pang("A", 2), Pang("B", 2), apart=True)
    playground.turn_until(lambda: parked(playground) == [("A", "ping"), ("A", "pang")])
    playground.turn_until(lambda: bool(one.seen["retrying"] or two.seen["retrying"]))
    holder = next(w for w in (one, two) if w.seen["retrying"])
    playground.settle(2)
    seen = holder.seen["retrying"]
    playground.turn_until(lambda: holder.seen["retrying"] > seen)
    holder.engine.close()
    playground.workers.remove(holder)
    left = playground.workers[0]
    before = left.seen["retrying"]
    playground.turn_until(lambda: left.seen["retrying"] > before)
    service.mended = True
    playground.settle(4)
    assert [pair for pair in answered(playground) if pair[0] == "A"] == [("A", 0), ("A", -1), ("A", 2)]
    playground.assert_exactly_once(4)


def test_two_workers_that_block_one_key_at_once(broker: Broker, postgres_url: str) -> None:
    """On PostgreSQL, where transactions run side by side: the second one loses the race, and parks behind the first."""
    service = Service()
    with playground_of(broker.bootstrap_servers, postgres_url) as playground:
        playground.make_service, playground.tuning = lambda: service, FAST
        of_ping, of_pang = workers = [playground.worker(name) for name in ("one", "two")]
        playground.turn_until(lambda: all(worker.ready() == 2 for worker in workers))
        of_ping.at("parking", lambda: playground.turn_until(lambda: len(parked(playground)) == 1, workers=[of_pang]))
        send(playground, Ping("A", -1), Pang("A", -2), apart=True)
        playground.turn_until(lambda: len(parked(playground)) == 2, workers=[of_ping])
        assert parked(playground) == [("A", "pang"), ("A", "ping")]
        assert any("fence" in why for why in of_ping.watch.doubts), "a unique violation"
        service.mended = True
        playground.settle(2)
        playground.assert_exactly_once(2)
        assert answered(playground) == [("A", -2), ("A", -1)]


def refusals(worker: Worker) -> list[str]:
    """Return the doubts that come from the table; others come from a broker that is slow to answer."""
    return [why for why in worker.watch.doubts if "constraint" in why]


class Refused(Tallies):
    """A table that does not take what some names decide."""

    schema = (
        "create table tally (name text primary key, total bigint not null, times bigint not null, check (total < 100));"
    )


def test_what_the_database_refuses_is_found_by_bisection(playground: Playground, service: Service) -> None:
    """A NOT NULL or a CHECK that says no names no record: the orders to blame are found, and no other one waits."""
    service.repository = Refused()
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    bad = [Ping(f"bad-{number}", 100) for number in range(3)]
    send(playground, *(Ping(f"name-{number}", 1) for number in range(50)), *bad)
    send(playground, *(Ping(f"name-{number}", 1) for number in range(50, 90)))
    playground.settle(90)
    playground.turn_until(lambda: len(parked(playground)) == 3)
    doubts = refusals(worker)
    playground.turn_until(lambda: playground.sql("select min(attempts) from fence")[0][0] > 2)
    assert refusals(worker) == doubts, "the partition goes on"
    errors = playground.sql("select key, error from fence order by key")
    assert [key for key, _ in errors] == ["bad-0", "bad-1", "bad-2"]
    assert all("constraint" in error for _, error in errors)


def test_a_service_that_fails_on_everything_parks_so_many_and_waits_with_the_rest(
    playground: Playground, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad release must not move the topic into the database: then the log is where it waits, and it says so."""
    monkeypatch.setattr(parking, "MAX_BLOCKED_KEYS", 3)
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 2)
    for number in range(5):
        send(playground, Ping(f"name-{number}", -1))
        playground.turn_until(lambda n=number: len(parked(playground)) == min(n + 1, 3))  # type: ignore[misc]
    refused = "not parked, because 3 keys are blocked already"
    playground.turn_until(lambda: any(refused in why for why in worker.watch.doubts))
    assert len(parked(playground)) == 3
    service.mended = True
    playground.settle(5)
    playground.assert_exactly_once(5)


class Broken(Tallies):
    """Loads nothing, ever."""

    def load(self, tx: object, events: object) -> WorkingSet[Tally]:
        raise RuntimeError("no such table")


def test_what_is_no_records_fault_stops_the_worker_and_loses_nothing(
    sqlite_playground: Playground,
) -> None:
    """Parking would not help: it is tried again, then the worker stops and says where."""
    playground = sqlite_playground
    mended = playground.make_service

    def broken() -> PingService:
        service = PingService()
        service.repository = Broken()
        return service

    playground.make_service, playground.tuning = broken, EngineConfig(attempts=4, backoff_most=0.5)
    worker = playground.worker()
    playground.turn_until(lambda: worker.ready() == 4)
    playground.send([0])
    began = time.monotonic()
    with pytest.raises(HandlerFailed, match=r"the repository raised on ping/.*no such table"):
        playground.turn_until(lambda: False)
    assert time.monotonic() - began > 0.3, "not at once"
    worker.engine.close()
    playground.workers.clear()
    playground.make_service = mended
    playground.worker("mended")
    playground.settle(1)
    playground.assert_exactly_once(1)
