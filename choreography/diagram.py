"""The choreography as a diagram, read from what the services declare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventbus.service import Service

NOBODY = "anybody"


def mermaid(services: Sequence[type[Service[Any]]]) -> str:
    """Return a Mermaid flowchart: an arrow for every event from who says it to everyone who hears it."""
    lines = ["flowchart LR"]
    lines += [f"    {_node(service)}[{service.name}]" for service in services]
    unheard = False
    for publisher in services:
        for event in publisher.publishes():
            hearers = [_node(service) for service in services if event in service.reactions]
            unheard |= not hearers
            lines += [f"    {_node(publisher)} -->|{event.topic}| {hearer}" for hearer in hearers or [NOBODY]]
    if unheard:
        lines.append(f"    {NOBODY}([whoever cares])")
    return "\n".join(lines) + "\n"


def _node(service: type[Service[Any]]) -> str:
    return service.name.removesuffix("-service")
