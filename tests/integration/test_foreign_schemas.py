"""Schemas that anybody may have registered: what is written with one that could harm a reader is a dead letter."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from eventbus.codec import FRAME, Codec
from eventbus.confluent_registry import usable
from eventbus.event import Event
from eventbus.log import Output
from eventbus.registry import Registry, RegistryUnavailable, registry_at
from tests.support.engines import EVENTS, Playground
from tests.support.sample import Ping

FIELDS = [{"name": "name", "type": "string"}, {"name": "number", "type": "long"}]
KIND = {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}}
NUMBER = b"\x02"
"""An Avro long: 1."""


def ping(*more: dict[str, Any], fields: list[dict[str, Any]] = FIELDS) -> str:
    """Return a schema of that name, with other fields or more of them."""
    return json.dumps({"type": "record", "name": "Ping", "namespace": "sample", "fields": [*fields, *more]})


def array(items: Any) -> dict[str, Any]:
    return {"name": "more", "type": {"type": "array", "items": items}}


DEEP = '{"type": "array", "items": ' * 2_000 + '"string"' + "}" * 2_000


MANY = b"\x80\xe1\xeb\x17\0"
"""Fifty million items, and the end of the array."""
EVIL = {
    "recursive": (ping({"name": "next", "type": ["null", "Ping"]}), NUMBER + b"\x02" * 5_000, "unknown_schema_id"),
    "recursive over an array": (ping(array("sample.Ping")), NUMBER + b"\x02" * 5_000, "unknown_schema_id"),
    "an array of nulls": (ping(array("null")), NUMBER + MANY, "unknown_schema_id"),
    "an array of nothings": (
        ping(array({"type": "record", "name": "Nothing", "fields": []})),
        NUMBER + MANY,
        "unknown_schema_id",
    ),
    "an array of fixed of no size": (
        ping(array({"type": "fixed", "name": "Void", "size": 0})),
        NUMBER + MANY,
        "unknown_schema_id",
    ),
    "2,000 arrays in each other": (ping(array("DEEP")).replace('"DEEP"', DEEP), NUMBER + b"\0", "unknown_schema_id"),
    "no record": ('"string"', b"", "unknown_schema_id"),
    "a union": ('["null", "string"]', b"", "unknown_schema_id"),
    "no JSON": ("{", b"", "unknown_schema_id"),
    "null": ("null", b"", "unknown_schema_id"),
    "an unknown type": (ping(array("Nobody")), NUMBER, "unknown_schema_id"),
    "without a field that we need": (ping(fields=FIELDS[:1]), b"", "malformed"),
    "another type of a field": (
        ping(fields=[FIELDS[0], {"name": "number", "type": "string"}]),
        b"\x02x",
        "malformed",
    ),
    "a union's branch that there is not": (
        ping(fields=[FIELDS[0], {"name": "number", "type": ["null", "long"]}]),
        b"\x12\x02",
        "malformed",
    ),
    "a union's branch without a value for us": (
        ping(fields=[FIELDS[0], {"name": "number", "type": ["null", "long"]}]),
        b"\0",
        "malformed",
    ),
    "a union's last branch, by the number -1": (
        ping(fields=[FIELDS[0], {"name": "number", "type": ["null", "long"]}]),
        b"\x01\x02",
        "malformed",
    ),
    "an enum's last symbol, by the number -1": (ping(KIND), NUMBER + b"\x01", "malformed"),
    "an enum's symbol that there is not": (ping(KIND), NUMBER + b"\x08", "malformed"),
    "an enum where we have a number": (
        ping(fields=[FIELDS[0], {"name": "number", "type": {"type": "enum", "name": "E", "symbols": ["A"]}}]),
        b"\x0e",
        "malformed",
    ),
    "a fixed of two gigabytes": (
        ping({"name": "f", "type": {"type": "fixed", "name": "F", "size": 2**31}}),
        NUMBER,
        "malformed",
    ),
}
FIRST_ID = 10_000


class Strangers:
    """A registry in which strangers have registered what they like, beside our own schemas."""

    def __init__(self, own: Registry) -> None:
        self._own = own

    def id_of(self, event: type[Event]) -> int:
        return self._own.id_of(event)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        texts = [text for text, _, _ in EVIL.values()]
        if schema_id < FIRST_ID:
            return self._own.schema_of(schema_id)
        return usable(schema_id, texts[schema_id - FIRST_ID])


def test_what_is_written_with_a_dangerous_schema_is_a_dead_letter(sqlite_playground: Playground) -> None:
    """Each once, with a good event after each; no crash, no hang, and no memory for what is not there."""
    playground = sqlite_playground
    playground.codec = Codec(Strangers(registry_at(None, EVENTS)), EVENTS)
    worker = playground.worker()
    good = Output("ping", b"x", playground.codec.encode(Ping("x", 1)), [])
    for number, (_, body, _) in enumerate(EVIL.values(), start=FIRST_ID):
        evil = Output("ping", b"x", FRAME.pack(0, number) + b"\x02x" + body, [])
        playground.admin.produce_many([evil, good], 0)
    playground.turn_until(lambda: len(playground.pongs()) == len(EVIL))
    reasons = dict(zip(EVIL, worker.watch.dead, strict=True))
    assert reasons == {name: reason for name, (_, _, reason) in EVIL.items()}
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
        return usable(schema_id, ping())


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
