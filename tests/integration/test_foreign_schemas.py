"""Schemas that anybody may have registered: what is written with one that could harm a reader is a dead letter."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from eventbus.codec import Codec
from eventbus.confluent_registry import usable
from eventbus.event import Event
from eventbus.framing import FRAME
from eventbus.log import Output
from eventbus.registry import Registry, RegistryUnavailable, registry_at
from tests.support.bad_records import number, text
from tests.support.engines import EVENTS, Playground
from tests.support.hostile_schemas import hostile
from tests.support.sample import Ping

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
