"""What must be so of a choreography before it runs. A rule's name is its function's, its docstring what must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError
from typing import Any, NamedTuple

from choreography.compatibility import breaks
from choreography.flow.model import Flow, Handler
from choreography.flow.progress import runs
from eventbus.declaration import Declaration


class Finding(NamedTuple):
    """One thing that is wrong: about which event, in which handler (empty where it is no handler's), in which file."""

    event: str
    handler: str
    file: str
    detail: str


Rule = Callable[[Flow], Iterable[Finding]]


def heard_events_are_published(flow: Flow) -> Iterator[Finding]:
    """What is heard, awaited or undone is published by somebody; else it is waited for in vain."""
    for handler in flow.handlers:
        does = handler.does
        for event in dict.fromkeys((does.event, *does.awaits, *does.compensates)):
            if event not in flow.events:
                yield _of(handler, event, "nobody publishes it")


def published_events_are_heard(flow: Flow) -> Iterator[Finding]:
    """What is published is heard by somebody, unless it is final."""
    for event in flow.events:
        if not flow.hearers(event) and event not in flow.endings:
            yield _said(flow, event, "nobody hears it, and it neither completes nor aborts the saga")


def endings_are_published(flow: Flow) -> Iterator[Finding]:
    """What a service declares to be final it publishes."""
    for service in flow.services:
        for event in (*service.completes, *service.aborts):
            if event not in service.publishes:
                yield Finding(event, "", service.file, f"{service.service} declares it to be final, but never says it")


def every_way_ends(flow: Flow) -> Iterator[Finding]:
    """However the saga goes, it comes to an event that is final."""
    if not flow.initiates:
        yield Finding("", "", "", "no service initiates a saga, so nothing ever happens")
    stuck = {run[-1]: run for run in _all_runs(flow) if flow.endings.isdisjoint(run)}
    for event, run in stuck.items():
        yield _said(flow, event, f"nothing follows it, and the saga has not ended: {_shown(run)}")


def endings_do_not_contradict(flow: Flow) -> Iterator[Finding]:
    """No saga is both completed and aborted."""
    for run in _all_runs(flow):
        endings = [event for event in run if event in flow.endings]
        if not (flow.completes.isdisjoint(run) or flow.aborts.isdisjoint(run)):
            yield _said(flow, endings[-1], f"it can happen besides {endings[0]}: {_shown(run)}")
            return


def steps_before_a_failure_are_compensated(flow: Flow) -> Iterator[Finding]:
    """What was done before the saga is aborted is undone by who did it, unless it changed nothing.

    A step is an event after which the saga can still end well; one after which it cannot is itself the refusal.
    """
    every_run = _all_runs(flow)
    hopeful = {event for run in every_run if flow.aborts.isdisjoint(run) for event in run}
    bad: dict[str, tuple[str, ...]] = {}
    for run in every_run:
        if not flow.aborts.isdisjoint(run):
            bad.update({event: run for event in run if event in hopeful and not _undone(flow, event, run)})
    for event, run in bad.items():
        yield _said(flow, event, f"the saga can be aborted after it, and nothing undoes it then: {_shown(run)}")


def compensations_are_triggered(flow: Flow) -> Iterator[Finding]:
    """A compensation undoes what its own service did, and what triggers it can happen."""
    possible = {event for run in _all_runs(flow) for event in run}
    for handler in flow.handlers:
        does = handler.does
        for event in does.compensates:
            if handler.service not in flow.publishers(event):
                yield _of(handler, event, f"it is to be undone, but {handler.service} does not publish it")
        if does.compensates and does.event not in possible:
            undone = " and ".join(does.compensates)
            yield _of(handler, does.event, f"it can never happen, so {undone} is never undone")


def waits_end(flow: Flow) -> Iterator[Finding]:
    """Who waits for an event that will not come hears of that: an ending, or what happened in its place."""
    for handler in flow.handlers:
        for run in _all_runs(flow):
            missing = [event for event in handler.does.awaits if event not in run]
            if handler.does.event in run and missing and not _released(flow, handler, missing, run):
                yield _of(handler, missing[0], f"it is waited for without end: {_shown(run)}")
                break


def cycles_are_declared(flow: Flow) -> Iterator[Finding]:
    """Events do not cause each other in a circle, unless a handler declares that it repeats."""
    try:
        flow.effects_first()
    except CycleError as error:
        cycle = error.args[1][::-1]
        closing = [h for h in flow.handlers if (h.does.event in cycle and set(h.does.publishes) & set(cycle))]
        event = cycle[0]
        said_by = next((h for h in closing if event in h.does.publishes), closing[0])
        yield _of(said_by, event, f"it causes itself: {_shown(cycle)}")


def events_are_their_services_own(flow: Flow) -> Iterator[Finding]:
    """A service publishes events that are named after it, or that it declares to own."""
    for service in flow.services:
        prefix = service.service.removesuffix("-service") + "."
        told = f"{service.service} does not own it: its events begin with {prefix} or stand in its `owns`"
        for event in service.publishes:
            if not event.startswith(prefix) and event not in service.owns:
                yield _said_by(service, event, told)


def events_have_one_publisher(flow: Flow) -> Iterator[Finding]:
    """An event is published by one service."""
    for event in flow.events:
        publishers = flow.publishers(event)
        if len(publishers) > 1:
            for service in (service for service in flow.services if event in service.publishes):
                yield _said_by(service, event, f"{' and '.join(publishers)} publish it")


def schemas_have_their_key(flow: Flow) -> Iterator[Finding]:
    """The field that keys an event is a string field of its schema, and all who know the event agree on it."""
    keys: dict[str, str] = {}
    for service in flow.services:
        for event, declared in service.events.items():
            fields = declared.schema.get("fields", ())
            if not any((field.get("name"), field.get("type")) == (declared.key, "string") for field in fields):
                told = f"its key is the field {declared.key!r}, which is no string field of its schema"
                yield Finding(event, "", service.file, f"{told} as {service.service} knows it")
            elif keys.setdefault(event, declared.key) != declared.key:
                told = f"{service.service} takes {declared.key!r} for its key, others {keys[event]!r}"
                yield Finding(event, "", service.file, told)


def hearers_can_read_what_is_written(flow: Flow) -> Iterator[Finding]:
    """What a service publishes can be read with the schema that each of its hearers knows."""
    for handler in flow.handlers:
        event = handler.does.event
        known = next(service for service in flow.services if service.service == handler.service).events.get(event)
        if event in flow.events and known is not None:
            for why in _unreadable(flow.events[event].schema, known.schema):
                yield _of(handler, event, f"it is written with another schema: {why}")


RULES: tuple[Rule, ...] = (
    heard_events_are_published,
    published_events_are_heard,
    endings_are_published,
    every_way_ends,
    endings_do_not_contradict,
    steps_before_a_failure_are_compensated,
    compensations_are_triggered,
    waits_end,
    cycles_are_declared,
    events_are_their_services_own,
    events_have_one_publisher,
    schemas_have_their_key,
    hearers_can_read_what_is_written,
)
"""Those about what is declared."""


def joined_topics_have_the_same_partitions(partitions: Mapping[str, int]) -> Rule:
    """Return the rule that the topics which one service reads have the same number of partitions.

    One order then has the same number on each of them, and one worker has all of it.
    """

    def rule(flow: Flow) -> Iterator[Finding]:
        for service in flow.services:
            counts = {event: partitions[event] for event in service.hears if event in partitions}
            for does in service.reactions:
                first = next(iter(counts), does.event)
                if counts.get(does.event) != counts.get(first):
                    told = f"it has {counts[does.event]} partitions, {first} has {counts[first]}"
                    yield _of(Handler(service.service, does), does.event, f"{told}; {service.service} joins them")

    rule.__name__ = joined_topics_have_the_same_partitions.__name__
    return rule


def _unreadable(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> list[str]:
    """Return why a reader may not understand a writer; schemas from outside need not even be sound."""
    try:
        return [f"{broken.at}: {broken.detail}".removeprefix(": ") for broken in breaks(writer, reader)]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        return [f"one of the two is no sound Avro ({type(error).__name__}: {error})"]


@lru_cache(maxsize=1)
def _all_runs(flow: Flow) -> list[tuple[str, ...]]:
    return [run for start in flow.initiates for run in runs(flow, start)]


def _undone(flow: Flow, event: str, run: tuple[str, ...]) -> bool:
    """Return whether an event of an aborted run needs no compensation in it, or has one."""
    done_by = [handler for handler in flow.handlers if event in handler.does.publishes and handler.does.event in run]
    harmless = bool(done_by) and all(handler.does.read_only for handler in done_by)
    after_the_end = run.index(event) > min(run.index(end) for end in run if end in flow.aborts)
    own = flow.publishers(event)
    compensated = any(h.service in own and h.does.event in run for h in flow.compensates.get(event, ()))
    return event in flow.undoings or event in flow.endings or harmless or after_the_end or compensated


def _released(flow: Flow, handler: Handler, missing: list[str], run: tuple[str, ...]) -> bool:
    instead = {
        alternative
        for other in flow.handlers
        if set(missing) & set(flow.alternatives(other))
        for alternative in flow.alternatives(other)
    }
    heard = {other.does.event for other in flow.handlers if other.service == handler.service and other != handler}
    return bool(heard & (flow.endings | instead) & set(run))


def _said(flow: Flow, event: str, detail: str) -> Finding:
    """Return a finding at who publishes the event."""
    publisher = next((service for service in flow.services if event in service.publishes), None)
    return _said_by(publisher, event, detail) if publisher else Finding(event, "", "", detail)


def _said_by(service: Declaration, event: str, detail: str) -> Finding:
    does = next((does for does in service.reactions if event in does.publishes), None)
    return _of(Handler(service.service, does), event, detail) if does else Finding(event, "", service.file, detail)


def _of(handler: Handler, event: str, detail: str) -> Finding:
    return Finding(event, handler.name, handler.does.file, detail)


def _shown(run: Iterable[str]) -> str:
    return " > ".join(run)
