"""The report of `saga audit verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saga.audit.verify import AuditVerdict

SHOWN = 50
"""Findings on a terminal; --json has more."""


def as_text(verdict: AuditVerdict, file: Path, *, live: bool) -> Iterator[str]:
    """Return the lines for people."""
    findings = verdict.findings
    for finding in findings.first[:SHOWN]:
        yield f"{finding.kind}: {finding.what}: {finding.detail}"
    if findings.count > SHOWN:
        yield f"... and {findings.count - SHOWN} more"
    whole = "complete and unaltered: it matches the log" if live else "complete and unaltered in itself"
    state = f"findings: {findings.count}" if findings.count else whole
    yield f"{file}: {verdict.records} records, {state}"
    if verdict.expired:
        yield f"{verdict.expired} of them have expired from the log since the export"
    if verdict.digest:
        yield f"digest {verdict.digest}"


def as_json(verdict: AuditVerdict, *, live: bool) -> dict[str, Any]:
    """Return the report for scripts."""
    summary = verdict.summary
    return {
        "ok": not verdict.findings.count,
        "compared_with_the_log": live,
        "records": verdict.records,
        "expired": verdict.expired,
        "digest": verdict.digest or None,
        "exported_at": summary.exported_at if summary else None,
        "cluster": summary.cluster if summary else None,
        "findings_total": verdict.findings.count,
        "findings": [finding._asdict() for finding in verdict.findings.first],
    }
