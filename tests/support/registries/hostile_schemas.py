"""Schemas that anybody may register and that could harm a reader, with a body each, and how it must be refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.saga.bad_records import number

MANY = number(50_000_000) + number(0)
"""Fifty million items, and the end of the array."""
NOTHING = {"type": "record", "name": "Nothing", "fields": []}
UNSUPPORTED, MALFORMED = "unsupported_schema", "malformed"


class Hostile(NamedTuple):
    """The text of a schema, a body that goes with it, and the reason that the dead letter must give."""

    text: str
    body: bytes
    reason: str


def hostile(schema: Mapping[str, Any], body: Mapping[str, bytes], long: str) -> dict[str, Hostile]:
    """Return what can be made of a good schema and a good body of it, by field; `long` is one of type long."""
    whole = b"".join(body.values())

    def more(fields: list[Any], added: bytes, reason: str) -> Hostile:
        named = [{"name": f"more{place}", "type": kind} for place, kind in enumerate(fields)]
        return Hostile(json.dumps({**schema, "fields": [*schema["fields"], *named]}), whole + added, reason)

    def instead(kind: Any, written: bytes) -> Hostile:
        fields = [field | {"type": kind} if field["name"] == long else field for field in schema["fields"]]
        return Hostile(json.dumps({**schema, "fields": fields}), b"".join((body | {long: written}).values()), MALFORMED)

    def lacking() -> Hostile:
        fields = [field for field in schema["fields"] if field["name"] != long]
        left = b"".join(written for name, written in body.items() if name != long)
        return Hostile(json.dumps({**schema, "fields": fields}), left, MALFORMED)

    kind = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
    deep = '{"type": "array", "items": ' * 2_000 + '"string"' + "}" * 2_000
    nested = more([array("DEEP")], number(0), UNSUPPORTED)
    return {
        "recursive": more([["null", schema["name"]]], number(1) * 5_000, UNSUPPORTED),
        "recursive over an array": more(
            [array(f"{schema['namespace']}.{schema['name']}")], number(1) * 5_000, UNSUPPORTED
        ),
        "an array of nulls": more([array("null")], MANY, UNSUPPORTED),
        "an array of nothings": more([array(NOTHING)], MANY, UNSUPPORTED),
        "an array of nothings that were named before": more([NOTHING, array("Nothing")], MANY, MALFORMED),
        "an array of fixed of no size": more([array({"type": "fixed", "name": "Void", "size": 0})], MANY, UNSUPPORTED),
        "2^40 nothings in no byte": more([doubled(40)], b"", MALFORMED),
        "2,000 arrays in each other": nested._replace(text=nested.text.replace('"DEEP"', deep)),
        "no record": Hostile('"string"', b"", UNSUPPORTED),
        "a union": Hostile('["null", "string"]', b"", UNSUPPORTED),
        "no JSON": Hostile("{", b"", UNSUPPORTED),
        "null": Hostile("null", b"", UNSUPPORTED),
        "a JSON Schema": Hostile('{"type": "object", "properties": {}}', whole, UNSUPPORTED),
        "Protobuf": Hostile('syntax = "proto3"; message Order { string id = 1; }', whole, UNSUPPORTED),
        "an unknown type": more([array("Nobody")], b"", UNSUPPORTED),
        "without a field that we need": lacking(),
        "another type of a field": instead("string", b"\x02x"),
        "a union's branch that there is not": instead(["null", "long"], number(9) + number(1)),
        "a union's branch without a value for us": instead(["null", "long"], number(0)),
        "a union's last branch, by the number -1": instead(["null", "long"], number(-1) + number(1)),
        "an enum's last symbol, by the number -1": more([kind], number(-1), MALFORMED),
        "an enum's symbol that there is not": more([kind], number(4), MALFORMED),
        "an enum where we have a number": instead({"type": "enum", "name": "E", "symbols": ["A"]}, number(7)),
        "a fixed of two gigabytes": more([{"type": "fixed", "name": "F", "size": 2**31}], b"", MALFORMED),
    }


def array(items: Any) -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def doubled(times: int) -> dict[str, Any]:
    """Return a record that has a record of nothing 2^times times in it, each size of it named once."""
    inner: dict[str, Any] = NOTHING
    for size in range(times):
        fields = [{"name": "one", "type": inner}, {"name": "two", "type": inner["name"]}]
        inner = {"type": "record", "name": f"Twice{size}", "fields": fields}
    return inner
