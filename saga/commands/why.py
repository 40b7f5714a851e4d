"""`saga why`: the reason for an order's state."""

from __future__ import annotations

from pathlib import Path

import click

from eventbus.cli import options as cli
from saga.commands.order_output import order_timeline
from saga.commands.tracker_option import order_id as order
from saga.commands.tracker_option import tracker
from saga.tracker import render
from saga.tracker.installed import MODEL, SENTENCES
from saga.tracker.queries import Tracked, now
from saga.tracker.why import explain


@click.command("why", context_settings=cli.CONTEXT)
@order
@tracker
@cli.as_json
def why_command(order_id: str, tracker: Path, as_json: bool) -> None:
    """Explain an order's state: the chain of causes, each with its address in the log.

    If an answer is missing, it names the commands that tell whether the service failed on it, when it retries, and
    whether one of its workers is running.

    The order's id may be shortened to its beginning, or to its end of 4 characters or more.

    Example: saga why 01980c4e
    """
    with Tracked.at(tracker, MODEL) as tracked:
        why = explain(order_timeline(tracked, order_id), SENTENCES, now())
    if as_json:
        cli.print_json(render.why_json(why))
    else:
        click.echo("\n".join(render.why_text(why)))
