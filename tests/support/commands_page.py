"""Writes docs/commands.md from the help of the commands: `make docs`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

import inventory_service.__main__
import order_service.__main__
import payment_service.__main__
import saga.__main__
from eventbus.cli.help import CommandGroup, summary

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
PROGRAMS = {
    "saga": saga.__main__.main,
    "order-service": order_service.__main__.main,
    "payment-service": payment_service.__main__.main,
    "inventory-service": inventory_service.__main__.main,
}
HEAD = """# Commands

Made from the help of the commands by `make docs`; a test compares. Every command has `--help` with an example and the
environment variables that set its options. Data goes to stdout, logs and errors to stderr; with `--json` reports have
stable keys. A table that does not fit into the terminal is printed one field a line. Not installed? `python -m saga`,
`order_service`, `payment_service`, `inventory_service`.

Where a command takes the id of one order, its beginning is enough, or its end of four characters or more, if only one
order is meant. Only `--order` of `payment-service outage` takes the whole id: of an order that is still to come, too.
"""
FOOT = """
## Completion

The shell completes commands and options, the ids of orders by how they begin, the names of topics and of workers. For
bash, in ~/.bashrc; with `zsh_source` (after `autoload -Uz compinit && compinit`) or `fish_source` instead of
`bash_source` for these shells:

```sh
eval "$(_SAGA_COMPLETE=bash_source saga)"
eval "$(_ORDER_SERVICE_COMPLETE=bash_source order-service)"
eval "$(_PAYMENT_SERVICE_COMPLETE=bash_source payment-service)"
eval "$(_INVENTORY_SERVICE_COMPLETE=bash_source inventory-service)"
```

Ids come from where the command would read them: the tracker (`SAGA_TRACKER`), or the service's database.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for program, group in PROGRAMS.items():
        context = click.Context(group)
        for title, names in group.sectioned(context).items():
            section = f": {title.lower()}" if group.sections else ""
            rows = [row for name in names for row in _rows(f"{program} {name}", group, context, name)]
            parts.append("\n".join([f"## {program}{section}", "", "| command | does |", "|---|---|", *rows, ""]))
    return "\n".join(parts) + FOOT


def _rows(path: str, group: CommandGroup, context: click.Context, name: str) -> Iterator[str]:
    command = group.get_command(context, name)
    assert command is not None, path
    if isinstance(command, CommandGroup):
        below = click.Context(command)
        for each in command.list_commands(below):
            yield from _rows(f"{path} {each}", command, below, each)
        return
    given = [piece for p in command.params if isinstance(p, click.Argument) for piece in p.get_usage_pieces(context)]
    usage = " ".join([path, *given]).replace("|", r"\|")
    yield f"| `{usage}` | {summary(command)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
