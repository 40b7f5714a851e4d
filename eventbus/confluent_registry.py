"""Schema ids from a Confluent-compatible registry. Imported only where one is used: its client is slow to import."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from httpx2 import HTTPError

from eventbus.event import Event, parse
from eventbus.registry import RegistryUnavailable, UnknownSchema

NOT_FOUND = 404


class ConfluentRegistry:
    """Ids from a Confluent-compatible registry, subjects by TopicNameStrategy (`<topic>-value`). Never registers."""

    def __init__(self, url: str) -> None:
        self._client = registry_client(url, seconds=2, retries=0)

    def id_of(self, event: type[Event]) -> int:
        """Look the event's own schema up under its subject."""
        with asking(f"the schema of {event.topic}: run `saga schemas register`"):
            found = self._client.lookup_schema(f"{event.topic}-value", Schema(event.schema_text, "AVRO"))
        assert found.schema_id is not None
        return int(found.schema_id)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """Fetch the writer's schema."""
        with asking(f"schema id {schema_id}"):
            text = self._client.get_schema(schema_id).schema_str
        return usable(schema_id, text)


def usable(schema_id: int, text: str | None) -> dict[str, Any]:
    """Return a schema that anybody may have registered. Raises UnknownSchema unless it is a record without dangers."""
    try:
        return parse(json.loads(text or "null"))
    except Exception as error:
        raise UnknownSchema(f"schema id {schema_id} is not a usable Avro record: {error}") from error


def registry_client(url: str, seconds: float = 5, retries: int = 1) -> SchemaRegistryClient:
    """Return the client for a registry; it connects when it is asked. Raises RegistryUnavailable for what is no URL.

    A worker asks with little patience, since nothing else goes on meanwhile, and asks again later.
    """
    try:
        return SchemaRegistryClient({"url": url, "timeout": seconds, "max.retries": retries})
    except ValueError as error:
        raise RegistryUnavailable(f"the schema registry's URL: {error}") from error


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
