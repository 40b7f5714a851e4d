"""What is wrong with an export, record by record."""

from __future__ import annotations

from typing import NamedTuple

MOST = 1_000
"""So many findings are kept; the rest is counted."""
ALTERED, MISSING, ADDED, REORDERED = "altered", "missing", "added", "reordered"
"""Always seen from the export: what is missing is missing there, what is added is in it and should not be."""


class AuditFinding(NamedTuple):
    """One record, line or partition, and what is wrong with it."""

    kind: str
    what: str
    """topic/partition/offset; or the line, where that says no address."""
    detail: str


class Findings:
    """The first ones in full, and how many there are."""

    def __init__(self) -> None:
        self.first: list[AuditFinding] = []
        self.count = 0

    def add(self, kind: str, what: str, detail: str) -> None:
        """Take note of one."""
        self.count += 1
        if len(self.first) < MOST:
            self.first.append(AuditFinding(kind, what, detail))
