"""`saga violations`: records that no declaration allows."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from eventbus.cli import options as cli
from eventbus.text.plural import plural
from saga.commands.tracker_option import complete_order, tracker
from saga.tracker import render
from saga.tracker.fold import KINDS
from saga.tracker.installed import MODEL
from saga.tracker.queries import Tracked


@click.command("violations", context_settings=cli.CONTEXT)
@tracker
@click.option(
    "--order",
    "order_id",
    metavar="ID",
    shell_complete=complete_order,
    callback=cli.not_empty,
    help="Only violations of this order.",
)
@click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help=f"Only {', '.join(KINDS)}.")
@click.option("--limit", type=click.IntRange(1), default=100, help="The maximum number to print, newest first.")
@cli.as_json
def violations_command(tracker: Path, order_id: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List the records on the log that no declaration allows; exit 1 if there are any.

    Example: saga violations --kind second-ending
    """
    with Tracked.at(tracker, MODEL) as tracked:
        found = tracked.violations(kind, order_id and tracked.whole_id(order_id), limit)
    if as_json:
        cli.print_json([render.violation_json(violation) for violation in found])
    else:
        for violation in found:
            click.echo("\n".join(render.violation_text(violation)))
        click.echo(plural(len(found), "violation") if found else "none")
    if found:
        sys.exit(1)
