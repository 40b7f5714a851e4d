"""Avro in Confluent framing, and the checks of incoming records.

Decoding Avro does not validate, so everything that may be wrong is checked here: size, frame, an allow-list of
schemas, that no bytes follow the event, ranges, and that the key is the event's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from fastavro import schemaless_writer

from eventbus.avro_schema import read_as, written_with
from eventbus.event import Event
from eventbus.serde.framing import FRAME, Headers, NotFramed, SchemaId, framed, framed_key
from eventbus.serde.plans import Planner
from eventbus.serde.registry import Registry, UnknownSchema, UnsupportedSchema, check_released, source_of
from eventbus.serde.strict import Strict
from eventbus.text.quoted import quoted

MAX_VALUE_BYTES = 1_048_576
"""Longer values are rejected without decoding (Kafka's default limit of a record batch)."""
_Reader = tuple[Strict, dict[str, Any] | None]
"""The check of the writer's schema, and the reader's schema if it differs."""


class PoisonRecord(ValueError):
    """A record that can never be handled: dead-lettered at once, never retried.

    `reason` is one lower-case word for counting (`trailing_bytes`); the message says what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Codec:
    """Encodes events as record values and decodes them. It knows only the events that it was given."""

    def __init__(self, registry: Registry, events: Iterable[type[Event]], planner: Planner | None = None) -> None:
        self._registry = registry
        self.source = source_of(registry)
        """The source of the ids that it writes."""
        self._events = {event.topic: event for event in events}
        self._frames = {e: FRAME.pack(0, i) for e, i in check_released(registry, self._events.values()).items()}
        self._readers: dict[tuple[type[Event], SchemaId], _Reader] = {}
        self._planner = planner or Planner()
        self.kind = self._planner.kind
        """How it reads and writes: COMPILED or INTERPRETED."""
        self._plans = {e.topic: plan for e, frame in self._frames.items() if (plan := self._planner.plan(e, frame))}
        self._writers = {self._events[topic]: plan.write for topic, plan in self._plans.items()}

    def id_of(self, event: type[Event]) -> int:
        """Return the schema id that an event is written with."""
        return int(FRAME.unpack(self._frames[event])[1])

    def encode(self, event: Event) -> bytes:
        """Return the framed value. Raises for values that the event or its schema do not allow: a bug of the caller."""
        write = self._writers.get(type(event))
        if write is not None and (value := write(event)) is not None:
            return value
        values = event.to_checked_avro()
        body = BytesIO()
        body.write(self._frames[type(event)])
        schemaless_writer(body, event.schema, values)
        return body.getvalue()

    def decode(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Event:
        """Return the event, or raise PoisonRecord; RegistryUnavailable if a registry is needed and unavailable."""
        plan = self._plans.get(topic)
        if plan is not None:
            event: Event | None = plan.read(key, value, headers)
            if event is not None:
                return event
        cls = self._events.get(topic)
        if cls is None:
            raise PoisonRecord("unknown_topic", f"no event is published on {topic}")
        judged = self._body(cls, value, headers)
        if judged.key.encode() == key:
            return judged
        raise _wrong_key(judged, key)

    def _body(self, cls: type[Event], value: bytes | None, headers: Headers) -> Event:
        if not value:
            reason = "null_value" if value is None else "empty_value"
            raise PoisonRecord(reason, f"a record on {cls.topic} must have a value")
        size = len(value)
        if size > MAX_VALUE_BYTES:
            raise PoisonRecord("too_large", f"{size} bytes, at most {MAX_VALUE_BYTES} are read")
        try:
            schema_id, start = framed(value, headers)
        except NotFramed as error:
            raise PoisonRecord("not_framed", str(error)) from error
        strict, reader = self._readers.get((cls, schema_id)) or self._reader(cls, schema_id)
        try:
            values, end = strict.read(value, start, reader)
        except Exception as error:
            raise PoisonRecord("malformed", f"not a {cls.topic}: {type(error).__name__}: {error}") from error
        if end != size:
            raise PoisonRecord("trailing_bytes", f"{size - end} bytes follow the event")
        try:
            return cls.from_avro(values)
        except ValueError as error:
            raise PoisonRecord("invalid_value", str(error)) from error
        except Exception as error:  # of a Rule, or of the event's __post_init__
            raise PoisonRecord("invalid_value", f"{type(error).__name__}: {error}") from error

    def _reader(self, cls: type[Event], schema_id: SchemaId) -> _Reader:
        try:
            writer = self._registry.schema_of(schema_id)
        except UnknownSchema as error:
            raise PoisonRecord("unknown_schema_id", str(error)) from error
        except UnsupportedSchema as error:
            raise PoisonRecord("unsupported_schema", str(error)) from error
        reader = read_as(writer, cls.schema)
        if reader is None:
            raise PoisonRecord(
                "wrong_schema", f"schema {schema_id} is {writer['name']}; {cls.topic} carries {cls.schema['name']}"
            )
        own = writer == written_with(json.loads(cls.schema_text))
        pair = self._readers[cls, schema_id] = Strict(writer), None if own else reader
        plan = self._plans.get(cls.topic)
        if plan is not None and isinstance(schema_id, int) and (version := self._planner.version(cls, writer, reader)):
            plan.add(FRAME.pack(0, schema_id), version)
        return pair


def _wrong_key(event: Event, key: bytes | None) -> PoisonRecord:
    if key is None:
        return PoisonRecord("key_missing", f"the key must be the {event.key_field}")
    if found := framed_key(key, event.key):
        return PoisonRecord(
            "key_framed",
            f"the key is {found}; it must be the {event.key_field} alone, as UTF-8: configure its producer to write"
            " keys with StringSerializer, or the events of one key are in several partitions",
        )
    return PoisonRecord("key_mismatch", f"the key is {quoted(key)}, the {event.key_field} is {event.key[:80]!r}")
