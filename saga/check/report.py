"""The report of `saga check`: as text, and as JSON for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eventbus.text.plural import plural
from saga.check.facts import Facts, LogFacts
from saga.check.laws import DESCRIPTIONS, Verdict
from saga.check.rules import LawViolation

SHOWN = 20


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What breaks no law, and waits for a worker or a person all the same."""

    orders: int
    """Orders whose saga has not ended."""
    parked: Mapping[str, int]
    """How many orders a service has parked, by service; only those that have any."""
    dead_letters: Mapping[str, int] | None
    """How many dead letters have no resolution, by service; only those that have any. None: they could not be read."""
    foreign: int
    """Records on the topics that are not events, but those whose dead letters were redriven or discarded."""
    unreadable: int
    """Batches on the topics that cannot be decompressed, but those that every service which reads them skipped."""

    @classmethod
    def of(
        cls, verdict: Verdict, facts: Facts, dead_letters: Mapping[str, int] | None, decided: Collection[str] = ()
    ) -> OpenWork:
        """Collect it from what was read; `decided` are the addresses about which nobody has to decide any more."""
        parked = Counter(fact.service for order in facts.parked.values() for fact in order)
        foreign = len(set(facts.log.undecodable) - set(decided))
        unreadable = len(set(facts.log.unreadable) - set(decided))
        return cls(verdict.open, parked, dead_letters, foreign, unreadable)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return each kind of open work, and the command that shows it."""
        if self.orders:
            yield plural(self.orders, "order has not ended", "orders have not ended"), "saga orders --stuck"
        for service, count in sorted(self.parked.items()):
            yield plural(count, "order is", "orders are") + f" parked in {service}", f"{service} parked list"
        for service, count in sorted((self.dead_letters or {}).items()):
            letters = plural(count, "open dead letter")
            yield f"{letters} of {service}", f"saga deadletters list --group {service}"
        if self.foreign:
            foreign = plural(self.foreign, "record is not an event", "records are not events")
            yield foreign, "saga violations --kind undecodable"
        if self.unreadable:
            batches = plural(self.unreadable, "batch cannot be decompressed", "batches cannot be decompressed")
            yield batches, "saga violations --kind unreadable"


def as_json(verdict: Verdict, log: LogFacts, work: OpenWork) -> dict[str, Any]:
    """Return the report with stable keys. `where` names records as topic/partition/offset."""
    counts = Counter(violation.law for violation in verdict.violations)
    return {
        "violations": [
            {"law": v.law, "order_id": v.order_id, "detail": v.detail, "where": [str(at) for at in v.where]}
            for v in verdict.violations
        ],
        "orders": verdict.orders,
        "open": verdict.open,
        "parked": dict(work.parked),
        "dead_letters": None if work.dead_letters is None else dict(work.dead_letters),
        "not_judged": verdict.not_judged,
        "events": _events(log),
        "undecodable": len(log.undecodable),
        "unreadable": list(log.unreadable),
        "truncated": {f"{topic}/{number}": start for (topic, number), start in sorted(log.truncated.items())},
        "laws": {law: counts[law] for law in DESCRIPTIONS},
    }


def as_text(verdict: Verdict, log: LogFacts, work: OpenWork) -> Iterator[str]:
    """Return the report line by line."""
    yield f"orders {verdict.orders}, of which {verdict.open} open"
    yield f"events {_events(log)}, records that are not events {len(log.undecodable)}"
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
    open_work = list(work.lines())
    width = max((len(what) for what, _ in open_work), default=0)
    for what, command in open_work:
        yield f"open: {what:{width}}  {command}"
    result = plural(len(verdict.violations), "violation") if verdict.violations else "clean"
    buts = [f"{plural(verdict.not_judged, 'order')} could not be judged fully"] if verdict.not_judged else []
    buts += ["not everything is done: see above"] if open_work else []
    yield result + (f", but {' and '.join(buts)}" if buts else "")


def truncation(verdict: Verdict, log: LogFacts) -> Iterator[str]:
    """Return the warning about partitions whose first records have expired."""
    if log.truncated:
        cut = ", ".join(
            f"{topic}/{number} begins at {start}" for (topic, number), start in sorted(log.truncated.items())
        )
        yield (
            f"INCOMPLETE HISTORY: {cut}. Events of {plural(verdict.not_judged, 'order')} may have expired: a missing"
            " event of theirs is not reported as a violation. The others are judged fully."
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
