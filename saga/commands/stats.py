"""`saga stats`: statistics of all orders."""

from __future__ import annotations

from pathlib import Path

import click

from eventbus.cli import options as cli
from eventbus.cli.tables import terminal_width
from saga.commands.tracker_option import tracker
from saga.tracker import render
from saga.tracker.installed import MODEL
from saga.tracker.queries import Tracked
from saga.tracker.stats import branches, by_status, ended_by, paces, undone, waiting


@click.command("stats", context_settings=cli.CONTEXT)
@tracker
@click.option("--latest", type=click.IntRange(1), default=1_000, help="Branches and times of this many newest orders.")
@cli.as_json
def stats_command(tracker: Path, latest: int, as_json: bool) -> None:
    """Print the number of orders by status; and, for the latest ones, the branches taken and the time of each step.

    For cancelled orders also how many were refunded, and how many were cancelled after a refusal, by deadline, and on
    request.

    Example: saga stats
    """
    with Tracked.at(tracker, MODEL) as tracked:
        kinds, newest = tracked.kinds(), tracked.latest(latest)
        report = {
            "orders": sum(kind.orders for kind in kinds),
            "by_status": by_status(MODEL, kinds),
            "undone": undone(MODEL, kinds),
            "ended_by": ended_by(kinds),
            "waiting_on": waiting(MODEL, kinds),
            "branches": [branch._asdict() for branch in branches(MODEL, newest)],
            "steps_ms": [pace._asdict() for pace in paces(newest.steps)],
            "steps_of_latest": latest,
            "violations": tracked.violation_counts(),
            "behind": tracked.behind().offsets,
        }
    if as_json:
        cli.print_json(report)
    else:
        click.echo("\n".join(render.stats_text(report, terminal_width())))
