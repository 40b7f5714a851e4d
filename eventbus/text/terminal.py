"""Output for terminals, without the control characters that they would execute: records may come from anyone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def visible(text: str) -> str:
    """Return the text with each non-printable character replaced; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


class Terminal:
    """A text stream to a terminal that shows everything `visible`. `raw` is the stream itself."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """See TextIO."""
        self.raw.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Delegate everything else to the stream."""
        return getattr(self.raw, name)


@contextmanager
def safe_stdout() -> Iterator[None]:
    """Write only printable text to stdout if it is a terminal; a file or a pipe gets every byte."""
    before = sys.stdout
    if before.isatty() and not isinstance(before, Terminal):
        sys.stdout = Terminal(before)
    try:
        yield
    finally:
        sys.stdout = before


def raw_stdout() -> TextIO:
    """Return the unfiltered stdout, for code that draws on a terminal and writes no foreign text."""
    return sys.stdout.raw if isinstance(sys.stdout, Terminal) else sys.stdout
