"""The flow as Mermaid (services, and events as arrows) and as DOT for Graphviz (events, and handlers as arrows)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from saga.flow.model import Flow

ANYBODY = "anybody"


def as_mermaid(flow: Flow) -> str:
    """Return a Mermaid flowchart: an arrow for every event from who says it to everyone who hears it."""
    lines = ["flowchart LR"]
    lines += [f"    {_node(service.service)}[{service.service}]" for service in flow.services]
    unheard = False
    for publisher in flow.services:
        for event in publisher.publishes:
            hearers = list(dict.fromkeys(_node(handler.service) for handler in flow.hearers(event)))
            unheard |= not hearers
            lines += [f"    {_node(publisher.service)} -->|{event}| {hearer}" for hearer in hearers or [ANYBODY]]
    if unheard:
        lines.append(f"    {ANYBODY}([whoever cares])")
    return "\n".join(lines) + "\n"


def as_dot(flow: Flow) -> str:
    """Return a digraph for `dot`: a frame a service with its events, an arrow a handler; compensations dashed."""
    return "\n".join(["digraph saga {", "  rankdir=LR", "  node [shape=box style=rounded]", *_dot(flow), "}"]) + "\n"


def _dot(flow: Flow) -> Iterator[str]:
    for service in flow.services:
        yield f'  subgraph "cluster_{service.service}" {{'
        yield f'    label="{service.service}"'
        for event in service.publishes:
            yield f'    "{event}"' + (" [peripheries=2]" if event in flow.endings else "")
        yield "  }"
    for handler in flow.handlers:
        does = handler.does
        style = " style=dashed" if does.compensates else ""
        for event in does.publishes:
            yield f'  "{does.event}" -> "{event}" [label="{does.handler}" tooltip="{handler.name}"{style}]'


def _node(service: str) -> str:
    return re.sub(r"\W", "_", service.removesuffix("-service"))
