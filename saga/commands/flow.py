"""`saga flow`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from msgspec import to_builtins

from eventbus.cli import options as cli
from eventbus.text.plural import plural
from saga.commands.tracker_option import tracker
from saga.flow.formats.asyncapi import as_asyncapi
from saga.flow.formats.canvas import as_canvas
from saga.flow.formats.diagrams import as_dot, as_mermaid
from saga.flow.formats.svg import as_svg
from saga.flow.formats.text import as_text
from saga.flow.formats.topics import as_topics
from saga.flow.model import Flow
from saga.flow.progress import runs
from saga.flow.sources import FlowSource, flow_options, worker_lines
from saga.tracker.installed import MODEL
from saga.tracker.live import LiveTracked
from saga.tracker.live_svg import as_live_svg
from saga.tracker.live_text import as_live_json, as_live_text
from saga.tracker.moments import Duration
from saga.tracker.queries import now

FORMATS: Mapping[str, Callable[[Flow], str]] = {
    "text": as_text,
    "canvas": as_canvas,
    "asyncapi": as_asyncapi,
    "mermaid": as_mermaid,
    "dot": as_dot,
    "svg": as_svg,
    "topics": as_topics,
}

LIVE_FORMATS = ("text", "svg", "json")


@click.command("flow", context_settings=cli.CONTEXT)
@flow_options
@click.option("--format", "form", type=click.Choice([*FORMATS, "json"]), default="text", help="The output format.")
@click.option("--live", is_flag=True, help="Add the traffic that `saga track` saw; as text, svg or json.")
@click.option(
    "--window", type=Duration(), default="5m", help="With --live: the time span that is counted beside all of it."
)
@tracker
def flow_command(source: FlowSource, form: str, *, live: bool, window: int, tracker: Path) -> None:
    """Show the whole flow, merged from the declarations of the services; there is no central definition.

    The declarations are those of the services installed here; or FILES that `<service> declaration` wrote; or, with
    --announced, those that workers published to choreography.declarations when they started, with their versions.

    \b
    Examples:
      saga flow
      saga flow --format svg > flow.svg
      saga flow order-service.json payment-service.json inventory-service.json
      saga flow --announced --bootstrap-servers localhost:9092
      saga flow --live --window 10m
    """  # noqa: D301 - \b is click's
    if live:
        _show_live(source.flow, form, window, tracker)
        return
    if cli.is_given("window"):
        raise click.UsageError("--window requires --live")
    if form == "json":
        cli.print_json(as_dict(source))
        return
    click.echo(FORMATS[form](source.flow), nl=False)
    if source.workers and form == "text":
        click.echo("\n".join(["", "Announced by", *(f"  {line}" for line in worker_lines(source.workers))]))


def _show_live(flow: Flow, form: str, window: int, path: Path) -> None:
    if form not in LIVE_FORMATS:
        raise click.UsageError(f"--live supports the formats {', '.join(LIVE_FORMATS)}, not {form}")
    with LiveTracked.at(path, MODEL) as tracked:
        seen, behind = tracked.live(window, now()), tracked.behind()
    if form == "json":
        cli.print_json({**as_live_json(flow, seen), "behind": behind.offsets, "behind_partitions": behind.partitions})
    else:
        click.echo((as_live_svg if form == "svg" else as_live_text)(flow, seen), nl=False)
        if behind.partitions:
            where = ", ".join(f"{partition} ({offsets})" for partition, offsets in behind.partitions.items())
            click.echo(f"incomplete: the tracker was {plural(behind.offsets, 'record')} behind: {where}", err=True)


def as_dict(source: FlowSource) -> dict[str, Any]:
    """Return the flow for scripts; every key is always there."""
    flow = source.flow
    return {
        "services": [to_builtins(service) for service in flow.services],
        "events": {
            event: {
                "published_by": flow.publishers(event),
                "heard_by": [handler.service for handler in flow.consumers(event)],
                "final": "completes" if event in flow.completes else "aborts" if event in flow.aborts else None,
            }
            for event in flow.events
        },
        "edges": [edge._asdict() for edge in flow.edges],
        "compensates": {
            event: [{"service": h.service, "handler": h.does.handler, "on": h.does.event} for h in handlers]
            for event, handlers in flow.compensates.items()
        },
        "runs": [run for start in flow.initiates for run in runs(flow, start)],
        "workers": [
            {"service": w.service, "instance": w.instance, "version": w.declaration.version, "announced_at": w.at}
            for w in source.workers
        ],
    }
