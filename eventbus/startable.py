"""What keeps a service from starting, found without a broker and a database."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from typing import Any

from eventbus.avro_schema import SchemaMismatch
from eventbus.manifest import NAME
from eventbus.serde.registry import FileRegistry, UnknownSchema, check_released
from eventbus.service import Reaction, Service

REPOSITORY = ("schema", "load", "save")


def misdeclared(service: type[Service[Any]]) -> list[str]:
    """Return why a service has no declaration; empty if it has one."""
    name = getattr(service, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return [
            f"{service.__name__}.name is {name!r}: give it one, of letters, digits, ., _ and -; its topics begin so"
        ]
    return list(service.faults)


def cannot_start(service: type[Service[Any]], *, registry: bool = False) -> list[str]:
    """Return why no worker of a service can start or handle anything; empty if one can.

    With a schema `registry` the ids that ship with the code are not needed.
    """
    if found := misdeclared(service):
        return found
    found = [*_repository(service), *(why for each in service.reactions.values() for why in _parameters(each))]
    found += [why for each in service.deadlines.values() for why in _parameters(each.reaction)]
    if not service.reactions:
        found.append(f"{service.__name__} reacts to no event: decorate a method with @reacts_to(AnEvent)")
    if not registry:
        found += _ids(service)
    return found


def cannot_be_made(build: Callable[..., Any], given: Collection[str]) -> list[str]:
    """Return why `service_cli` cannot make a service: with what it calls `build`, by the names of the options."""
    try:
        inspect.signature(build).bind(**dict.fromkeys(given))
    except TypeError as error:
        name = build.__name__
        does = "; give service_cli a function `build` that makes it" if isinstance(build, type) else ""
        return [f"{name} is called as {name}({', '.join(given)}), which it does not accept: {error}{does}"]
    return []


def half_a_repository(service: type[Service[Any]], repository: Any) -> list[str]:
    """Return what a service's repository lacks; empty if nothing."""
    missing = [part for part in REPOSITORY if not hasattr(repository, part)]
    kind = type(repository).__name__
    return [f"the repository of {service.__name__}, a {kind}, has no {', no '.join(missing)}"] if missing else []


def _repository(service: type[Service[Any]]) -> list[str]:
    """Check the repository of its example states, or of one that is made here: most services set it in `__init__`.

    That of a service which needs arguments can only be checked when it is made.
    """
    name = service.__name__
    try:
        examples = [example for example, _ in service.example_states("x").values()]
    except Exception as error:  # noqa: BLE001 - whatever the service's code raises
        return [f"{name}.example_states fails: {type(error).__name__}: {error}"]
    if examples or cannot_be_made(service, ()):
        return half_a_repository(service, (examples[0] if examples else service).repository)
    try:
        return half_a_repository(service, service().repository)
    except Exception as error:  # noqa: BLE001 - whatever the service's code raises
        return [f"{name}() fails: {type(error).__name__}: {error}"]


def _parameters(reaction: Reaction) -> Iterator[str]:
    wanted = ["self", "event", *(["outcome"] if reaction.remote is not None else []), "work"]
    try:
        inspect.signature(reaction.handler).bind(*wanted)
    except TypeError as error:
        where = reaction.handler.__qualname__
        yield f"{where} is called as {reaction.name}({', '.join(wanted)}), which it does not accept: {error}"


def _ids(service: type[Service[Any]]) -> Iterator[str]:
    try:
        check_released(FileRegistry(*sorted({event.ids for event in service.events()})), service.events())
    except (UnknownSchema, SchemaMismatch) as error:
        yield str(error)
    except (OSError, ValueError) as error:
        yield f"the ids of its events cannot be read, which it needs without a schema registry: {error}"
