"""The report of `saga check`: as text, and as JSON for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from saga.check.facts import LogFacts
from saga.check.laws import DESCRIPTIONS, Verdict
from saga.check.rules import LawViolation

SHOWN = 20


def as_json(verdict: Verdict, log: LogFacts) -> dict[str, Any]:
    """Return the report with stable keys. `where` names records as topic/partition/offset."""
    counts = Counter(violation.law for violation in verdict.violations)
    return {
        "violations": [
            {"law": v.law, "order_id": v.order_id, "detail": v.detail, "where": [str(at) for at in v.where]}
            for v in verdict.violations
        ],
        "orders": verdict.orders,
        "open": verdict.open,
        "not_judged": verdict.not_judged,
        "events": _events(log),
        "undecodable": log.undecodable,
        "unreadable": list(log.unreadable),
        "truncated": {f"{topic}/{number}": start for (topic, number), start in sorted(log.truncated.items())},
        "laws": {law: counts[law] for law in DESCRIPTIONS},
    }


def as_text(verdict: Verdict, log: LogFacts) -> Iterator[str]:
    """Return the report line by line."""
    yield f"orders {verdict.orders}, of which {verdict.open} open"
    yield f"events {_events(log)}, records that are not events {log.undecodable}"
    if log.unreadable:
        yield f"batches that cannot be decompressed, so their content is unknown: {', '.join(log.unreadable)}"
    yield from truncation(verdict, log)
    yield ""
    counts = Counter(violation.law for violation in verdict.violations)
    width = max(map(len, DESCRIPTIONS))
    for law, text in DESCRIPTIONS.items():
        yield f"{_outcome(counts[law]):>10}  {law:{width}}  {text}"
    yield ""
    for violation in verdict.violations[:SHOWN]:
        yield from _shown(violation)
    if len(verdict.violations) > SHOWN:
        yield f"… and {len(verdict.violations) - SHOWN} more; --json has them all"
    result = f"{len(verdict.violations)} violations" if verdict.violations else "clean"
    yield result + (f", but {verdict.not_judged} orders could not be judged fully" if verdict.not_judged else "")


def truncation(verdict: Verdict, log: LogFacts) -> Iterator[str]:
    """Return the warning about partitions whose first records have expired."""
    if log.truncated:
        cut = ", ".join(
            f"{topic}/{number} begins at {start}" for (topic, number), start in sorted(log.truncated.items())
        )
        yield (
            f"INCOMPLETE HISTORY: {cut}. Events of {verdict.not_judged} orders may have expired: a missing event"
            " of theirs is not reported as a violation. The others are judged fully."
        )


def _events(log: LogFacts) -> int:
    return sum(map(len, log.events.values()))


def _outcome(count: int) -> str:
    return f"{count} BROKEN" if count else "ok"


def _shown(violation: LawViolation) -> Iterator[str]:
    about = f"order {violation.order_id}" if violation.order_id else "stock"
    yield f"{violation.law}: {about}: {violation.detail}"
    if violation.where:
        yield f"    see {', '.join(map(str, violation.where))}"
