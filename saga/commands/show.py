"""`saga show`: one order, event by event."""

from __future__ import annotations

import time
from pathlib import Path

import click

from eventbus.cli import options as cli
from saga.commands.exits import exit_cleanly
from saga.commands.order_output import order_timeline
from saga.commands.tracker_option import order_id as order
from saga.commands.tracker_option import tracker
from saga.tracker import render
from saga.tracker.installed import MODEL, SENTENCES
from saga.tracker.moments import Moment
from saga.tracker.queries import Tracked
from saga.tracker.timeline import timeline

LOOK_AGAIN_SECONDS = 0.2


@click.command("show", context_settings=cli.CONTEXT)
@order
@tracker
@click.option("--at", type=Moment(), help="The state at this time: RFC 3339, or 10m, 2h ago.")
@click.option("--follow", is_flag=True, help="Print events as they arrive, until no more are due.")
@cli.as_json
def show_command(order_id: str, tracker: Path, at: int | None, follow: bool, as_json: bool) -> None:
    """Show an order: its events by time, which compensation undid which step, and what can still happen.

    The order's id may be shortened to its beginning, or to its end of 4 characters or more.

    \b
    Examples:
      saga show 01980c4e
      saga show 01980c4e --at 2026-01-31T12:00:00.250Z
    """  # noqa: D301 - \b is click's
    if follow and (at is not None or as_json):
        raise click.UsageError("--follow cannot be combined with --at or --json")
    with exit_cleanly(), Tracked.at(tracker, MODEL) as tracked:
        if follow:
            _follow(tracked, tracked.whole_id(order_id))
            return
        story = order_timeline(tracked, order_id, at)
        if as_json:
            cli.print_json(render.timeline_json(story, SENTENCES))
        else:
            click.echo("\n".join(render.timeline_text(story, SENTENCES)))


def _follow(tracked: Tracked, order_id: str) -> None:
    seen: set[str] = set()
    while True:
        story = timeline(tracked, order_id)
        for step in story.steps if story else []:
            if step.event.address not in seen:
                seen.add(step.event.address)
                click.echo("\n".join(render.step_text(step, SENTENCES)))
        if story and not story.owed:
            click.echo(f"{story.order.status}; nothing more is due")
            return
        time.sleep(LOOK_AGAIN_SECONDS)
