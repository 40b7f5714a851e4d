"""`saga orders`: a list of orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventbus.cli import options as cli
from eventbus.cli.tables import print_table
from eventbus.text.plural import plural
from saga.commands.tracker_option import tracker
from saga.tracker import render
from saga.tracker.installed import MODEL
from saga.tracker.model import OVERDUE, REQUEST
from saga.tracker.moments import Duration, Moment
from saga.tracker.queries import Tracked, now, statuses, undoings
from saga.tracker.wanted import Wanted

SERVICES = sorted(set(MODEL.publisher.values()))


@click.command("orders", context_settings=cli.CONTEXT)
@tracker
@click.option("--status", type=click.Choice(statuses(MODEL)), help="Only orders with this status.")
@click.option("--undone", type=click.Choice(undoings(MODEL)), help="Only orders with this compensation done.")
@click.option("--stuck", is_flag=True, help="Only orders that wait for an answer, longest waiting first.")
@click.option(
    "--older-than", type=Duration(), help="With --stuck: without an event for this long, e.g. 30s.", default="0s"
)
@click.option("--waiting-on", type=click.Choice(SERVICES), help="Only orders that wait for an answer of this service.")
@click.option("--customer", metavar="ID", callback=cli.not_empty, help="Only orders of this customer.")
@click.option(
    "--failed-at",
    type=click.Choice([*SERVICES, *sorted(MODEL.failures)]),
    metavar="WHERE",
    help=f"Only orders that failed at a service, or with {' or '.join(sorted(MODEL.failures))}.",
)
@click.option(
    "--ended-by",
    type=click.Choice([OVERDUE, REQUEST]),
    help="Only orders cancelled by deadline, or on request.",
)
@click.option("--overdue", is_flag=True, help="Only orders that are still pending after their deadline.")
@click.option("--since", type=Moment(), help="Only orders placed since then: RFC 3339, or 10m, 2h, 7d ago.")
@click.option("--limit", type=click.IntRange(1), default=20, help="The maximum number to print.")
@cli.as_json
def orders_command(tracker: Path, stuck: bool, older_than: int, as_json: bool, limit: int, **wanted: Any) -> None:
    """List orders, newest first; a note on stderr says if there are more than --limit.

    \b
    Examples:
      saga orders --status cancelled --since 10m
      saga orders --stuck --older-than 30s --waiting-on payment-service
    """  # noqa: D301 - \b is click's
    failed_at = wanted.pop("failed_at")
    if failed_at in SERVICES:
        wanted["failed_at"] = [topic for topic in sorted(MODEL.failures) if MODEL.publisher[topic] == failed_at]
    else:
        wanted["failed_at"] = [failed_at] if failed_at else None
    if older_than and not stuck:
        raise click.UsageError("--older-than requires --stuck")
    wanted["overdue_since"] = now() if wanted.pop("overdue") else None
    asked = Wanted(stuck_since=now() - older_than if stuck else None, limit=limit + 1, **wanted)
    with Tracked.at(tracker, MODEL) as tracked:
        found = tracked.orders(asked)
    if len(found) > limit:
        click.echo(f"{plural(limit, 'order')} listed, there are more: raise --limit", err=True)
        del found[limit:]
    if as_json:
        cli.print_json([render.order_json(order) for order in found])
    else:
        print_table(
            ["order", "status", "placed", "total", "customer", "undone", "waiting on", "failed at"],
            map(render.order_cells, found),
        )
