"""Schema ids from a Confluent-compatible registry. Imported only where one is used: its client is slow to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from httpx2 import HTTPError

from eventbus.event import Event
from eventbus.framing import VALUE_HEADER, SchemaId
from eventbus.redaction import redact
from eventbus.registered_schema import referenced, refuse_unreadable, usable
from eventbus.registry import RegistryUnavailable, UnknownSchema, UnsupportedSchema
from eventbus.subjects import Subjects

NOT_FOUND = 404
NO_SCHEMA = 40403
"""The registry's own word for: there is no such schema."""


class ConfluentRegistry:
    """Ids from a Confluent-compatible registry, under the subjects that its URL names. Never registers."""

    def __init__(self, url: str) -> None:
        self._client = registry_client(url, seconds=2, retries=0)
        _, self._subjects = Subjects.behind(url)

    def id_of(self, event: type[Event]) -> int:
        """Look the event's own schema up under its subject."""
        subject = self._subjects.of(event.topic, event.schema["name"])
        with asking(f"the schema of {event.topic} under {subject}: run `saga schemas register`"):
            found = self._client.lookup_schema(subject, Schema(event.schema_text, "AVRO"))
        assert found.schema_id is not None
        return int(found.schema_id)

    def schema_of(self, schema_id: SchemaId) -> dict[str, Any]:
        """Fetch the writer's schema, and what it refers to."""
        with asking(f"schema id {schema_id}"):
            schema = self._fetch(schema_id)
        refuse_unreadable(schema_id, schema)
        return usable(schema_id, schema.schema_str, referenced(schema_id, schema, self._version_of))

    def _fetch(self, schema_id: SchemaId) -> Schema:
        if not isinstance(schema_id, UUID):
            return self._client.get_schema(schema_id, self._subjects.context or None)
        try:
            return self._client.get_schema_by_guid(str(schema_id))
        except SchemaRegistryError as error:
            if error.http_status_code != NOT_FOUND or error.error_code == NO_SCHEMA:
                raise
            self._client.get_schema_types()  # who answers this is a registry, and not what stands in for one
            raise UnsupportedSchema(
                f"the header {VALUE_HEADER} names the schema by the GUID {schema_id}, and this registry is too old to"
                " look up GUIDs: have the producer write schema ids, or upgrade the registry"
            ) from error

    def _version_of(self, subject: str, version: int) -> Schema:
        with asking(f"version {version} of the subject {subject}"):
            return self._client.get_version(self._subjects.in_context(subject), version, deleted=True).schema


def registry_client(url: str, seconds: float = 5, retries: int = 1) -> SchemaRegistryClient:
    """Return the client for a registry; it connects when it is asked. Raises RegistryUnavailable for what is no URL.

    A worker asks with little patience, since nothing else goes on meanwhile, and asks again later.
    """
    try:
        return SchemaRegistryClient({"url": Subjects.behind(url)[0], "timeout": seconds, "max.retries": retries})
    except ValueError:
        raise RegistryUnavailable(f"the schema registry's URL {redact(url)!r} is none") from None


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the client's errors while asking for `what` into UnknownSchema (it is not there) and RegistryUnavailable."""
    try:
        yield
    except SchemaRegistryError as error:
        if error.http_status_code == NOT_FOUND:
            raise UnknownSchema(f"the registry does not know {what}") from error
        raise RegistryUnavailable(f"the registry failed on {what}: {error}") from error
    except (OSError, HTTPError) as error:
        raise RegistryUnavailable(f"the schema registry does not answer: {error}") from error
