"""Which dead letters a command is about."""

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
"""What --where can ask: `error` contains the text, the others are equal to it."""


class NoSuchLetter(LookupError):
    """There is no such dead letter, or this cannot be done with it."""


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """The letters at these addresses, or all of a group, or of all groups; of them those that pass every test."""

    addresses: tuple[str, ...] = ()
    group: str | None = None
    tests: tuple[tuple[str, str], ...] = ()

    @classmethod
    def named(cls, *addresses: str) -> Self:
        """Return the selection of these. Raises click.BadParameter for what is no address, or of several groups."""
        try:
            found = {group_of(address) for address in addresses}
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        if len(found) > 1:
            raise click.BadParameter(
                f"the letters of one group at a time, please: these are {', '.join(sorted(found))}"
            )
        return cls(tuple(addresses), next(iter(found), None))

    def groups(self, everything: Callable[[], list[str]]) -> list[str]:
        """Return the groups to look through."""
        return [self.group] if self.group else everything()

    def of(self, letters: Iterable[Letter]) -> Iterator[Letter]:
        """Return the letters that are meant."""
        for letter in letters:
            named = not self.addresses or letter.address in self.addresses
            if named and all(TESTS[what](letter, text) for what, text in self.tests):
                yield letter

    def found(self, letters: Iterable[Letter]) -> list[Letter]:
        """Return the letters at the addresses, in their order. Raises NoSuchLetter where one is missing."""
        there = {letter.address: letter for letter in self.of(letters)}
        for address in self.addresses:
            if address not in there:
                raise NoSuchLetter(f"there is no such dead letter: {address}; `saga deadletters list` shows them")
        return [there[address] for address in dict.fromkeys(self.addresses)]


def selecting(command: F) -> F:
    """Decorate a click command with which letters it is about; it is called with `selection=LetterSelection(...)`."""

    @wraps(command)
    def with_selection(letters: tuple[str, ...], group: str | None, tests: Any, **options: Any) -> Any:
        selection = LetterSelection.named(*letters)
        if group and selection.group not in (None, group):
            raise click.BadParameter(f"--group {group}: the letters are of {selection.group}")
        return command(selection=LetterSelection(selection.addresses, group or selection.group, tests), **options)

    options = (
        click.argument("letters", nargs=-1, metavar="[LETTER]..."),
        click.option("--group", help="Only this service's, e.g. payment-service  [default: all]"),
        click.option(
            "--where",
            "tests",
            metavar="WHAT=TEXT",
            multiple=True,
            callback=cli.tests_of(TESTS),
            help="Only those of which this is so: error=TEXT (contains it), reason=WORD, topic=NAME, key=KEY.",
        ),
    )
    decorated: Any = with_selection
    for option in reversed(options):
        decorated = option(decorated)
    return cast("F", decorated)
