"""`saga why`: the reason for an order's state."""

from __future__ import annotations

from pathlib import Path

import click

from eventbus.cli import options as cli
from saga.commands.order_output import order_timeline
from saga.commands.tracker_option import tracker
from saga.tracker import render
from saga.tracker.installed import MODEL, SENTENCES
from saga.tracker.queries import Tracked, now
from saga.tracker.why import explain


@click.command("why", context_settings=cli.CONTEXT)
@click.argument("order_id")
@tracker
@cli.as_json
def why_command(order_id: str, tracker: Path, as_json: bool) -> None:
    """Explain an order's state: the chain of causes, each with its address in the log.

    The order's id may be shortened to its beginning, or to its end of 4 characters or more.

    Example: saga why 01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21
    """
    with Tracked.at(tracker, MODEL) as tracked:
        why = explain(order_timeline(tracked, order_id), SENTENCES, now())
    if as_json:
        cli.print_json(render.why_json(why))
    else:
        click.echo("\n".join(render.why_text(why)))
