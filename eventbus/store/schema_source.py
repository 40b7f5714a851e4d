"""The source of the schema ids that a service writes with: table `schema_id`. A record with other ids is dead-lettered.

A registry is identified by the ids that it assigned to the service's schemas. Its URL may change, and another registry
that assigned the same ids is equivalent. Why: docs/decisions/0023-a-registry-that-is-somebody-elses.md.
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

HOW_TO_CHANGE = 'To change it permanently, see docs/operating.md, "Another source of schema ids"'


class OtherSchemaIds(UnsafeToContinue):
    """The service writes with schema ids of another source."""


class _Schema(NamedTuple):
    topic: str
    fingerprint: str


class _Id(NamedTuple):
    number: int
    source: str


def agree(tx: Transaction, codec: Codec, events: Iterable[type[Event]], service: str) -> None:
    """Store the schema ids that these events are written with. Raises OtherSchemaIds if the service has other ones.

    The first process that publishes decides: a worker, or a command. Raises ConcurrentUpdate if another one stores them
    at the same time.
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
            f"{service} uses the schema ids that ship with the code, but a schema registry is configured: unset"
            f" SCHEMA_REGISTRY_URL, omit --schema-registry-url. {HOW_TO_CHANGE}"
            if source == REGISTRY
            else f"{service} uses the ids of a schema registry, but none is configured: set SCHEMA_REGISTRY_URL, or"
            f" --schema-registry-url, to the value that its workers use. {HOW_TO_CHANGE}"
        )
    if source != REGISTRY:
        return
    for schema in known.keys() & ours.keys():
        if known[schema] != ours[schema]:
            raise OtherSchemaIds(
                f"this is not the schema registry that {service} uses: it assigned id {ours[schema].number} to the"
                f" schema of {schema.topic}, not {known[schema].number}. Set SCHEMA_REGISTRY_URL to the value that its"
                f" workers use. {HOW_TO_CHANGE}"
            )


def _fingerprint(event: type[Event]) -> str:
    """Return the same for every spelling of a schema."""
    text = json.dumps(json.loads(event.schema_text), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
