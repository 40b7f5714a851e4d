"""What a registry keeps with a schema's text: its type, its rules, and its references to other schemas.

Metadata, validation rules and migration rules are for writers and for schema evolution; they are ignored.
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
"""The prefix of the types of rules that encrypt fields, or the whole value."""
MAX_REFERENCES = 100
REFERENCES_SECONDS = 3.0
"""How long one call fetches references; those that it fetched are not fetched again."""


def usable(schema_id: SchemaId, text: str | None, references: Iterable[str | None] = ()) -> dict[str, Any]:
    """Return the parsed schema of an untrusted source. Raises UnsupportedSchema unless it is a harmless record."""
    try:
        return written_with(json.loads(text or "null"), [json.loads(each or "null") for each in references])
    except Exception as error:
        raise UnsupportedSchema(f"schema id {schema_id} is not a usable Avro record: {error}") from error


def refuse_unreadable(schema_id: SchemaId, schema: Schema) -> None:
    """Raise UnsupportedSchema for a schema that is not Avro, or that encrypts."""
    if (kind := schema.schema_type or AVRO) != AVRO:
        raise UnsupportedSchema(
            f"schema id {schema_id} is of the type {kind}; only Avro is read: its producer needs an Avro serializer"
        )
    for rule in _rules(schema):
        if (rule.type or "").startswith(ENCRYPT) and not rule.disabled:
            raise UnsupportedSchema(
                f"schema id {schema_id} has the rule {rule.name!r} of the type {rule.type}: its producer encrypts"
                " its records, and decryption is not supported"
            )


def referenced(schema_id: SchemaId, schema: Schema, version_of: Callable[[str, int], Schema]) -> list[str | None]:
    """Return the texts of the schemas that a schema refers to, and of those that they refer to, each once.

    Raises UnsupportedSchema for one that does not exist, and RegistryUnavailable.
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
            raise RegistryUnavailable(
                f"fetching the references of schema id {schema_id} takes long: {len(found)} schemas were read"
            )
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
