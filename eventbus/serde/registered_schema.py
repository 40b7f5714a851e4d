"""What goes with a schema's text in a registry: its type, its rules, and the schemas that it refers to.

Metadata, validation rules and migration rules are for whoever writes or evolves it; they are not looked at.
Source: Confluent's Schema Registry API, schemas and subjects; Confluent's data contracts, rules.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka.schema_registry import Rule, Schema

from eventbus.avro_schema import written_with
from eventbus.serde.framing import SchemaId
from eventbus.serde.registry import RegistryUnavailable, UnknownSchema, UnsupportedSchema

AVRO = "AVRO"
ENCRYPT = "ENCRYPT"
"""How the types of rules begin that encrypt fields, or the whole value."""
MAX_REFERENCES = 100
REFERENCES_SECONDS = 3.0
"""So long its references are asked for in one go; what was read by then is not asked for again."""


def usable(schema_id: SchemaId, text: str | None, references: Iterable[str | None] = ()) -> dict[str, Any]:
    """Return a schema that anybody may have registered. Raises UnsupportedSchema unless it is a harmless record."""
    try:
        return written_with(json.loads(text or "null"), [json.loads(each or "null") for each in references])
    except Exception as error:
        raise UnsupportedSchema(f"schema id {schema_id} is not a usable Avro record: {error}") from error


def refuse_unreadable(schema_id: SchemaId, schema: Schema) -> None:
    """Raise UnsupportedSchema for what is no Avro, or is encrypted."""
    if (kind := schema.schema_type or AVRO) != AVRO:
        raise UnsupportedSchema(
            f"schema id {schema_id} is of the type {kind}; only Avro is read: its producer needs an Avro serializer"
        )
    for rule in _rules(schema):
        if (rule.type or "").startswith(ENCRYPT) and not rule.disabled:
            raise UnsupportedSchema(
                f"schema id {schema_id} has the rule {rule.name!r} of the type {rule.type}: its producer encrypts what"
                " it writes, and nothing here can decrypt that"
            )


def referenced(schema_id: SchemaId, schema: Schema, version_of: Callable[[str, int], Schema]) -> list[str | None]:
    """Return the texts of the schemas that a schema refers to, and of those that they refer to, each once.

    Raises UnsupportedSchema for one that is not there, and RegistryUnavailable.
    """
    found: dict[tuple[str, int], str | None] = {}
    waiting = list(schema.references or ())
    until = time.monotonic() + REFERENCES_SECONDS
    while waiting:
        reference = waiting.pop()
        at = (str(reference.subject), int(reference.version or 0))
        if at in found:
            continue
        if len(found) >= MAX_REFERENCES:
            raise UnsupportedSchema(f"schema id {schema_id} refers to more than {MAX_REFERENCES} other schemas")
        if time.monotonic() > until:
            raise RegistryUnavailable(f"what schema id {schema_id} refers to takes long: {len(found)} schemas are read")
        try:
            other = version_of(*at)
        except UnknownSchema as error:
            raise UnsupportedSchema(
                f"schema id {schema_id} refers to {reference.name}, version {at[1]} of the subject {at[0]}, which the"
                " registry does not have"
            ) from error
        found[at] = other.schema_str
        waiting += other.references or ()
    return list(found.values())


def _rules(schema: Schema) -> list[Rule]:
    rules = schema.rule_set
    return [*(rules.domain_rules or ()), *(rules.encoding_rules or ())] if rules else []
