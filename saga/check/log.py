"""Reads the topics of all events and keeps the facts of each event that the laws need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from sys import intern
from typing import Any

from eventbus import Codec, Event, PoisonRecord
from eventbus.kafka.headers import headers_of
from eventbus.publishing import DEADLINE
from saga.check.facts import Address, EventFact, LogFacts, Money, Oldest, PlacedOrder, made_id, shared
from saga.check.rules import CLOCK_SKEW_MS
from saga.kafka.event_topics import EventTopics
from saga.kafka.records import Ends, TopicAndPartition, records
from saga.kafka.recount import Count, confirm
from schemas import OrderCreated, PaymentCharged, PaymentRefunded

Watch = Callable[[Iterator[Any], int], Iterator[Any]]
"""Yields the given messages, of which there will be at most the given number, and shows the progress."""


def read_events(  # noqa: PLR0913 - what, with what, from where to where
    topics: EventTopics,
    config: Mapping[str, Any],
    codec: Codec,
    *,
    before: Ends,
    until: Ends,
    watch: Watch = lambda messages, _most: messages,
) -> LogFacts:
    """Read all events below `until`; those below `before` are early. `config` is the client's base configuration.

    The log is read a second time and counted, see `recount`. Raises ReadingsDiffer, LogMoved, Unreachable, and
    RegistryUnavailable when a schema must be fetched and cannot be.
    """
    starts = topics.starts()
    histories: dict[str, list[EventFact]] = {}
    undecodable: list[str] = []
    unreadable: list[str] = []

    def pass_by(tp: TopicAndPartition, batch: range) -> None:
        unreadable.append(f"{tp[0]}/{tp[1]}/{batch.start}")

    most = sum(until.values()) - sum(starts.values())
    truncated = {tp: start for tp, start in starts.items() if start > 0}
    oldest: dict[TopicAndPartition, Oldest] = {}
    latest = time.time() * 1000 + CLOCK_SKEW_MS
    count = Count()
    for message in watch(records(config, starts, until, pass_by), most):
        tp = (message.topic(), message.partition())
        count.add(tp, message.offset())
        if tp in truncated and tp not in oldest and 0 < message.timestamp()[1] <= latest:
            oldest[tp] = Oldest(message.timestamp()[1], _text(message.key()))
        try:
            event = codec.decode(message.topic(), message.key(), message.value(), headers_of(message))
        except PoisonRecord:
            undecodable.append(f"{tp[0]}/{tp[1]}/{message.offset()}")
            continue
        history = histories.setdefault(intern(event.key), [])
        history.append(fact_of(message, event, before))
    topics.check_same()
    confirm(config, starts, until, count, whole=True)
    return LogFacts(histories, topics.partitions(), truncated, oldest, undecodable, sorted(unreadable))


def fact_of(message: Any, event: Event, before: Ends) -> EventFact:
    """Return the facts that the laws need of an event and of its message."""
    headers = dict(reversed(headers_of(message)))  # of headers with one name the first counts
    cause = _address(headers.get("ce_causationid"))
    event_id = _text(headers.get("ce_id"))
    deadline = _text(headers[DEADLINE]) if cause is None and DEADLINE in headers else None
    offset = message.offset()
    return EventFact(
        topic=event.topic,
        partition=message.partition(),
        offset=offset,
        order_id=intern(event.key),
        cause=cause,
        event_id=None if event_id == made_id(event.topic, event.key, cause, deadline) else event_id,
        early=offset < before[event.topic, message.partition()],
        timestamp_ms=max(0, message.timestamp()[1]),
        digest=hash(message.value()),
        body=_body(event),
        deadline=deadline,
    )


def _address(cause: bytes | str | None) -> Address | None:
    """Return the address that a cause names; a malformed one is kept whole, as a topic name that cannot exist."""
    if cause is None:
        return None
    text = _text(cause)
    parts = text.split("/")
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):  # noqa: PLR2004
        return Address(text, -1, -1)
    return Address(shared(parts[0]), int(parts[1]), int(parts[2]))


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _body(event: Event) -> PlacedOrder | Money | None:
    if isinstance(event, OrderCreated):
        items = tuple((item.sku, item.quantity) for item in event.items)
        return PlacedOrder(shared(event.customer_id), event.total, shared(event.currency), shared(items))
    if isinstance(event, (PaymentCharged, PaymentRefunded)):
        return Money(event.payment_id, event.amount, shared(event.currency))
    return None
