"""How help texts are laid out: summaries that are not cut, sections, and no line broken inside a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import click

HYPHEN = "\N{NON-BREAKING HYPHEN}"
LONGEST_SUMMARY = 200
OTHER = "Commands"


class WholeWords(click.HelpFormatter):
    """Breaks lines at blanks only: an option or a program's name that is broken at its hyphen cannot be copied."""

    def write_text(self, text: str) -> None:
        """See HelpFormatter."""
        super().write_text(text.replace("-", HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **options: Any) -> None:
        """See HelpFormatter."""
        super().write_dl(
            [(name.replace("-", HYPHEN), text.replace("-", HYPHEN)) for name, text in rows], *args, **options
        )

    def getvalue(self) -> str:
        """See HelpFormatter."""
        return super().getvalue().replace(HYPHEN, "-")


class WholeWordsContext(click.Context):
    """The context of a command whose help is formatted like this."""

    formatter_class = WholeWords


class CommandGroup(click.Group):
    """A group whose help lists its commands by section, each with its whole summary."""

    context_class = WholeWordsContext
    group_class = type
    sections: ClassVar[Mapping[str, Sequence[str]]] = {}
    """The names of the commands by the title of their section; commands without one come last."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command, whose help is formatted like the group's."""
        command = super().get_command(ctx, name)
        if command is not None:
            command.context_class = WholeWordsContext
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See Group."""
        for title, names in self.sectioned(ctx).items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, summary(command)) for name, command in found if command is not None])

    def sectioned(self, ctx: click.Context) -> dict[str, list[str]]:
        """Return the names of all commands by section."""
        listed = [name for names in self.sections.values() for name in names]
        others = [name for name in self.list_commands(ctx) if name not in listed]
        return {title: list(names) for title, names in {**self.sections, OTHER: others}.items() if names}


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    return command.get_short_help_str(LONGEST_SUMMARY)
