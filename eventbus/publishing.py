"""Prepares events for publishing: headers, id, and insertion into the outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from eventbus.database import Transaction
from eventbus.event import Event
from eventbus.event.overdue import Overdue
from eventbus.log import Headers, Output, new_tuple
from eventbus.serde.codec import MAX_VALUE_BYTES, Codec
from eventbus.store import progress, quarantine, schema_source

CONTENT_TYPE = b"application/avro"
DEADLINE = "ce_deadline"
"""The header of an event that a deadline causes: when that was over, in milliseconds since 1970 UTC."""


def caused(codec: Codec, source: bytes, event: Event, cause: str, trace: bytes | None = None) -> Output:
    """Return the output for an event with a cause: the address `topic/partition/offset` of the record it results from.

    The id is derived, not random: the same cause always gives the same event (CloudEvents 1.0, Kafka binding, binary
    mode).
    """
    topic = event.topic
    headers = _headers(f"{topic}<{cause}", topic, source, trace)
    headers.append(("ce_causationid", cause.encode()))
    made: Output = new_tuple(Output, (topic, event.key.encode(), codec.encode(event), headers))
    return made


def overdue(codec: Codec, source: bytes, event: Event, over: Overdue) -> Output:
    """Return the output for an event that a deadline causes; its id is `topic@due_ms/key`, the same forever."""
    headers = _headers(f"{event.topic}@{over.due_ms}/{over.key}", event.topic, source, None)
    headers.append((DEADLINE, str(over.due_ms).encode()))
    return Output(event.topic, event.key.encode(), codec.encode(event), headers)


def root_event(codec: Codec, source: bytes, event: Event, trace: bytes | None = None) -> Output:
    """Return the output for the first event of a saga; its id is `topic/key`."""
    headers = _headers(f"{event.topic}/{event.key}", event.topic, source, trace)
    return Output(event.topic, event.key.encode(), codec.encode(event), headers)


def publish(tx: Transaction, codec: Codec, source: str, events: Iterable[Event], trace: bytes | None = None) -> None:
    """Insert root events in this transaction, for the service's workers to publish.

    Raises Quarantined if the database was found to be older than the log, and OtherSchemaIds if the service writes with
    the schema ids of another source.
    """
    quarantine.check(tx)
    events = list(events)
    schema_source.agree(tx, codec, {type(event) for event in events}, source)
    for event in events:
        output = root_event(codec, source.encode(), event, trace)
        progress.add_root_event(tx, f"{event.topic}/{event.key}", output)


def root_event_check(tx: Transaction, codec: Codec, source: str) -> Callable[[Event], None]:
    """Return a function that raises ValueError for a root event that is larger than its topic accepts.

    By the limits that the service's workers saw last.
    """
    limits = progress.output_limits(tx)

    def check(event: Event) -> None:
        most = limits.get(event.topic, MAX_VALUE_BYTES)
        if most < MAX_VALUE_BYTES and (size := root_event(codec, source.encode(), event).size) > most:
            raise ValueError(
                f"the event {event.topic} would have {size} bytes, and its topic takes at most {most}: split it, or"
                " have max.message.bytes of the topic raised (a worker notices within a minute)"
            )

    return check


def _headers(event_id: str, event_type: str, source: bytes, trace: bytes | None) -> Headers:
    headers = [*_constant_headers(event_type, source), ("ce_id", event_id.encode())]
    if trace is not None:
        headers.append(("traceparent", trace))
    return headers


@cache
def _constant_headers(event_type: str, source: bytes) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", event_type.encode()),
        ("ce_source", source),
        ("content-type", CONTENT_TYPE),
    ]
