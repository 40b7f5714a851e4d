"""`saga orders`, `show`, `why`, `sql`, `stats` and `violations`: what the tracker knows."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from eventbus.cli import options as cli
from eventbus.log import moment
from eventbus.text.json_form import to_json
from saga.quiet import ends_quietly
from saga.track import render
from saga.track.common import MODEL, tracker
from saga.track.fold import KINDS
from saga.track.moments import Duration, Moment, span
from saga.track.queries import Tracked, now, statuses
from saga.track.sentences import Sentences
from saga.track.stats import branches, by_status, paces, waiting
from saga.track.timeline import Timeline, timeline
from saga.track.wanted import Wanted
from saga.track.why import explain
from schemas import EVENTS

LOOK_AGAIN_SECONDS = 0.2
SENTENCES = Sentences(EVENTS)
SERVICES = sorted(set(MODEL.publisher.values()))
moment_at = Moment()


@click.command("orders", context_settings=cli.CONTEXT)
@tracker
@click.option("--status", type=click.Choice(statuses(MODEL)), help="Only orders that stand so.")
@click.option("--stuck", is_flag=True, help="Only orders that wait for an answer, the longest waiting first.")
@click.option(
    "--older-than", type=Duration(), help="With --stuck: without an event for so long, e.g. 30s.", default="0s"
)
@click.option("--waiting-on", type=click.Choice(SERVICES), help="Only orders to which this service owes an answer.")
@click.option("--customer", metavar="ID", help="Only this customer's.")
@click.option(
    "--failed-at", type=click.Choice([*SERVICES, *sorted(MODEL.failures)]), help="Only orders that failed here."
)
@click.option("--since", type=moment_at, help="Only orders placed since then: RFC 3339, or 10m, 2h, 7d ago.")
@click.option("--limit", type=click.IntRange(1), default=20, help="At most so many.")
@cli.as_json
def orders_command(tracker: Path, stuck: bool, older_than: int, as_json: bool, limit: int, **wanted: Any) -> None:
    """List orders, newest first; says on stderr when there are more than --limit.

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
        raise click.UsageError("--older-than says how long an order must have been stuck: give --stuck, too")
    asked = Wanted(stuck_since=now() - older_than if stuck else None, limit=limit + 1, **wanted)
    with Tracked.at(tracker, MODEL) as tracked:
        found = tracked.orders(asked)
    if len(found) > limit:
        click.echo(f"these are {limit}; there are more: --limit", err=True)
        del found[limit:]
    if as_json:
        cli.print_json([render.order_json(order) for order in found])
    else:
        _table(
            ["order", "status", "placed", "total", "customer", "waiting on", "failed at"],
            map(render.order_cells, found),
        )


@click.command("show", context_settings=cli.CONTEXT)
@click.argument("order_id")
@tracker
@click.option("--at", type=moment_at, help="As it stood then: RFC 3339, or 10m, 2h ago.")
@click.option("--follow", is_flag=True, help="Print events as they come, until nothing more is due.")
@cli.as_json
def show_command(order_id: str, tracker: Path, at: int | None, follow: bool, as_json: bool) -> None:
    """Show an order: its events in time, what undid what, and what can still happen.

    \b
    Examples:
      saga show 01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21
      saga show 01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21 --at 2026-01-31T12:00:00.250Z
    """  # noqa: D301 - \b is click's
    if follow and (at is not None or as_json):
        raise click.UsageError("--follow goes neither with --at nor with --json")
    with ends_quietly(), Tracked.at(tracker, MODEL) as tracked:
        if follow:
            _follow(tracked, order_id)
            return
        story = _story(tracked, order_id, at)
        if as_json:
            cli.print_json(render.timeline_json(story, SENTENCES))
        else:
            click.echo("\n".join(render.timeline_text(story, SENTENCES)))


@click.command("why", context_settings=cli.CONTEXT)
@click.argument("order_id")
@tracker
@cli.as_json
def why_command(order_id: str, tracker: Path, as_json: bool) -> None:
    """Say why an order stands where it stands: the chain of causes, each with where to look in the log.

    Example: saga why 01980c4e-8f3a-7cc2-a1d5-5a3f0c9b7e21
    """
    with Tracked.at(tracker, MODEL) as tracked:
        why = explain(_story(tracked, order_id), SENTENCES, now())
    if as_json:
        cli.print_json(render.why_json(why))
    else:
        click.echo("\n".join(render.why_text(why)))


@click.command("sql", context_settings=cli.CONTEXT)
@click.argument("statement")
@tracker
@cli.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
def sql_command(statement: str, tracker: Path, as_json: bool, as_csv: bool) -> None:
    """Ask the tracker's tables: orders, events, steps, violations (docs/tracking.md). Only reading is possible.

    Example: saga sql "select status, count(*) from orders group by status"
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two ways to print: choose one")
    with ends_quietly(), Tracked.at(tracker, MODEL) as tracked:
        columns, rows = tracked.select(statement)
        if as_csv:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        elif as_json:
            for row in rows:
                click.echo(to_json(dict(zip(columns, row, strict=True))))
        else:
            _table(columns, ([render.cell(value) for value in row] for row in rows))


@click.command("stats", context_settings=cli.CONTEXT)
@tracker
@click.option("--latest", type=click.IntRange(1), default=1_000, help="Ways and times of so many orders, the newest.")
@cli.as_json
def stats_command(tracker: Path, latest: int, as_json: bool) -> None:
    """Say how all orders fare, by status; and which way the latest ones went, and how long each step took.

    Example: saga stats
    """
    with Tracked.at(tracker, MODEL) as tracked:
        kinds, newest = tracked.kinds(), tracked.latest(latest)
        report = {
            "orders": sum(kind.orders for kind in kinds),
            "by_status": by_status(MODEL, kinds),
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
        click.echo("\n".join(render.stats_text(report)))


@click.command("violations", context_settings=cli.CONTEXT)
@tracker
@click.option("--order", "order_id", metavar="ID", help="Only of this order.")
@click.option("--kind", type=click.Choice(KINDS), help="Only of this kind.")
@click.option("--limit", type=click.IntRange(1), default=100, help="At most so many, the newest.")
@cli.as_json
def violations_command(tracker: Path, order_id: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List what lies on the log and no declaration allows; exit 1 if there is anything.

    Example: saga violations --kind second-ending
    """
    with Tracked.at(tracker, MODEL) as tracked:
        found = tracked.violations(kind, order_id, limit)
    if as_json:
        cli.print_json([render.violation_json(violation) for violation in found])
    else:
        for violation in found:
            click.echo("\n".join(render.violation_text(violation)))
        click.echo(f"{len(found)} violations" if found else "none")
    if found:
        sys.exit(1)


def _story(tracked: Tracked, order_id: str, at: int | None = None) -> Timeline:
    story = timeline(tracked, order_id, at)
    if story is None:
        _unknown(tracked, order_id, at)
    return story


def _unknown(tracked: Tracked, order_id: str, at: int | None) -> NoReturn:
    behind = tracked.behind()
    when = "" if at is None else f" at {moment(at)}"
    ago = f"wrote last {span(now() - behind.written_at)} ago" if behind.written_at else "has not read anything yet"
    lag = f" and was then {behind.offsets} records behind" if behind.offsets else " and had then read all of the log"
    cli.fail(
        f"no event of order {order_id!r}{when} in {tracked.path}. The tracker {ago}"
        f"{lag if behind.written_at else ''}. Is `saga track` running, and the id right?"
    )


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


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    cells = [list(columns), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
