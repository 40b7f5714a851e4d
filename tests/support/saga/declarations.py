"""Declarations written by hand, short, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventbus.manifest import Declaration, DeclaredDeadline, DeclaredEvent, DeclaredReaction

SCHEMA = {"type": "record", "name": "Fact", "fields": [{"name": "order_id", "type": "string"}]}


def reaction(event: str, *publishes: str, service: str = "service", **more: Any) -> DeclaredReaction:
    """Return a reaction whose handler is named after its event, in a file named after its service."""
    handler, file = f"on_{event.replace('.', '_')}", f"{service.replace('-', '_')}/service.py:1"
    return DeclaredReaction(event, handler, f"Answers {event}.", file, publishes, **more)


def declared(
    service: str,
    *reactions: DeclaredReaction,
    heard: Mapping[str, tuple[str, ...]] | None = None,
    version: str = "1",
    **more: Any,
) -> Declaration:
    """Return the declaration of a service: of these reactions, or of what it hears and may answer."""
    all_of_them = reactions + tuple(reaction(event, *says, service=service) for event, says in (heard or {}).items())
    if more.get("initiates") and "deadlines" not in more:
        own = {event for does in all_of_them for event in does.publishes}
        ends = tuple(event for event in (*more.get("aborts", ()), *more.get("completes", ())) if event in own)[:1]
        file = f"{service.replace('-', '_')}/service.py:1"
        more["deadlines"] = (DeclaredDeadline("rows.due_at", "give_up", "Gives up.", file, ends),)
    said = {e for does in all_of_them for e in (does.event, *does.publishes)} | set(more.get("initiates", ()))
    events = {
        event: DeclaredEvent("order_id", f"It is {event}.", f"schemas/{event}.avsc", SCHEMA) for event in sorted(said)
    }
    file = f"{service.replace('-', '_')}/service.py"
    return Declaration(
        service,
        version,
        f"Is the {service}.",
        file,
        reactions=all_of_them,
        events=events,
        dead_letters=f"{service}.dead-letters",
        **more,
    )
