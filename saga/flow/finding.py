"""A finding of a rule of `saga verify`, and its location."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from eventbus.manifest import Declaration
from saga.flow.model import Flow, Handler


class Finding(NamedTuple):
    """One problem: the event, the handler (empty if none is concerned), and the file."""

    event: str
    handler: str
    file: str
    detail: str


Rule = Callable[[Flow], Iterable[Finding]]
"""The function's name is the rule's name, its docstring states what must hold."""


def at_publisher(flow: Flow, event: str, detail: str) -> Finding:
    """Return a finding at the publisher of the event."""
    publisher = next((service for service in flow.services if event in service.publishes), None)
    return at_service(publisher, event, detail) if publisher else Finding(event, "", "", detail)


def at_service(service: Declaration, event: str, detail: str) -> Finding:
    """Return a finding at the service's handler that publishes the event, or at the service if it starts sagas."""
    does = next((does for does in service.reactions if event in does.publishes), None)
    if does is None:
        return Finding(event, "", service.file, detail)
    return at_handler(Handler(service.service, does), event, detail)


def at_handler(handler: Handler, event: str, detail: str) -> Finding:
    """Return a finding at a handler."""
    return Finding(event, handler.name, handler.does.file, detail)


def shown(run: Iterable[str]) -> str:
    """Return a sequence of events as text."""
    return " > ".join(run)
