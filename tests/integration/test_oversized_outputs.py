"""An output that is larger than its topic allows is parked with its order; all others flow, and it goes out later."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from eventbus import publishing
from eventbus.engine.config import EngineConfig
from eventbus.kafka.log import KafkaLog
from eventbus.log import Limit
from tests.support.engines import CODEC, Playground
from tests.support.engines.sample import Ping, Starter

SMALL, LIMIT = 500, 2_000
FAST = EngineConfig(prune_after=0.2, retry_most=0.5, idle_check_after=0.2)
LONG = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=LIMIT + 100))
"""The name of a tally: the key of its events, and in them. It cannot be compressed."""


@pytest.fixture
def limited(sqlite_playground: Playground) -> Iterator[Playground]:
    """A playground whose pongs and pings have to be small, in one partition."""
    sqlite_playground.tuning, sqlite_playground.partitions = FAST, 1
    sqlite_playground.recreate_topics()
    return sqlite_playground


def send(playground: Playground, *names: str) -> None:
    producer = Producer({"bootstrap.servers": playground.bootstrap, "partitioner": "murmur2_random"})
    for name in names:
        producer.produce("ping", CODEC.encode(Ping(name, 1)), name)
    producer.flush()


def answered(playground: Playground) -> list[str]:
    return [(message.key() or b"").decode() for message in playground.pongs()]


def parked(playground: Playground) -> list[tuple[str, str, str]]:
    return playground.sql(
        "select p.topic, f.error, p.key from parked p join fence f on f.key = p.key order by p.key, p.position"
    )  # type: ignore[return-value]


def test_one_output_that_is_too_large_keeps_nobody_waiting(limited: Playground) -> None:
    """It is named with topic, order, size and limit; what follows for its order waits behind it, in order.

    When the topic takes it, all of it goes out, each once.
    """
    limited.admin.limit("pong", LIMIT)
    send(limited, "a", LONG, "b", LONG, "c")
    limited.worker()
    limited.turn_until(lambda: len(parked(limited)) == 2 and sorted(answered(limited)) == ["a", "b", "c"])
    send(limited, "d", LONG)
    limited.turn_until(lambda: "d" in answered(limited) and len(parked(limited)) == 3)
    (topic, error, key), *behind = parked(limited)
    assert (topic, key) == ("pong", LONG)
    assert [each[0] for each in behind] == ["pong", "ping"], "two answers were decided, the third waits for its turn"
    assert f"the event of {LONG[:80]} has " in error
    assert error.endswith(f" bytes, and the topic pong takes at most {LIMIT} (its max.message.bytes)")
    limited.turn_until(lambda: limited.sql("select attempts from fence")[0][0] > 1)
    limited.turn_until(lambda: limited.sql("select max_bytes from output_topic where topic = 'pong'") == [(LIMIT,)])

    limited.admin.limit("pong", 100_000)
    limited.turn_until(lambda: not parked(limited) and answered(limited).count(LONG) == 3)
    limited.turn_until(lambda: limited.sql("select count(*) from outbox") == [(0,)])
    limited.assert_exactly_once(7)


def test_small_outputs_go_out_in_batches_that_their_topic_takes(limited: Playground) -> None:
    """The broker measures batches: hundreds of small records are no reason to park anybody."""
    limited.admin.limit("pong", SMALL)
    limited.send(range(300), names=100)
    limited.worker()
    limited.settle(300)
    assert parked(limited) == []
    limited.assert_exactly_once(300)


def test_a_killed_worker_leaves_an_output_that_is_too_large_to_the_next_one(limited: Playground) -> None:
    """Wherever that one begins: it is parked once, and published once."""
    limited.admin.limit("pong", LIMIT)
    send(limited, "a", LONG, "b")
    first = limited.worker()
    limited.turn_until(lambda: first.seen["after database commit"] > 0, workers=[first])
    limited.abandon(first)
    limited.worker()
    limited.turn_until(lambda: len(parked(limited)) == 1 and sorted(answered(limited)) == ["a", "b"])
    limited.admin.limit("pong", 100_000)
    limited.turn_until(lambda: len(answered(limited)) == 3)
    limited.assert_exactly_once(3)


def test_a_root_event_that_is_too_large_keeps_no_other_waiting(limited: Playground) -> None:
    """It has no record that it answers, and is parked with its order like any other."""
    limited.make_service = Starter
    limited.admin.limit("ping", LIMIT)
    limited.worker()
    with limited.database().transaction() as tx:
        publishing.publish(tx, CODEC, limited.group, [Ping(name, 1) for name in ("a", LONG, "b")])
    limited.turn_until(lambda: len(parked(limited)) == 1)
    pings = lambda: sorted((message.key() or b"").decode() for message in limited.admin.read("ping"))  # noqa: E731
    limited.turn_until(lambda: pings() == ["a", "b"])
    limited.admin.limit("ping", 100_000)
    limited.turn_until(lambda: pings() == sorted(["a", "b", LONG]))
    assert limited.sql("select count(*) from fence") == [(0,)]


def test_a_record_that_the_client_itself_refuses_is_judged_alike(limited: Playground) -> None:
    """`message.max.bytes` is the worker's own limit: its name is said."""
    send(limited, "a", LONG, "b")
    limited.worker(message_max_bytes=str(LIMIT))
    limited.turn_until(lambda: len(parked(limited)) == 1 and sorted(answered(limited)) == ["a", "b"])
    [(_, error, _)] = parked(limited)
    assert error.endswith(f"takes at most {LIMIT} (message.max.bytes of --kafka-config)")


def test_where_nobody_says_how_much_a_topic_takes_it_is_parked_all_the_same(
    limited: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to describe configurations: each record is written alone, and the broker's answer decides."""
    nothing: dict[str, Limit] = {}
    monkeypatch.setattr(KafkaLog, "largest", lambda _log, _topics: nothing)
    limited.admin.limit("pong", LIMIT)
    send(limited, "a", LONG, "b")
    limited.worker()
    limited.turn_until(lambda: len(parked(limited)) == 1 and sorted(answered(limited)) == ["a", "b"])
    [(_, error, _)] = parked(limited)
    assert error.endswith("and the topic pong takes less")
