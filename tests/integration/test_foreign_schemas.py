"""Schemas that anybody may have registered: what is written with one that could harm a reader is a dead letter."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from eventbus import WorkingSet, reacts_to
from eventbus.event import Event
from eventbus.log import Output
from eventbus.serde.codec import Codec
from eventbus.serde.confluent_registry import usable
from eventbus.serde.framing import FRAME
from eventbus.serde.lookups import Lookups
from eventbus.serde.registry import Registry, RegistryUnavailable, UnknownSchema, registry_at
from tests.support.engines import EVENTS, Playground, Worker
from tests.support.engines.sample import Ping, PingService, Pong, Tally, _count
from tests.support.registries.hostile_schemas import hostile
from tests.support.saga.bad_records import number, text

PING = json.loads(Ping.schema_text)
NUMBER = number(1)
EVIL = hostile(PING, {"name": text(b"x"), "number": NUMBER}, "number")
FIRST_ID = 10_000


class Strangers:
    """A registry in which strangers have registered what they like, beside our own schemas."""

    def __init__(self, own: Registry) -> None:
        self._own = own

    def id_of(self, event: type[Event]) -> int:
        return self._own.id_of(event)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        texts = [evil.text for evil in EVIL.values()]
        if schema_id < FIRST_ID:
            return self._own.schema_of(schema_id)
        return usable(schema_id, texts[schema_id - FIRST_ID])


def test_what_is_written_with_a_dangerous_schema_is_a_dead_letter(sqlite_playground: Playground) -> None:
    """Each once, with a good event after each; no crash, no hang, and no memory for what is not there."""
    playground = sqlite_playground
    playground.codec = Codec(Strangers(registry_at(None, EVENTS)), EVENTS)
    worker = playground.worker()
    good = Output("ping", b"x", playground.codec.encode(Ping("x", 1)), [])
    for schema_id, evil in enumerate(EVIL.values(), start=FIRST_ID):
        playground.admin.produce_many([Output("ping", b"x", FRAME.pack(0, schema_id) + evil.body, []), good], 0)
    playground.turn_until(lambda: len(playground.pongs()) == len(EVIL))
    reasons = dict(zip(EVIL, worker.watch.dead, strict=True))
    assert reasons == {name: evil.reason for name, evil in EVIL.items()}
    letters = playground.admin.read(f"{playground.group}.dead-letters")
    assert set(Counter(dict(letter.headers())["dlq_offset"] for letter in letters).values()) == {1}
    assert len(letters) == len(EVIL)


class Away:
    """A registry that does not answer to what nobody has asked before, until it is back."""

    def __init__(self, own: Registry) -> None:
        self._own = own
        self.back = False

    def id_of(self, event: type[Event]) -> int:
        return self._own.id_of(event)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        if schema_id < FIRST_ID:
            return self._own.schema_of(schema_id)
        if not self.back:
            raise RegistryUnavailable("the schema registry does not answer")
        return usable(schema_id, Ping.schema_text)


def test_what_came_together_with_an_unknown_schema_does_not_wait_for_it(playground: Playground) -> None:
    """While the registry is away, all that lies before such a record is handled, and all partitions without one."""
    registry = Away(registry_at(None, EVENTS))
    playground.codec = Codec(registry, EVENTS)
    known = [Output("ping", b"x", playground.codec.encode(Ping("x", number)), []) for number in range(5)]
    unknown = Output("ping", b"x", FRAME.pack(0, FIRST_ID) + b"\x02x" + NUMBER, [])
    playground.admin.produce_many([*known[:3], unknown, *known[3:], unknown], 0)
    playground.admin.produce_many(known, 1)
    worker = playground.worker()
    playground.turn_until(lambda: len(playground.pongs()) == 3 + len(known))
    playground.turn_until(lambda: "the schema registry does not answer" in worker.watch.doubts)
    registry.back = True
    playground.turn_until(lambda: len(playground.pongs()) == 2 * len(known) + 2)
    playground.assert_exactly_once(2 * len(known) + 2, one_source=False)
    assert worker.watch.dead == []


class Slow:
    """A registry that takes its time, about all that nobody has registered."""

    def __init__(self, own: Registry, seconds: float) -> None:
        self._own, self._seconds = own, seconds
        self.asked: Counter[int] = Counter()

    def id_of(self, event: type[Event]) -> int:
        return self._own.id_of(event)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        if schema_id < FIRST_ID:
            return self._own.schema_of(schema_id)
        self.asked[schema_id] += 1
        time.sleep(self._seconds)
        raise UnknownSchema(f"the registry does not have schema id {schema_id}")


def test_very_many_ids_that_nobody_knows_keep_no_other_partition_waiting(sqlite_playground: Playground) -> None:
    """150 in a row, each another one and 0.1 s slow: 15 s of looking up, while the group gives a member 6 s.

    Each is asked about once, the worker stays in its group, and what comes on another partition is handled soon.
    """
    playground, bad = sqlite_playground, 150
    registry = Slow(registry_at(None, EVENTS), 0.1)
    playground.codec = Codec(Lookups(registry), EVENTS)
    playground.tuning = replace(playground.tuning, dead_letters=10 * bad)
    good = Output("ping", b"x", playground.codec.encode(Ping("x", 1)), [])
    unknown = [Output("ping", b"x", FRAME.pack(0, FIRST_ID + each) + b"\x02x" + NUMBER, []) for each in range(bad)]
    worker = playground.worker(max_poll_interval_ms="6000", session_timeout_ms="6000")
    playground.turn_until(lambda: worker.ready() == 2 * playground.partitions)
    playground.admin.produce_many([*unknown, good], 0)
    playground.turn_until(lambda: bool(registry.asked))
    longest, slowest = 0.0, 0.0
    for count in range(1, 6):
        playground.admin.produce_many([good], 1)
        came = time.monotonic()
        while playground.tallied() < count:
            began = time.monotonic()
            worker.engine.run_once()
            longest = max(longest, time.monotonic() - began)
        slowest = max(slowest, time.monotonic() - came)
    assert len(registry.asked) < bad, "all of them came while there was much to look up"
    assert (longest < 2, slowest < 3) == (True, True), (longest, slowest)
    playground.turn_until(lambda: playground.tallied() == 6)
    assert worker.watch.dead == ["unknown_schema_id"] * bad
    assert worker.watch.lost == []
    assert set(registry.asked.values()) == {1}
    assert worker.watch.doubts == []


def test_too_many_ids_that_nobody_knows_pause_their_partition_for_good(sqlite_playground: Playground) -> None:
    """As any bad records do: nothing more of it is looked up."""
    playground = sqlite_playground
    registry = Slow(registry_at(None, EVENTS), 0.1)
    playground.codec = Codec(Lookups(registry), EVENTS)
    playground.tuning = replace(playground.tuning, dead_letters=10)
    unknown = [Output("ping", b"x", FRAME.pack(0, FIRST_ID + each) + b"\x02x" + NUMBER, []) for each in range(30)]
    worker = playground.worker()
    playground.admin.produce_many(unknown, 0)
    playground.turn_until(lambda: bool(worker.watch.paused_at))
    [(partition, why)] = worker.watch.paused_at
    assert (partition, why.partition(":")[0]) == ("ping/0", "dead_letter_limit")
    asked = len(registry.asked)
    turn_for(worker, seconds=1.5)
    assert len(registry.asked) == asked < 30
    assert worker.watch.dead == ["unknown_schema_id"] * 10


def turn_for(worker: Worker, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        worker.engine.run_once()


def test_an_id_about_which_the_registry_fails_holds_its_own_partition_and_is_named(playground: Playground) -> None:
    """Until it answers: nothing else waits, in the same database and on the same topic."""
    registry = Away(registry_at(None, EVENTS))
    playground.codec = Codec(Lookups(registry), EVENTS)
    known = [Output("ping", b"x", playground.codec.encode(Ping("x", number)), []) for number in range(5)]
    unknown = Output("ping", b"x", FRAME.pack(0, FIRST_ID) + b"\x02x" + NUMBER, [])
    worker = playground.worker()
    playground.admin.produce_many([*known, unknown, *known], 0)
    playground.turn_until(lambda: bool(worker.watch.paused_at))
    [(partition, why)] = worker.watch.paused_at
    assert partition == "ping/0"
    assert why.startswith("schema_registry: ping/0 waits at offset ")
    assert why.endswith("for a schema: the schema registry does not answer")
    recovered = worker.seen["recovered"]
    playground.admin.produce_many(known, 1)
    playground.turn_until(lambda: playground.tallied() == 2 * len(known))
    registry.back = True
    playground.turn_until(lambda: worker.watch.resumed_at == ["ping/0"])
    playground.settle(3 * len(known) + 1)
    playground.assert_exactly_once(3 * len(known) + 1, one_source=False)
    assert worker.seen["recovered"] == recovered, "nothing was in doubt"
    assert worker.watch.dead == []


class Mending(PingService):
    """Raises on everything until it is mended."""

    mended = False

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        if not self.mended:
            raise RuntimeError("a mistake in the code")
        return _count(ping, tallies)


def test_a_parked_record_whose_schema_is_not_told_keeps_no_other_parked_one_waiting(playground: Playground) -> None:
    """Both were parked by a worker that knew the schemas; the next one has to ask about one, and gets no answer."""
    service = Mending()
    playground.make_service = lambda: service
    playground.tuning = replace(playground.tuning, retry_most=0.5, backoff_most=0.5)
    registry = Away(registry_at(None, EVENTS))
    registry.back = True
    playground.codec = Codec(Lookups(registry), EVENTS)
    foreign = Output("ping", b"a", FRAME.pack(0, FIRST_ID) + b"\x02a" + NUMBER, [])
    playground.admin.produce_many([foreign, Output("ping", b"b", playground.codec.encode(Ping("b", 1)), [])], 0)
    worker = playground.worker()
    playground.turn_until(lambda: playground.sql("select count(*) from fence") == [(2,)])
    playground.abandon(worker)
    registry.back, service.mended = False, True
    playground.codec = Codec(Lookups(registry), EVENTS)
    worker = playground.worker()
    playground.turn_until(lambda: playground.sql("select key from fence") == [("a",)])
    playground.turn_until(lambda: "the schema registry does not answer" in worker.watch.doubts)
    assert playground.sql("select key from fence") == [("a",)]
    registry.back = True
    playground.settle(2)
    playground.assert_exactly_once(2)
