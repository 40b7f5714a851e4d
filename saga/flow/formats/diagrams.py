"""The flow as Mermaid (services, and events as arrows) and as DOT for Graphviz (events, and handlers as arrows)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from saga.flow.model import Flow

ANYBODY = "anybody"


def as_mermaid(flow: Flow) -> str:
    """Return a Mermaid flowchart: an arrow for every event from its publisher to each of its consumers."""
    lines = ["flowchart LR"]
    lines += [f"    {_node(service.service)}[{service.service}]" for service in flow.services]
    unconsumed = False
    for publisher in flow.services:
        for event in publisher.publishes:
            consumers = list(dict.fromkeys(_node(handler.service) for handler in flow.consumers(event)))
            unconsumed |= not consumers
            lines += [f"    {_node(publisher.service)} -->|{event}| {consumer}" for consumer in consumers or [ANYBODY]]
    if unconsumed:
        lines.append(f"    {ANYBODY}([any consumer])")
    return "\n".join(lines) + "\n"


def as_dot(flow: Flow) -> str:
    """Return a digraph for `dot`: a frame per service with its events, an arrow per handler; compensations dashed."""
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
