"""What a service declares, as a document: read from its code, and written as JSON for tools that read all services."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import getdoc
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert, to_builtins
from msgspec.structs import replace

from eventbus.avro_schema import parse
from eventbus.event import Event
from eventbus.log import PROGRESS, RESOLUTIONS
from eventbus.service import Deadline, Reaction, Service

FORMAT = 1
"""The version of the document; a reader refuses others."""
INSTALLED = "saga.services"
"""The entry point group in which a distribution lists its services."""
UNRELEASED = "unreleased"
"""The version of a service that is not part of an installed distribution."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""The topic names that Kafka accepts."""


class BadDeclaration(ValueError):
    """The document is not a valid declaration; the message says where and why."""


class DeclaredReaction(Struct, frozen=True, forbid_unknown_fields=True):
    """One handler: see `eventbus.reacts_to`. Events are named by their topics, `file` is path:line."""

    event: str
    handler: str
    purpose: str
    file: str
    publishes: tuple[str, ...] = ()
    compensates: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    remote: str | None = None
    read_only: bool = False
    repeats: bool = False


class DeclaredDeadline(Struct, frozen=True, forbid_unknown_fields=True):
    """A deadline and its handler: see `eventbus.when_due`. `name` is table.column, `file` is path:line."""

    name: str
    handler: str
    purpose: str
    file: str
    publishes: tuple[str, ...] = ()
    compensates: tuple[str, ...] = ()


class DeclaredEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """The contract of an event: the field that keys it, and its Avro schema, which is in `file`."""

    key: str
    purpose: str
    file: str
    schema: dict[str, Any]
    summary: str = ""
    """See `eventbus.Event.summary`."""
    released: dict[str, dict[str, Any]] = {}
    """The schemas of its released versions by the ids that records name; in its publisher's declaration only."""


class Declaration(Struct, frozen=True, forbid_unknown_fields=True):
    """One service's part in the choreography: see `eventbus.Service`. Events are named by their topics."""

    service: str
    version: str
    purpose: str
    file: str
    initiates: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()
    completes: tuple[str, ...] = ()
    aborts: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    reactions: tuple[DeclaredReaction, ...] = ()
    events: dict[str, DeclaredEvent] = {}
    dead_letters: str = ""
    deadlines: tuple[DeclaredDeadline, ...] = ()

    @property
    def publishes(self) -> tuple[str, ...]:
        """Every event it may publish, in the order of declaration."""
        caused = (event for reaction in self.reactions for event in reaction.publishes)
        overdue = (event for deadline in self.deadlines for event in deadline.publishes)
        return tuple(dict.fromkeys((*self.initiates, *caused, *overdue, *self.on_request)))

    @property
    def consumes(self) -> tuple[str, ...]:
        """Every event it reacts to, in the order of its handlers."""
        return tuple(reaction.event for reaction in self.reactions)

    @property
    def resolutions(self) -> str:
        """The topic of operators' decisions about its dead letters."""
        return f"{self.service}{RESOLUTIONS}"

    @property
    def progress(self) -> str:
        """The topic of how far it has published."""
        return f"{self.service}{PROGRESS}"

    def to_json(self) -> str:
        """Return the document."""
        return json.dumps({"format": FORMAT, **to_builtins(self)}, ensure_ascii=False, indent=2) + "\n"


def declare(service: type[Service[Any]]) -> Declaration:
    """Read what a service declares."""
    events = {event.topic: _event(event) for event in service.events()}
    for event in service.publishes():
        events[event.topic] = replace(events[event.topic], released=_released(event))
    return Declaration(
        service.name,
        _version(service),
        (getdoc(service) or "").partition("\n")[0],
        _file_of(service.__module__, getattr(sys.modules[service.__module__], "__file__", None) or ""),
        _topics(service.initiates),
        _topics(service.on_request),
        _topics(service.completes),
        _topics(service.aborts),
        _topics(service.owns),
        tuple(map(_declared, service.reactions.values())),
        events,
        service.dead_letters(),
        tuple(map(_declared_deadline, service.deadlines.values())),
    )


def read_declaration(document: str | bytes, where: str) -> Declaration:
    """Read a document. Raises BadDeclaration, which names `where` it came from and the key that is wrong."""
    try:
        content = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise BadDeclaration(f"{where}: it is not JSON: {error}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise BadDeclaration(f"{where}: it is not a declaration; write one with: <service> declaration")
    if content.pop("format") != FORMAT:
        raise BadDeclaration(f"{where}: its format is not {FORMAT}; write the declaration again with this version")
    try:
        for text in _texts(content):
            if not text.isprintable():
                raise BadDeclaration(f"{where}: {text!r:.80} is not printable")
        declaration = convert(content, Declaration)
    except (ValidationError, RecursionError) as error:
        raise BadDeclaration(f"{where}: {error}") from error
    _check_names(declaration, where)
    return declaration


def _check_names(declaration: Declaration, where: str) -> None:
    """Accept only names that are valid in Kafka and Python: tools print them, and generate diagrams and ACLs."""
    events = {event for does in declaration.reactions for event in (does.event, *does.compensates, *does.awaits)}
    events |= {event for does in declaration.deadlines for event in (does.name, *does.compensates)}
    events |= {*declaration.publishes, *declaration.completes, *declaration.aborts, *declaration.owns}
    for name in sorted(events | {declaration.service, declaration.dead_letters, *declaration.events}):
        if not NAME.fullmatch(name):
            raise BadDeclaration(
                f"{where}: {name!r:.80} is not a valid name of a topic or group: use letters, digits, . _ and -"
            )
    handlers = [does.handler for does in declaration.reactions] + [does.handler for does in declaration.deadlines]
    for handler in handlers:
        if not handler.isidentifier():
            raise BadDeclaration(f"{where}: {handler!r:.80} is not a valid name of a handler")
    for event in sorted(set(declaration.publishes) - set(declaration.events)):
        raise BadDeclaration(f"{where}: {event} is published, but events does not describe it")
    for event, declared in declaration.events.items():
        if not all(number.isdecimal() for number in declared.released):
            raise BadDeclaration(f"{where}: {event!r:.80} has a released schema whose id is not a number")
        for schema in (declared.schema, *declared.released.values()):
            _check_schema(event, schema, where)


def _check_schema(event: str, schema: dict[str, Any], where: str) -> None:
    try:
        record = parse(dict(schema))["type"] == "record"
    except Exception as error:
        raise BadDeclaration(f"{where}: the schema of {event!r:.80} is not valid: {error!r:.200}") from error
    if not record:
        raise BadDeclaration(f"{where}: the schema of {event!r:.80} is not a record")


def _declared_deadline(deadline: Deadline) -> DeclaredDeadline:
    does = deadline.reaction
    code = does.handler.__code__
    where = f"{_file_of(does.handler.__module__, code.co_filename)}:{code.co_firstlineno}"
    publishes, compensates = _topics(does.publishes), _topics(does.compensates)
    return DeclaredDeadline(deadline.column.name, does.name, does.purpose, where, publishes, compensates)


def _declared(reaction: Reaction) -> DeclaredReaction:
    code = reaction.handler.__code__
    return DeclaredReaction(
        reaction.event.topic,
        reaction.name,
        reaction.purpose,
        f"{_file_of(reaction.handler.__module__, code.co_filename)}:{code.co_firstlineno}",
        _topics(reaction.publishes),
        _topics(reaction.compensates),
        _topics(reaction.awaits),
        reaction.remote.__name__ if reaction.remote else None,
        reaction.read_only,
        reaction.repeats,
    )


def _event(event: type[Event]) -> DeclaredEvent:
    purpose, file = (getdoc(event) or "").partition("\n")[0], f"{event.ids.parent.name}/{event.topic}.avsc"
    return DeclaredEvent(event.key_field, purpose, file, json.loads(event.schema_text), event.summary)


def _released(event: type[Event]) -> dict[str, dict[str, Any]]:
    """Return the event's released schemas by their ids; empty if a registry has the ids, not a file."""
    if not event.ids.is_file():
        return {}
    named = json.loads(event.ids.read_text(encoding="utf-8"))
    schemas = {
        number: json.loads((event.ids.parent / name).read_text(encoding="utf-8")) for number, name in named.items()
    }
    return {number: schema for number, schema in schemas.items() if parse(schema)["name"] == event.schema["name"]}


def _topics(events: tuple[type[Event], ...]) -> tuple[str, ...]:
    return tuple(event.topic for event in events)


def _file_of(module: str, path: str) -> str:
    """Return the path of a module's file below its package's parent; for a script, the name of its file."""
    return Path(path).name if module == "__main__" else f"{module.replace('.', '/')}.py"


def _version(service: type[Service[Any]]) -> str:
    return _versions().get(f"{service.__module__}:{service.__qualname__}", UNRELEASED)


@cache
def _versions() -> Mapping[str, str]:
    """Return the versions of the installed services by the location of their classes; the first one found counts."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and not needed by most commands

    found: dict[str, str] = {}
    for point in entry_points(group=INSTALLED):
        if point.dist is not None:
            found.setdefault(point.value, point.dist.version)
    return found


def _texts(content: Any) -> Iterator[str]:
    """Return every text in a document, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
