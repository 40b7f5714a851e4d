"""From records to rows: what the tracker stores of a record, and the violation for one that is not an event."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any, NamedTuple

from msgspec.json import Encoder

from eventbus import Codec, PoisonRecord
from eventbus.kafka.headers import headers_of
from eventbus.log import Partition
from eventbus.manifest import DeclaredEvent
from eventbus.publishing import DEADLINE
from eventbus.serde.framing import Headers, schema_id_of
from eventbus.text.json_form import json_form
from eventbus.text.quoted import quoted
from saga.kafka.decode import Decoder, Undecodable
from saga.kafka.unreadable import said
from saga.tracker.fold import TrackedEvent, TrackedViolation
from saga.tracker.model import OVERDUE

ENCODER = Encoder(enc_hook=json_form)
MOST_TEXT = 500
"""The number of characters of a key or an error that are stored of a record that is not an event."""


Row = TrackedEvent | TrackedViolation
"""What is stored of one record: an event, or the violation that it is not one."""


class Batch(NamedTuple):
    """The rows of one read."""

    events: list[TrackedEvent]
    undecodable: list[TrackedViolation]


class ForeignEvents:
    """Events of declared services, whose classes are not here: their fields as they were written, unchecked."""

    def __init__(self, events: Mapping[str, DeclaredEvent], decoder: Decoder) -> None:
        self._events, self._decoder = events, decoder
        self.topics = frozenset(events)

    def decode(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> tuple[str, Any]:
        """Return the key and a dict of the fields. Raises PoisonRecord."""
        try:
            fields = self._decoder.decode(value, headers)
        except Undecodable as error:
            raise PoisonRecord("malformed", str(error)) from error
        field = self._events[topic].key
        if str(fields.get(field)).encode() != key:
            raise PoisonRecord("key_mismatch", f"the key is {quoted(key)}, the {field} is {fields.get(field)!r:.80}")
        return str(fields[field]), fields


class TrackerIntake:
    """Turns the client's messages into rows. Records that the services refuse are not events for the tracker either."""

    def __init__(self, codec: Codec, foreign: ForeignEvents | None = None) -> None:
        self._codec, self._foreign = codec, foreign

    def batch(self, messages: list[Any]) -> Batch:
        """Return the rows for these messages. Raises RegistryUnavailable when a schema cannot be fetched now."""
        batch = Batch([], [])
        for message in messages:
            row = self.row(message)
            if isinstance(row, TrackedEvent):
                batch.events.append(row)
            else:
                batch.undecodable.append(row)
        return batch

    def row(self, message: Any) -> Row:
        """Return the row for one message. Raises RegistryUnavailable when its schema cannot be fetched now."""
        try:
            return self._event(message)
        except PoisonRecord as error:
            return _undecodable(message, error)

    def _event(self, message: Any) -> TrackedEvent:
        topic, value = message.topic(), message.value()
        headers = headers_of(message)
        if self._foreign is not None and topic in self._foreign.topics:
            key, content = self._foreign.decode(topic, message.key(), value, headers)
        else:
            event = self._codec.decode(topic, message.key(), value, headers)
            key, content = event.key, event
        service, cause = "", None
        for name, text in headers:
            if name == "ce_source" and not service:
                service = intern(_text(text))
            elif name == "ce_causationid" and cause is None:
                cause = _text(text)
            elif name == DEADLINE and cause is None:
                cause = f"{OVERDUE}/{_text(text)}"
        at = max(0, message.timestamp()[1])
        schema_id = schema_id_of(value, headers)
        fields = ENCODER.encode(content).decode()
        return TrackedEvent(
            *(key, topic, message.partition(), message.offset(), at, service),
            *(schema_id if isinstance(schema_id, int) else str(schema_id), cause, fields),
        )


def unreadable(at: Partition, batch: range) -> TrackedViolation:
    """Return the violation for a batch that cannot be decompressed; the time at which it was written is unknown."""
    return TrackedViolation("unreadable", "", at.topic, at.number, batch.start, 0, said(batch))


def _undecodable(message: Any, error: PoisonRecord) -> TrackedViolation:
    order_id = _text(message.key() or b"")[:MOST_TEXT]
    at = max(0, message.timestamp()[1])
    detail = str(error)[:MOST_TEXT]
    return TrackedViolation("undecodable", order_id, message.topic(), message.partition(), message.offset(), at, detail)


def _text(content: bytes | str | None) -> str:
    return content.decode(errors="replace") if isinstance(content, bytes) else content or ""
