"""`saga sql`: query the tracker's tables."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from eventbus.cli import options as cli
from eventbus.cli.tables import print_table
from eventbus.text.json_form import to_json
from saga.commands.exits import exit_cleanly
from saga.commands.tracker_option import tracker
from saga.tracker import render
from saga.tracker.installed import MODEL
from saga.tracker.queries import Tracked


@click.command("sql", context_settings=cli.CONTEXT)
@click.argument("statement")
@tracker
@cli.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
def sql_command(statement: str, tracker: Path, as_json: bool, as_csv: bool) -> None:
    """Query the tracker's tables: orders, events, steps, violations (docs/tracking.md). Read only.

    Example: saga sql "select status, count(*) from orders group by status"
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be combined: choose one")
    with exit_cleanly(), Tracked.at(tracker, MODEL) as tracked:
        columns, rows = tracked.select(statement)
        if as_csv:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        elif as_json:
            for row in rows:
                click.echo(to_json(dict(zip(columns, row, strict=True))))
        else:
            print_table(columns, ([render.cell(value) for value in row] for row in rows))
