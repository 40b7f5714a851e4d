"""What keeps a service from starting, found without a broker and a database."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from eventbus.avro_schema import SchemaMismatch
from eventbus.manifest import NAME
from eventbus.serde.registry import FileRegistry, UnknownSchema, check_released
from eventbus.service import Reaction, Service

REPOSITORY = ("schema", "load", "save")


def cannot_start(service: type[Service[Any]], *, registry: bool = False) -> list[str]:
    """Return why no worker of a service can start or handle anything; empty if one can.

    With a schema `registry` the ids that ship with the code are not needed.
    """
    name = getattr(service, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return [
            f"{service.__name__}.name is {name!r}: give it one, of letters, digits, ., _ and -; its topics begin so"
        ]
    found = [*_repository(service), *(why for each in service.reactions.values() for why in _parameters(each))]
    if not service.reactions:
        found.append(f"{service.__name__} reacts to no event: decorate a method with @reacts_to(AnEvent)")
    if not registry:
        found += _ids(service)
    return found


def _repository(service: type[Service[Any]]) -> Iterator[str]:
    """Check the class's repository, or that of its example states: most services set it in `__init__`."""
    examples = [example for example, _ in service.example_states("x").values()]
    repository: Any = examples[0].repository if examples else service.repository
    if missing := [part for part in REPOSITORY if not hasattr(repository, part)]:
        yield f"the repository of {service.__name__}, a {type(repository).__name__}, has no {', no '.join(missing)}"


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
