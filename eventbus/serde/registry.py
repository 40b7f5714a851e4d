"""Schema ids: the number of each released schema, from a file or from a registry."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from eventbus.avro_schema import SchemaMismatch, written_with
from eventbus.event import Event
from eventbus.serde.framing import VALUE_HEADER, SchemaId
from eventbus.serde.registry_config import RegistryConfig

REGISTRY, RELEASED = "registry", "released"
"""The source of the ids: a schema registry, or the files that ship with the code."""


class UnknownSchema(LookupError):
    """No released schema has this id: the record is poison, or the schema was never registered."""


class UnsupportedSchema(LookupError):
    """The schema exists, or may exist, but cannot be read here: the message says what it is."""


class RegistryUnavailable(ConnectionError):
    """The registry did not answer. The record may be valid: retry later."""


class RegistryAuthenticationFailed(RegistryUnavailable):
    """The registry rejected the user, password or token. A starting worker exits, a running one waits and retries."""


class Registry(Protocol):
    """What the codec needs of a registry; the codec caches the answers."""

    def id_of(self, event: type[Event]) -> int:
        """Return the id under which this event's schema was released. Raises UnknownSchema or RegistryUnavailable."""

    def schema_of(self, schema_id: SchemaId) -> dict[str, Any]:
        """Return the parsed writer's schema. Raises UnknownSchema, UnsupportedSchema, RegistryUnavailable."""


def source_of(registry: Registry) -> str:
    """Return REGISTRY, or RELEASED for the files that ship with the code."""
    return RELEASED if isinstance(registry, FileRegistry) else REGISTRY


class FileRegistry:
    """Ids from JSON files beside the schemas: `{"1": "released/order.created.v1.avsc", ...}`."""

    def __init__(self, *paths: Path) -> None:
        self._schemas: dict[int, dict[str, Any]] = {}
        for path in paths:
            for number, name in json.loads(path.read_text(encoding="utf-8")).items():
                if int(number) in self._schemas:
                    raise SchemaMismatch(f"{path}: the id {number} is also in another file: give the schema another id")
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

    def schema_of(self, schema_id: SchemaId) -> dict[str, Any]:
        """Return the frozen schema with this id. Raises UnsupportedSchema for a GUID."""
        if isinstance(schema_id, UUID):
            raise UnsupportedSchema(
                f"the header {VALUE_HEADER} names the schema by the GUID {schema_id}, which only a schema registry can"
                " look up: set --schema-registry-url"
            )
        if schema_id not in self._schemas:
            raise UnknownSchema(f"no released schema has the id {schema_id}")
        return written_with(self._schemas[schema_id])


def check_released(registry: Registry, events: Iterable[type[Event]]) -> dict[type[Event], int]:
    """Return the ids of all these events; raises UnknownSchema for the first that was never released."""
    return {event: registry.id_of(event) for event in events}


def registry_at(url: str | None, events: Iterable[type[Event]], config: RegistryConfig | None = None) -> Registry:
    """Return the registry at `url`, or the ids that ship beside these events' schemas. Raises BadRegistryConfig."""
    if not url:
        return FileRegistry(*sorted({event.ids for event in events}))
    from eventbus.serde.confluent_registry import ConfluentRegistry  # noqa: PLC0415 - 40 % of a worker's start (measured)

    return ConfluentRegistry(url, config or RegistryConfig())
