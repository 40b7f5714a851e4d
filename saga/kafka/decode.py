"""`saga decode`: Avro values, which kcat cannot decode."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, BinaryIO, cast

from eventbus.serde.framing import Headers, NotFramed, SchemaId, framed
from eventbus.serde.registry import Registry, UnknownSchema, UnsupportedSchema
from eventbus.serde.strict import Strict

LENGTH = Struct(">i")
NULL = -1
"""The length that kcat 1.7 writes for a value that is null."""
MAX_BYTES = 64 * 1024 * 1024
"""A longer record means that the input is something else. (Far above any broker's message.max.bytes.)"""


class NotKcat(ValueError):
    """The input is not what `kcat -f '%R%s'` writes, or it ends in the middle of a record."""


class Undecodable(ValueError):
    """One value that is not a known event in Confluent's framing; the message says why."""


class Decoder:
    """Turns record values into plain dicts, by the schema they were written with.

    More lenient than the codec of the workers, so that everything written is shown: newer fields are included, and
    amounts and ids are not validated. A value that is not valid Avro of its schema is refused as there.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._schemas: dict[SchemaId, tuple[dict[str, Any], Strict]] = {}

    def decode(self, value: bytes | None, headers: Headers = ()) -> dict[str, Any]:
        """Return the fields. Raises Undecodable; RegistryUnavailable when the registry is needed but unavailable."""
        if not value:
            raise Undecodable("the value is null" if value is None else "the value is empty")
        try:
            schema_id, start = framed(value, headers)
        except NotFramed as error:
            raise Undecodable(str(error)) from error
        schema, strict = self._schema(schema_id)
        try:
            fields, end = strict.read(value, start)
        except Exception as error:
            raise Undecodable(f"not a {schema['name']}: {type(error).__name__}: {error}") from error
        if end != len(value):
            raise Undecodable(f"{len(value) - end} bytes follow the {schema['name']}")
        return cast("dict[str, Any]", fields)

    def _schema(self, schema_id: SchemaId) -> tuple[dict[str, Any], Strict]:
        if schema_id not in self._schemas:
            try:
                schema = self._registry.schema_of(schema_id)
            except (UnknownSchema, UnsupportedSchema) as error:
                raise Undecodable(str(error)) from error
            self._schemas[schema_id] = schema, Strict(schema)
        return self._schemas[schema_id]


def frames(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield the values that `kcat -f '%R%s'` wrote: a 4-byte big-endian length, then the value. Raises NotKcat."""
    position = 0
    while head := stream.read(LENGTH.size):
        length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        if not NULL <= length <= MAX_BYTES:
            raise NotKcat(f"at byte {position}: a record of {length} bytes? The input must come from kcat -f '%R%s'")
        value = stream.read(length) if length > 0 else b""
        if len(head) < LENGTH.size or len(value) < length:
            end = position + len(head) + len(value)
            raise NotKcat(f"the input ends at byte {end}, in the middle of the record that starts at byte {position}")
        yield None if length == NULL else value
        position += len(head) + len(value)
