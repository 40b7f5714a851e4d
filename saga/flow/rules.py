"""The rules about publishers, consumers and contracts; and the list of all rules that need only declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from saga.evolution.compatibility import breaks
from saga.flow import ways
from saga.flow.finding import Finding, Rule, at_handler, at_publisher, at_service
from saga.flow.model import Flow, Handler


def consumed_events_are_published(flow: Flow) -> Iterator[Finding]:
    """Every event that is consumed, awaited or undone is published by some service; otherwise it never arrives."""
    for handler in flow.handlers:
        does = handler.does
        for event in dict.fromkeys((does.event, *does.awaits, *does.compensates)):
            if event not in flow.events:
                yield at_handler(handler, event, "no service publishes it")


def published_events_are_consumed(flow: Flow) -> Iterator[Finding]:
    """Every published event is consumed by some service, unless it is final or tells that a step was undone."""
    for event in flow.events:
        if not flow.consumers(event) and event not in flow.endings | flow.compensations:
            yield at_publisher(flow, event, "no service consumes it, and it neither completes nor aborts the saga")


def endings_are_published(flow: Flow) -> Iterator[Finding]:
    """A service publishes every event that it declares to be final."""
    for service in flow.services:
        for event in (*service.completes, *service.aborts):
            if event not in service.publishes:
                yield Finding(event, "", service.file, f"{service.service} declares it final, but never publishes it")


def events_are_their_services_own(flow: Flow) -> Iterator[Finding]:
    """A service publishes events that are named after it, or that it declares to own."""
    for service in flow.services:
        prefix = service.service.removesuffix("-service") + "."
        told = f"{service.service} does not own it: its events must begin with {prefix} or be listed in its `owns`"
        for event in service.publishes:
            if not event.startswith(prefix) and event not in service.owns:
                yield at_service(service, event, told)


def events_have_one_publisher(flow: Flow) -> Iterator[Finding]:
    """An event is published by one service."""
    for event in flow.events:
        publishers = flow.publishers(event)
        if len(publishers) > 1:
            for service in (service for service in flow.services if event in service.publishes):
                yield at_service(service, event, f"{' and '.join(publishers)} publish it")


def schemas_have_their_key(flow: Flow) -> Iterator[Finding]:
    """The key field of an event is a string field of its schema, and all services declare the same one."""
    keys: dict[str, str] = {}
    for service in flow.services:
        for event, declared in service.events.items():
            fields = declared.schema.get("fields", ())
            if not any((field.get("name"), field.get("type")) == (declared.key, "string") for field in fields):
                told = f"its key is the field {declared.key!r}, which is not a string field of its schema"
                yield Finding(event, "", service.file, f"{told} as {service.service} declares it")
            elif keys.setdefault(event, declared.key) != declared.key:
                told = f"{service.service} declares the key field {declared.key!r}, others {keys[event]!r}"
                yield Finding(event, "", service.file, told)


def consumers_can_read_what_is_written(flow: Flow) -> Iterator[Finding]:
    """The events that a service publishes can be read with the schema of each of its consumers."""
    for handler in flow.handlers:
        event = handler.does.event
        known = next(service for service in flow.services if service.service == handler.service).events.get(event)
        if event in flow.events and known is not None:
            for why in _unreadable(flow.events[event].schema, known.schema):
                yield at_handler(handler, event, f"it is written with an incompatible schema: {why}")


RULES: tuple[Rule, ...] = (
    consumed_events_are_published,
    published_events_are_consumed,
    endings_are_published,
    ways.every_way_ends,
    ways.endings_do_not_contradict,
    ways.steps_before_a_failure_are_compensated,
    ways.compensations_are_triggered,
    ways.waits_end,
    ways.silence_ends,
    ways.cycles_are_declared,
    events_are_their_services_own,
    events_have_one_publisher,
    schemas_have_their_key,
    consumers_can_read_what_is_written,
)
"""The rules that need only declarations."""


def joined_topics_have_the_same_partitions(partitions: Mapping[str, int]) -> Rule:
    """Return the rule that the topics which one service reads have the same number of partitions.

    One order is then in the same partition number of each of them, and one worker has all of it.
    """

    def rule(flow: Flow) -> Iterator[Finding]:
        for service in flow.services:
            counts = {event: partitions[event] for event in service.consumes if event in partitions}
            for does in service.reactions:
                first = next(iter(counts), does.event)
                if counts.get(does.event) != counts.get(first):
                    told = f"it has {counts[does.event]} partitions, {first} has {counts[first]}"
                    yield at_handler(
                        Handler(service.service, does), does.event, f"{told}; {service.service} joins them"
                    )

    rule.__name__ = joined_topics_have_the_same_partitions.__name__
    return rule


def _unreadable(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> list[str]:
    """Return why a reader may not understand a writer; schemas from files may even be invalid."""
    try:
        return [f"{broken.at}: {broken.detail}".removeprefix(": ") for broken in breaks(writer, reader)]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        return [f"one of the two is not a valid Avro schema ({type(error).__name__}: {error})"]
