"""One page per service: the microservice canvas of Chris Richardson's *Microservices Patterns*, as Markdown.

https://microservices.io/post/microservices/general/2019/02/27/microservice-canvas.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventbus.manifest import Declaration, DeclaredReaction
from saga.flow.model import Flow
from saga.flow.progress import runs

PAGE = "\n---\n\n"
METRICS = (
    "saga_events_consumed_total, saga_events_published_total, saga_dead_letters_total, saga_event_delay_seconds,"
    " saga_consumer_lag_records, and more; /livez and /readyz (--metrics-port)"
)


def as_canvas(flow: Flow) -> str:
    """Return every service's page, separated by horizontal rules."""
    return PAGE.join("\n".join(_page(flow, service)) for service in flow.services)


def _page(flow: Flow, service: Declaration) -> Iterator[str]:
    yield f"# {service.service}"
    yield ""
    yield service.purpose
    yield ""
    yield from _table(("", ""), _facts(service))
    yield from _section("Subscribes to", ("event", "published by", "does", "answers with"), _consumed(flow, service))
    yield from _section("Publishes", ("event", "what it means", "consumed by"), _published(flow, service))
    yield from _section(
        "Saga participation", ("saga", "steps of this service", "its compensations"), _sagas(flow, service)
    )
    yield from _section("Waits", ("having consumed", "it waits for", "in"), _waits(service))


def _facts(service: Declaration) -> Iterator[tuple[str, ...]]:
    yield "version", service.version
    yield "code", f"`{service.file}`"
    yield "consumer group", f"`{service.service}`"
    yield "dead letters", f"`{service.dead_letters}`"
    yield "starts sagas with", _list(service.initiates)
    yield "on request publishes", _list(service.on_request)
    yield "completes them with", _list(service.completes)
    yield "aborts them with", _list(service.aborts)
    remote = [f"`{does.remote}` before `{does.handler}`" for does in service.reactions if does.remote]
    yield "remote calls", ", ".join(remote) or "-"
    yield "observability", METRICS


def _consumed(flow: Flow, service: Declaration) -> Iterator[tuple[str, ...]]:
    for does in service.reactions:
        publishers = _list(flow.publishers(does.event))
        yield f"`{does.event}`", publishers, f"`{does.handler}`: {does.purpose}", _list(does.publishes)


def _published(flow: Flow, service: Declaration) -> Iterator[tuple[str, ...]]:
    for event in service.publishes:
        consumers = dict.fromkeys(handler.service for handler in flow.consumers(event))
        yield f"`{event}`", service.events[event].purpose, _list(consumers)


def _sagas(flow: Flow, service: Declaration) -> Iterator[tuple[str, ...]]:
    for start in flow.initiates:
        events = {event for run in runs(flow, start) for event in run}
        takes_part = [does for does in service.reactions if does.event in events]
        forward = [does for does in takes_part if not does.compensates]
        undoing = [does for does in takes_part if does.compensates]
        yield f"`{start}`", _steps(forward), _steps(undoing)


def _steps(reactions: Iterable[DeclaredReaction]) -> str:
    told = []
    for does in reactions:
        undone = f", undoes {_list(does.compensates)}" if does.compensates else ""
        told.append(f"`{does.handler}` on `{does.event}`{undone}")
    return "; ".join(told) or "-"


def _waits(service: Declaration) -> Iterator[tuple[str, ...]]:
    for does in service.reactions:
        if does.awaits:
            yield f"`{does.event}`", _list(does.awaits), f"`{does.handler}`"


def _section(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield f"## {title}"
        yield ""
        yield from _table(head, found)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "-"
