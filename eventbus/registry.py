"""Schema ids: which number stands for which released schema, from a file or from a registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from httpx2 import HTTPError

from eventbus.event import Event, SchemaMismatch, parse

NOT_FOUND = 404


class UnknownSchema(LookupError):
    """No released schema has this id: the record is poison, or the schema was never registered."""


class RegistryUnavailable(ConnectionError):
    """The registry did not answer. Nothing is wrong with the record: ask again later."""


class Registry(Protocol):
    """What the codec asks for; answers are cached by the codec."""

    def id_of(self, event: type[Event]) -> int:
        """Return the id under which this event's schema was released. Raises UnknownSchema."""

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """Return the parsed writer's schema. Raises UnknownSchema or RegistryUnavailable."""


class FileRegistry:
    """Ids from JSON files beside the schemas: `{"1": "released/order.created.v1.avsc", ...}`."""

    def __init__(self, *paths: Path) -> None:
        self._schemas: dict[int, dict[str, Any]] = {}
        for path in paths:
            for number, name in json.loads(path.read_text(encoding="utf-8")).items():
                if int(number) in self._schemas:
                    raise SchemaMismatch(f"{path}: the id {number} is taken by another file's schema")
                self._schemas[int(number)] = json.loads((path.parent / name).read_text(encoding="utf-8"))

    def id_of(self, event: type[Event]) -> int:
        """Return the newest id whose frozen schema is the event's own."""
        own = json.loads(event.schema_text)
        ids = [schema_id for schema_id, schema in self._schemas.items() if schema == own]
        if not ids:
            raise UnknownSchema(
                f"the schema of {event.topic} was never released: add it to schemas/released and ids.json"
            )
        return max(ids)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """Return the frozen schema with this id."""
        try:
            return parse(self._schemas[schema_id])
        except KeyError:
            raise UnknownSchema(f"no released schema has the id {schema_id}") from None


class ConfluentRegistry:
    """Ids from a Confluent-compatible registry, subjects by TopicNameStrategy (`<topic>-value`). Never registers."""

    def __init__(self, url: str) -> None:
        self._client = registry_client(url)

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
        try:
            return parse(json.loads(text or "null"))
        except (SchemaMismatch, ValueError, TypeError, KeyError) as error:
            raise UnknownSchema(f"schema id {schema_id} is not a usable Avro record: {error}") from error


def registry_client(url: str) -> SchemaRegistryClient:
    """Return the client for a registry; it connects when it is asked. Raises RegistryUnavailable for what is no URL."""
    try:
        return SchemaRegistryClient({"url": url, "timeout": 5, "max.retries": 1})
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


def check_released(registry: Registry, events: Iterable[type[Event]]) -> dict[type[Event], int]:
    """Return the ids of all these events; raises UnknownSchema for the first that was never released."""
    return {event: registry.id_of(event) for event in events}


def registry_at(url: str | None, events: Iterable[type[Event]]) -> Registry:
    """Return the registry at `url`, or the ids that ship beside these events' schemas."""
    return ConfluentRegistry(url) if url else FileRegistry(*sorted({event.ids for event in events}))
