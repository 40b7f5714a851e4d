"""The dead letters that a command applies to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Self, TypeVar, cast

import click

from eventbus.cli import options as cli
from saga.deadletters.letters import Letter, group_of

F = TypeVar("F", bound=Callable[..., Any])

TESTS: dict[str, Callable[[Letter, str], bool]] = {
    "error": lambda letter, text: text in letter.said.get("dlq_error", ""),
    "reason": lambda letter, text: text == letter.said.get("dlq_reason", ""),
    "topic": lambda letter, text: text == letter.said.get("dlq_topic", ""),
    "key": lambda letter, text: text.encode() == letter.record.key,
}
"""The fields of --where: `error` must contain the text, the others must equal it."""


class NoSuchLetter(LookupError):
    """The dead letter does not exist, or this cannot be done with it."""


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """The letters at these addresses, or all of a group, or of all groups; filtered by the tests."""

    addresses: tuple[str, ...] = ()
    group: str | None = None
    tests: tuple[tuple[str, str], ...] = ()

    @classmethod
    def named(cls, *addresses: str) -> Self:
        """Return the selection of these addresses. Raises click.BadParameter for a bad one, or for several groups."""
        try:
            found = {group_of(address) for address in addresses}
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        if len(found) > 1:
            raise click.BadParameter(f"the letters must be of one group, but these are of {', '.join(sorted(found))}")
        return cls(tuple(addresses), next(iter(found), None))

    def groups(self, everything: Callable[[], list[str]]) -> list[str]:
        """Return the groups to search."""
        return [self.group] if self.group else everything()

    def of(self, letters: Iterable[Letter]) -> Iterator[Letter]:
        """Return the selected ones of these letters."""
        for letter in letters:
            named = not self.addresses or letter.address in self.addresses
            if named and all(TESTS[what](letter, text) for what, text in self.tests):
                yield letter

    def found(self, letters: Iterable[Letter]) -> list[Letter]:
        """Return the letters at the addresses, in their order. Raises NoSuchLetter if one is missing."""
        there = {letter.address: letter for letter in self.of(letters)}
        for address in self.addresses:
            if address not in there:
                raise NoSuchLetter(f"the dead letter {address} does not exist; `saga deadletters list` lists them")
        return [there[address] for address in dict.fromkeys(self.addresses)]


def selecting(command: F) -> F:
    """Add the options that select letters to a click command; it is called with `selection=LetterSelection(...)`."""

    @wraps(command)
    def with_selection(letters: tuple[str, ...], group: str | None, tests: Any, **options: Any) -> Any:
        selection = LetterSelection.named(*letters)
        if group and selection.group not in (None, group):
            raise click.BadParameter(f"--group {group}: the letters are of {selection.group}")
        return command(selection=LetterSelection(selection.addresses, group or selection.group, tests), **options)

    options = (
        click.argument("letters", nargs=-1, metavar="[LETTER]..."),
        click.option(
            "--group",
            callback=cli.not_empty,
            help="Only dead letters of this service, e.g. payment-service  [default: all]",
        ),
        click.option(
            "--where",
            "tests",
            metavar="WHAT=TEXT",
            multiple=True,
            callback=cli.tests_of(TESTS),
            help="Only those that match: error=TEXT (contains it), reason=WORD, topic=NAME, key=KEY.",
        ),
    )
    decorated: Any = with_selection
    for option in reversed(options):
        decorated = option(decorated)
    return cast("F", decorated)
