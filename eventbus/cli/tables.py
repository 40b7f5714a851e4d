"""Tables for people: columns where they fit, and otherwise one field a line, as psql's expanded form has it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

GAP = "  "


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows in columns, with headings; `right` names the columns of numbers.

    A terminal that is too narrow gets one field a line: it would break lines inside words. Without rows, only
    `none` is printed, on stderr.
    """
    cells = list(rows)
    if not cells:
        click.echo("none", err=True)
        return
    for line in table_lines(columns, cells, right=right, width=terminal_width()):
        click.echo(line)


def terminal_width() -> int | None:
    """Return how many columns the terminal has; None if stdout is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), width: int | None = None
) -> Iterator[str]:
    """Return the lines of the table; with a `width`, none is longer, except for a word that is longer itself."""
    cells = list(map(list, rows))
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    if width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        yield from _field_by_field(columns, cells, width)
        return
    sides = [str.rjust if column in right else str.ljust for column in columns]
    for line in (list(columns), *cells):
        padded = (side(cell, size) for side, cell, size in zip(sides, line, widths, strict=True))
        yield GAP.join(padded).rstrip()


def _field_by_field(columns: Sequence[str], rows: list[list[str]], width: int) -> Iterator[str]:
    name_width = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, cell in zip(columns, row, strict=True):
            if cell:
                yield from textwrap.wrap(
                    cell,
                    width,
                    initial_indent=name.ljust(name_width) + GAP,
                    subsequent_indent=" " * name_width + GAP,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
