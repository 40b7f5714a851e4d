"""What is wrong with an export, record by record."""

from __future__ import annotations

from typing import NamedTuple

MOST = 1_000
"""How many findings are kept; the rest is counted."""
ALTERED, MISSING, ADDED, REORDERED = "altered", "missing", "added", "reordered"
"""From the export's point of view: missing is not in it and should be, added is in it and should not be."""


class AuditFinding(NamedTuple):
    """One record, line or partition, and what is wrong with it."""

    kind: str
    what: str
    """topic/partition/offset; or the line, if it has no address."""
    detail: str


class Findings:
    """The first findings in full, and how many there are."""

    def __init__(self) -> None:
        self.first: list[AuditFinding] = []
        self.count = 0

    def add(self, kind: str, what: str, detail: str) -> None:
        """Add a finding."""
        self.count += 1
        if len(self.first) < MOST:
            self.first.append(AuditFinding(kind, what, detail))
