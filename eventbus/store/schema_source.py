"""Whose schema ids a service writes with: table `schema_id`. A record framed with another's ids is a dead letter.

A registry is known by the ids that it gave to the service's schemas. Its URL may change, and another registry that gave
the same ids is as good. Why: docs/decisions/0023-a-registry-that-is-somebody-elses.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventbus.database import Transaction
from eventbus.event import Event
from eventbus.log import UnsafeToContinue
from eventbus.serde.codec import Codec
from eventbus.serde.registry import REGISTRY

HOW_TO_CHANGE = 'To change it for good, see docs/operating.md, "Another source of schema ids"'


class OtherSchemaIds(UnsafeToContinue):
    """The service writes with the ids of another source."""


class _Schema(NamedTuple):
    topic: str
    fingerprint: str


class _Id(NamedTuple):
    number: int
    source: str


def agree(tx: Transaction, codec: Codec, events: Iterable[type[Event]], service: str) -> None:
    """Remember the ids that these events are written with. Raises OtherSchemaIds where the service has others.

    Who comes first decides: a worker, or who places an order. Raises ConcurrentUpdate where another one does at the
    moment.
    """
    rows = tx.rows("select topic, fingerprint, id, source from schema_id order by topic, fingerprint")
    known = {_Schema(topic, fingerprint): _Id(number, source) for topic, fingerprint, number, source in rows}
    ours = {_Schema(e.topic, _fingerprint(e)): _Id(codec.id_of(e), codec.source) for e in events}
    _compare(known, ours, service, codec.source)
    for schema in sorted(ours.keys() - known.keys()):
        sql = "insert into schema_id (topic, fingerprint, id, source) values (?, ?, ?, ?)"
        tx.execute(sql, *schema, *ours[schema])


def _compare(known: Mapping[_Schema, _Id], ours: Mapping[_Schema, _Id], service: str, source: str) -> None:
    if any(each.source != source for each in known.values()):
        raise OtherSchemaIds(
            f"{service} writes with the ids that ship with the code, and here is a schema registry: unset"
            f" SCHEMA_REGISTRY_URL, leave --schema-registry-url out. {HOW_TO_CHANGE}"
            if source == REGISTRY
            else f"{service} writes with the ids of a schema registry, and here is none: set SCHEMA_REGISTRY_URL, or"
            f" --schema-registry-url, as its workers have it. {HOW_TO_CHANGE}"
        )
    if source != REGISTRY:
        return
    for schema in known.keys() & ours.keys():
        if known[schema] != ours[schema]:
            raise OtherSchemaIds(
                f"this is another schema registry than the one that {service} writes with: it gave the schema of"
                f" {schema.topic} the id {ours[schema].number}, and the other one {known[schema].number}. Set"
                f" SCHEMA_REGISTRY_URL as its workers have it. {HOW_TO_CHANGE}"
            )


def _fingerprint(event: type[Event]) -> str:
    """Return the same for every spelling of a schema."""
    text = json.dumps(json.loads(event.schema_text), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
