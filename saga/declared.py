"""Events of services that these tools do not import: read by the schemas in the services' declarations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventbus.avro_schema import written_with
from eventbus.cli import options as cli
from eventbus.event import Event
from eventbus.manifest import BadDeclaration, Declaration, DeclaredEvent
from eventbus.serde.framing import SchemaId
from eventbus.serde.registry import RELEASED, Registry, UnknownSchema, source_of
from saga.services import DECLARATIONS, declared_elsewhere
from schemas import EVENTS


def declared_events(declarations: Iterable[Declaration]) -> dict[str, DeclaredEvent]:
    """Return the events that these services publish, by topic, without the saga's own."""
    own = {event.topic for event in EVENTS}
    published = ((topic, each.events[topic]) for each in declarations for topic in each.publishes)
    return {topic: event for topic, event in published if topic not in own}


class DeclaredSchemas:
    """A registry that also knows the released schemas of declared services."""

    def __init__(self, registry: Registry, declarations: Iterable[Declaration]) -> None:
        """Raises BadDeclaration if two schemas have one id: nobody could tell which a record was written with."""
        self._registry = registry
        self._schemas: dict[int, dict[str, Any]] = {}
        for topic, event in declared_events(declarations).items():
            for number, schema in event.released.items():
                if self._known(int(number)) not in (None, written_with(schema)):
                    raise BadDeclaration(f"the id {number} of {topic} is another schema's, too: give it another one")
                self._schemas[int(number)] = written_with(schema)

    def _known(self, number: int) -> dict[str, Any] | None:
        try:
            return self._schemas.get(number) or self._registry.schema_of(number)
        except UnknownSchema:
            return None

    def id_of(self, event: type[Event]) -> int:
        """See Registry."""
        return self._registry.id_of(event)

    def schema_of(self, schema_id: SchemaId) -> dict[str, Any]:
        """See Registry."""
        try:
            return self._registry.schema_of(schema_id)
        except UnknownSchema as error:
            if isinstance(schema_id, int) and schema_id in self._schemas:
                return self._schemas[schema_id]
            raise UnknownSchema(f"{error} (see {DECLARATIONS} for services of other projects)") from error


def with_declared(registry: Registry) -> Registry:
    """Return all ids that are known here, if they are files' and not a registry's. Raises BadDeclaration."""
    return DeclaredSchemas(registry, declared_elsewhere()) if source_of(registry) == RELEASED else registry


def registry(url: str | None) -> Registry:
    """Return the running command's registry at this URL, or all ids that are known here. Raises BadDeclaration."""
    return with_declared(cli.registry(url, EVENTS))
