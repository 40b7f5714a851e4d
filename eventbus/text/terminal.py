"""What a terminal is shown: without the control characters that it might obey; what is on the log may be anybody's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def visible(text: str) -> str:
    """Return the text with a replacement character for each one that is not printable; line ends and tabs stay."""
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
        """Everything else is the stream's."""
        return getattr(self.raw, name)


@contextmanager
def safe_stdout() -> Iterator[None]:
    """Show only what is visible on stdout as long as that is a terminal; a file or a pipe gets every byte."""
    before = sys.stdout
    if before.isatty() and not isinstance(before, Terminal):
        sys.stdout = Terminal(before)
    try:
        yield
    finally:
        sys.stdout = before


def raw_stdout() -> TextIO:
    """Return stdout for what draws on a terminal, and writes nothing but its own."""
    return sys.stdout.raw if isinstance(sys.stdout, Terminal) else sys.stdout
