"""The hash chain of an export, line by line: which lines were altered, removed, inserted or moved.

Three things protect a line: its own hash, the next line, which contains that hash, and the counts in the last line. A
change of one contradicts the others. Recomputing everything from the changed line to the end leaves no contradiction:
only the digest, stored elsewhere, and the log reveal that.
"""

from __future__ import annotations

from typing import NamedTuple

from saga.audit.findings import ADDED, ALTERED, MISSING, REORDERED, Findings
from saga.audit.lines import GENESIS, AuditLine

MEMORY = 10_000
"""How many lines back a link is searched; inserted and moved lines are distinguished that far."""
BEGINNING = "the beginning of the file"


class ChainLink(NamedTuple):
    """What is kept of a line."""

    name: str
    previous: str
    sound: bool


class BrokenLink(NamedTuple):
    """A line whose `previous` is not the hash of the line before it."""

    before: ChainLink
    after: ChainLink


class Chain:
    """Follows the lines from the first to the last."""

    def __init__(self) -> None:
        self._recent: dict[str, ChainLink] = {GENESIS: ChainLink(BEGINNING, "", sound=True)}
        self._strays: dict[str, ChainLink] = {}
        self._breaks: dict[str, BrokenLink] = {}
        self._altered: dict[str, ChainLink] = {}
        self._moved: list[ChainLink] = []
        self._copies: list[ChainLink] = []

    def take(self, line: AuditLine) -> None:
        """Check the next line."""
        link = ChainLink(line.name, line.previous, line.sound)
        if line.hash in self._recent or line.hash in self._strays:
            self._copies.append(link)
            return
        if not line.sound:
            self._altered[line.hash] = link
        self._follow(line.hash, link)
        self._recent[line.hash] = link
        if len(self._recent) > MEMORY:
            del self._recent[next(iter(self._recent))]

    def _follow(self, own: str, link: ChainLink) -> None:
        """Find the line that this one follows, if that is not the one before it."""
        tip = next(reversed(self._recent))
        if link.previous == tip:
            return
        if link.previous in self._recent:
            self._set_aside(link.previous)
        elif link.previous in self._strays:
            self._put_back(link.previous)
        elif link.sound and self._recent[tip].sound:
            self._breaks[own] = BrokenLink(self._recent[tip], link)

    def _set_aside(self, until: str) -> None:
        """Set the lines after `until` aside: this line does not follow them, so they were inserted or moved."""
        while (last := next(reversed(self._recent))) != until:
            self._strays[last] = self._recent.pop(last)
            self._breaks.pop(last, None)
            self._altered.pop(last, None)

    def _put_back(self, own: str) -> None:
        """Mark a line as moved: another line follows it, and it appeared too early."""
        while own in self._strays:
            link = self._strays.pop(own)
            self._moved.append(link)
            own = link.previous

    def report(self, findings: Findings, *, too_few: bool) -> None:
        """Report what was found; `too_few`: there are fewer lines than the last one states."""
        for link in self._altered.values():
            findings.add(ALTERED, link.name, "its hash does not match the line")
        for link in self._strays.values():
            findings.add(ADDED, link.name, "no line follows it")
        for link in self._copies:
            findings.add(ADDED, link.name, "the line appears earlier in the file")
        for link in reversed(self._moved):
            findings.add(REORDERED, link.name, "it appears before lines that it follows")
        for broken in self._breaks.values():
            before, after = broken.before.name, broken.after.name
            if too_few:
                findings.add(MISSING, f"after {before}", f"{after} follows another line, which is missing")
            else:
                findings.add(ALTERED, before, f"{after} follows another line, in the place of this one")
