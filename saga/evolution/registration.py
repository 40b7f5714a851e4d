"""The released schemas in a Confluent-compatible registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    RegisteredSchema,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.error import SchemaRegistryError

from eventbus.avro_schema import parse
from eventbus.serde.confluent_registry import asking
from eventbus.serde.registered_schema import referenced, refuse_unreadable, usable
from eventbus.serde.registry import UnknownSchema, UnsupportedSchema
from eventbus.serde.subjects import Subjects
from saga.evolution.compatibility import breaks
from saga.evolution.released import Problem, ReleasedSchema

FULL_TRANSITIVE = "FULL_TRANSITIVE"
NO_LEVEL = 40408
"""The registry's error code for a subject without a compatibility level of its own."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A released schema in the registry; `status` is `registered` if it is new there, or `exists`."""

    subject: str
    version: int
    id: int
    status: str


def register(
    client: SchemaRegistryClient, versions: Iterable[ReleasedSchema], subjects: Subjects
) -> Iterator[Registered]:
    """Register versions of one topic, oldest first, under their subject, and set the subject to FULL_TRANSITIVE.

    Idempotent. Raises RegistryUnavailable, also when the registry refuses a version.
    """
    for version in versions:
        subject, schema = subject_of(version, subjects), Schema(version.text, "AVRO")
        with asking(f"the subject {subject}"):
            client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel(FULL_TRANSITIVE)))
        status = "exists" if _find(client, subject, schema) else "registered"
        with asking(f"the subject {subject}"):
            client.register_schema(subject, schema)
        found: Any = _find(client, subject, schema)
        yield Registered(subject, found.version, found.schema_id, status)


def check_registered(
    client: SchemaRegistryClient, versions: Iterable[ReleasedSchema], subjects: Subjects
) -> Iterator[Problem]:
    """Check that all versions of one topic are registered, and compatible with all versions in the registry."""
    versions = list(versions)
    for version in versions:
        subject = subject_of(version, subjects)
        if _find(client, subject, Schema(version.text, "AVRO")) is None:
            yield Problem(version.topic, "not registered", f"{version} is not in {subject}: `saga schemas register`")
    for topic in {version.topic for version in versions}:
        yield from _check_subject(client, topic, versions, subjects)


def subject_of(version: ReleasedSchema, subjects: Subjects) -> str:
    """Return the subject of a released schema."""
    return subjects.of(version.topic, parse(version.schema)["name"])


def _check_subject(
    client: SchemaRegistryClient, topic: str, versions: list[ReleasedSchema], subjects: Subjects
) -> Iterator[Problem]:
    subject = subject_of(versions[0], subjects)
    try:
        with asking(subject):
            numbers = client.get_versions(subject)
    except UnknownSchema:
        return
    level = _level(client, subject)
    if level != FULL_TRANSITIVE:
        yield Problem(topic, "compatibility level", f"{subject} is {level}, not {FULL_TRANSITIVE}")
    for number in numbers:
        with asking(f"version {number} of {subject}"):
            registered: Any = client.get_version(subject, number)
        try:
            theirs = _theirs(client, registered, subjects)
        except UnsupportedSchema as error:
            yield Problem(topic, "not a usable schema", f"version {number} of {subject}: {error}")
            continue
        for ours in versions:
            for writer, reader in ((theirs, ours.schema), (ours.schema, theirs)):
                for rule, at, detail in breaks(writer, reader):
                    yield Problem(topic, rule, f"version {number} of {subject} conflicts with {ours}: {at}: {detail}")


def _theirs(client: SchemaRegistryClient, registered: RegisteredSchema, subjects: Subjects) -> Any:
    """Return a registered schema, parsed. Raises UnsupportedSchema for one that workers could not read."""

    def version_of(subject: str, version: int) -> Schema:
        with asking(f"version {version} of the subject {subject}"):
            return client.get_version(subjects.in_context(subject), version, deleted=True).schema

    schema, number = registered.schema, registered.schema_id or 0
    refuse_unreadable(number, schema)
    usable(number, schema.schema_str, referenced(number, schema, version_of))
    return json.loads(schema.schema_str or "null")


def _level(client: SchemaRegistryClient, subject: str) -> Any:
    """Return a subject's compatibility level, or the registry's global one if the subject has none."""
    with asking(f"the compatibility level of {subject}"):
        try:
            level: Any = client.get_config(subject).compatibility_level
        except SchemaRegistryError as error:
            if error.error_code != NO_LEVEL:
                raise
            level = client.get_config().compatibility_level
    return getattr(level, "value", level)


def _find(client: SchemaRegistryClient, subject: str, schema: Schema) -> Any:
    try:
        with asking(subject):
            return client.lookup_schema(subject, schema)
    except UnknownSchema:
        return None
