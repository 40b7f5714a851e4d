"""Avro in Confluent framing, and the guards on what comes in.

The frame is a zero byte, the schema id as 4 bytes big-endian, then the Avro body (Confluent wire format, version 0).
Decoding Avro is not validation, so everything that may be wrong is looked at here: size, frame, an allow-list of
schemas, that the body is used up, ranges, and that the key is the event's.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from struct import Struct
from typing import Any

from fastavro import schemaless_writer

from eventbus.compiled import Compiled, compiled
from eventbus.event import Event
from eventbus.registry import Registry, UnknownSchema, check_released
from eventbus.strict import MAX_VALUES, Strict

FRAME = Struct(">BI")
MAX_VALUE_BYTES = 1_048_576
"""Longer values are refused unread (Kafka's own default for a record batch)."""
_Reader = tuple[Strict, dict[str, Any] | None]
"""For the schema it was written with, and the one it is read as if that is another one."""


class PoisonRecord(ValueError):
    """A record that can never be handled: dead-lettered at once, never retried.

    `reason` is one lower-case word for counting (`trailing_bytes`); the message says what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Codec:
    """Turns events into record values and back. Only the events it was given exist for it."""

    def __init__(self, registry: Registry, events: Iterable[type[Event]]) -> None:
        self._registry = registry
        self._events = {event.topic: event for event in events}
        self._frames = {e: FRAME.pack(0, i) for e, i in check_released(registry, self._events.values()).items()}
        self._readers: dict[tuple[type[Event], bytes], _Reader] = {}
        self._compiled: dict[type[Event], Compiled] = {e: made for e in self._frames if (made := compiled(e))}

    def encode(self, event: Event) -> bytes:
        """Return the framed value. Raises for values that the schema does not take: a bug of the caller."""
        frame = self._frames[type(event)]
        made = self._compiled.get(type(event))
        if made is not None:
            try:
                return made.write(frame, event)
            except Exception:  # noqa: BLE001, S110 - whatever it was, fastavro judges it
                pass
        body = BytesIO()
        body.write(frame)
        schemaless_writer(body, event.schema, event.to_avro())
        return body.getvalue()

    def decode(self, topic: str, key: bytes | None, value: bytes | None) -> Event:
        """Return the event, or raise PoisonRecord; RegistryUnavailable when the registry must be asked and is away."""
        cls = self._events.get(topic)
        if cls is None:
            raise PoisonRecord("unknown_topic", f"no event is published on {topic}")
        event = self._quickly(cls, value) or self._body(cls, value)
        if event.key.encode() == key:
            return event
        if key is None:
            raise PoisonRecord("key_missing", f"the key must be the {cls.key_field}")
        raise PoisonRecord("key_mismatch", f"the key is {key[:80]!r}, the {cls.key_field} is {event.key[:80]!r}")

    def _quickly(self, cls: type[Event], value: bytes | None) -> Event | None:
        """Return the event of a record that is plain in every way; None about all others, whatever they are."""
        made = self._compiled.get(cls)
        if made is None or value is None or len(value) > MAX_VALUES or not value.startswith(self._frames[cls]):
            return None
        try:
            return made.read(value)
        except Exception:  # noqa: BLE001 - whatever it was, it is judged as all others are
            return None

    def _body(self, cls: type[Event], value: bytes | None) -> Event:
        if not value:
            reason = "null_value" if value is None else "empty_value"
            raise PoisonRecord(reason, f"a record on {cls.topic} must have a value")
        size = len(value)
        if size > MAX_VALUE_BYTES:
            raise PoisonRecord("too_large", f"{size} bytes, at most {MAX_VALUE_BYTES} are read")
        frame = value[: FRAME.size]
        strict, reader = self._readers.get((cls, frame)) or self._reader(cls, frame)
        try:
            values, end = strict.read(value, FRAME.size, reader)
        except Exception as error:
            raise PoisonRecord("malformed", f"not a {cls.topic}: {type(error).__name__}: {error}") from error
        if end != size:
            raise PoisonRecord("trailing_bytes", f"{size - end} bytes follow the event")
        try:
            return cls.from_avro(values)
        except (ValueError, TypeError, OverflowError, UnicodeError) as error:
            raise PoisonRecord("invalid_value", str(error)) from error

    def _reader(self, cls: type[Event], frame: bytes) -> _Reader:
        if len(frame) < FRAME.size or frame[0] != 0:
            raise PoisonRecord("not_framed", f"not Confluent-framed Avro: it starts with {frame!r}")
        pair = self._readers[cls, frame] = self._resolve(cls, FRAME.unpack(frame)[1])
        return pair

    def _resolve(self, cls: type[Event], schema_id: int) -> _Reader:
        try:
            writer = self._registry.schema_of(schema_id)
        except UnknownSchema as error:
            raise PoisonRecord("unknown_schema_id", str(error)) from error
        if writer["name"] != cls.schema["name"]:
            raise PoisonRecord(
                "wrong_schema", f"schema {schema_id} is {writer['name']}; {cls.topic} carries {cls.schema['name']}"
            )
        return Strict(writer), None if writer == cls.schema else cls.schema
