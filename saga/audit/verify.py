"""Whether an export is unaltered, and whether it matches the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.json import decode

from saga.audit.chain import MEMORY, Chain
from saga.audit.findings import ADDED, ALTERED, MISSING, Findings
from saga.audit.lines import SUMMARY, AuditEntry, NotAnExport, lines_of
from saga.audit.summary import AuditTally, Summary
from saga.check.facts import Address
from saga.kafka.records import Ends

MOST_MISPLACED = 10_000


@dataclass
class AuditVerdict:
    """The result of reading an export."""

    findings: Findings = field(default_factory=Findings)
    summary: Summary | None = None
    digest: str = ""
    """The hash of the last line; it covers the whole file."""
    records: int = 0
    misplaced: dict[Address, str] = field(default_factory=dict)
    """Bodies of records that come after one with a later address."""
    expired: int = 0
    """Records that have expired from the log (retention): they do not count as missing there."""


def verify_file(path: Path) -> AuditVerdict:
    """Read the file once; memory grows only with what is wrong with it. Raises NotAnExport."""
    verdict, chain, tally = AuditVerdict(), Chain(), AuditTally()
    latest = Address("", -1, -1)
    ours = False
    behind_the_end = 0
    for line in lines_of(path):
        ours = ours or bool(line.previous)
        if not ours and line.number > MEMORY:
            break
        chain.take(line)
        if verdict.summary is not None:
            behind_the_end += 1
        elif SUMMARY in line.content:
            verdict.summary, verdict.digest = Summary.of(line.content), line.hash
        elif line.address is not None:
            verdict.records += 1
            tally.add(line.address, line.body)
            if line.address <= latest:
                _misplaced(verdict, line.address, line.body)
            latest = max(latest, line.address)
        elif line.sound:
            verdict.findings.add(ADDED, line.name, "it is neither a record nor the last line")
    if not ours:
        raise NotAnExport(f"{path} was not written by `saga audit export --format jsonl`")
    _report(verdict, chain, tally, behind_the_end)
    return verdict


def _misplaced(verdict: AuditVerdict, address: Address, body: str) -> None:
    if len(verdict.misplaced) < MOST_MISPLACED:
        verdict.misplaced.setdefault(address, body)


def _report(verdict: AuditVerdict, chain: Chain, tally: AuditTally, behind_the_end: int) -> None:
    summary, findings = verdict.summary, verdict.findings
    declared = summary.count if summary else 0
    chain.report(findings, too_few=verdict.records < declared)
    if behind_the_end:
        findings.add(ADDED, f"{behind_the_end} lines", "they come after the last line of the export")
    if summary is None:
        findings.add(MISSING, "the end of the file", "there is no last line with the counts: the file was truncated")
    elif not findings.count:
        for tp in sorted({*summary.records, *tally.tps}):
            said, found = summary.records.get(tp, (0, "")), tally.of(tp)
            if said != found:
                what = f"{tp[0]}/{tp[1]}"
                findings.add(ALTERED, what, f"its {found[0]} records do not have the digest of the {said[0]} exported")


def entries_of(path: Path) -> Iterator[AuditEntry]:
    """Return the records that are in order; the others are in `AuditVerdict.misplaced`."""
    latest = Address("", -1, -1)
    for line in lines_of(path):
        if line.address is not None and line.address > latest:
            latest = line.address
            yield AuditEntry(latest, line.body)


def compare(verdict: AuditVerdict, exported: Iterable[AuditEntry], logged: Iterable[AuditEntry], starts: Ends) -> None:
    """Compare the records of the export with those of the log, both sorted; `starts`: where the log begins now."""
    waiting = iter(exported)
    ahead = next(waiting, None)
    for entry in logged:
        while ahead is not None and ahead.address < entry.address:
            _not_there(verdict, ahead.address, starts)
            ahead = next(waiting, None)
        if ahead is not None and ahead.address == entry.address:
            _same(verdict, ahead.body, entry)
            ahead = next(waiting, None)
        elif entry.address in verdict.misplaced:
            _same(verdict, verdict.misplaced.pop(entry.address), entry)
        else:
            verdict.findings.add(MISSING, str(entry.address), "it is in the log, but not in the export")
    for address in (*([] if ahead is None else [ahead.address]), *(entry.address for entry in waiting)):
        _not_there(verdict, address, starts)
    for address in verdict.misplaced:
        _not_there(verdict, address, starts)


def _not_there(verdict: AuditVerdict, address: Address, starts: Ends) -> None:
    if address.offset < starts.get((address.topic, address.partition), 0):
        verdict.expired += 1
    else:
        verdict.findings.add(ADDED, str(address), "it is in the export, but not in the log")


def _same(verdict: AuditVerdict, exported: str, logged: AuditEntry) -> None:
    if exported == logged.body:
        return
    ours, theirs = decode(exported), decode(logged.body)
    fields = [name for name in (*theirs, *(ours.keys() - theirs)) if ours.get(name) != theirs.get(name)]
    verdict.findings.add(ALTERED, str(logged.address), f"differs from the log: {', '.join(fields) or 'its spelling'}")
