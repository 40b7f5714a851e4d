"""Whether every event is handled in every state: the handlers are tried, each on an example of every state.

A handler decides in memory and does no I/O, so this is safe without a database, broker or provider. A handler may
raise PoisonRecord (the event contradicts the state) and ConcurrentUpdate (another worker changed it). Any other
exception is a bug: in a worker, the order would be parked and retried indefinitely.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from eventbus import ConcurrentUpdate, Event, PoisonRecord, Service, TryAgain, Unasked
from eventbus.manifest import declare
from eventbus.service import Reaction, Undeclared
from saga.flow.finding import Finding, Rule
from saga.flow.model import Flow, Handler

RULES = (PoisonRecord, ConcurrentUpdate, TryAgain)
TEXT, NUMBER = "ABC", 1
"""The value of every text and number in the examples: an id, an amount, a currency, a quantity."""


def every_state_has_a_rule_for_every_event(services: Iterable[type[Service[Any]]]) -> Rule:
    """Return the rule that no handler of these services fails in any state of a key."""
    tried = list(services)

    def rule(_flow: Flow) -> Iterator[Finding]:
        for service in tried:
            handlers = dict(zip(service.reactions.values(), declare(service).reactions, strict=True))
            for reaction, does in handlers.items():
                handler = Handler(service.name, does)
                yield from (Finding(does.event, handler.name, does.file, told) for told in _failures(service, reaction))
            for deadline, due in zip(service.deadlines.values(), declare(service).deadlines, strict=True):
                name = f"{service.name} {due.handler}"
                yield from (Finding(due.name, name, due.file, told) for told in _failures(service, deadline.reaction))

    rule.__name__ = every_state_has_a_rule_for_every_event.__name__
    return rule


def _failures(service: type[Service[Any]], reaction: Reaction) -> Iterator[str]:
    """Return, for each state in which the handler fails, its first failure."""
    if not service.example_states(TEXT):
        return
    try:
        event, outcomes = example(reaction.event), _outcomes(reaction)
    except Exception as error:  # noqa: BLE001 - the annotations are the service's
        yield f"the handler cannot be tried, by the annotations of its event and its remote function: {error!r}"
        return
    for state in service.example_states(event.key):
        for outcome in outcomes:
            told = _try(service, state, reaction, event, outcome)
            if told is not None:
                yield f"the handler fails in the state {state!r}: {told}"
                break


def _try(service: type[Service[Any]], state: str, reaction: Reaction, event: Event, outcome: list[Any]) -> str | None:
    example, work = service.example_states(event.key)[state]
    try:
        reaction.answer(example, event, *outcome, work=work)
    except RULES:
        return None
    except Undeclared as undeclared:
        return str(undeclared)
    except Exception as error:  # noqa: BLE001 - that is what is tested for
        return f"{type(error).__name__}: {error}"
    return None


def _outcomes(reaction: Reaction) -> list[list[Any]]:
    """Return the possible arguments between event and working set: none, or each outcome."""
    if reaction.remote is None:
        return [[]]
    hint = typing.get_type_hints(reaction.remote)["return"]
    branches = [inner for branch in _branches(hint) for inner in _branches(_awaited(branch))]
    return [[example(branch)] for branch in dict.fromkeys(branches) if branch is not Unasked]


def _awaited(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Awaitable else hint


def _branches(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _fields(hint: Any) -> Sequence[str] | None:
    if is_dataclass(hint):
        return [field.name for field in fields(hint)]
    return getattr(hint, "__struct_fields__", getattr(hint, "_fields", None))


def example(hint: Any) -> Any:
    """Return an example of a type of events and outcomes: structs, dataclasses, named tuples, plain types."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        return tuple(example(inner) for inner in typing.get_args(hint) if inner is not Ellipsis)
    if (names := _fields(hint)) is not None:
        hints = typing.get_type_hints(hint)
        return hint(*(example(hints[name]) for name in names))
    plain = {str: TEXT, int: NUMBER, bool: True, bytes: TEXT.encode(), float: float(NUMBER), type(None): None}
    branch = _branches(hint)[0]
    return plain[branch] if branch in plain else example(branch)
