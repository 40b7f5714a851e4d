"""What `make chaos` says at the end: for people, and as JSON with stable keys."""

from __future__ import annotations

import platform
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import confluent_kafka

from saga.check.facts import LogFacts
from saga.check.laws import Verdict
from saga.check.report import OpenWork
from saga.check.report import as_json as check_as_json
from saga.check.report import as_text as check_as_text
from schemas import InventoryReleased, OrderCancelled, OrderConfirmed, PaymentRefunded
from tests.chaos.faults import Happened
from tests.chaos.fleet import Death, Exit, Refusal
from tests.chaos.recoveries import Recovery, calm, spread, unmoved
from tests.chaos.timeline import BACK_SECONDS, KINDS, TO_BROKERS

FIGURES = {
    "duplicates": ("each-event-once", "one-answer-per-cause"),
    "double_charges": ("confirmed-is-charged-once", "cancelled-nets-to-zero", "payment-is-what-the-provider-says"),
    "bad_stock": ("reserved-stock-adds-up", "stock-covers-reservations"),
    "lost": ("order-iff-order-created", "event-has-its-state", "state-is-published", "cause-is-on-the-log"),
}
"""Which broken laws count as what."""
LIMITS = {"restarted": 5.0, "taken_over": 15.0, "exit": 5.0, "back": BACK_SECONDS, "refused": 5.0}
"""Seconds, for the classic protocol; judged where nothing else was wrong. What is slower is said, not a failure: the
machine may be busy."""
ALONE, OVERLAPPED = "alone", "overlapped"
ENDINGS = {
    OrderConfirmed.topic: "confirmed",
    OrderCancelled.topic: "cancelled",
    PaymentRefunded.topic: "refunded",
    InventoryReleased.topic: "released",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that a run left."""

    settings: dict[str, Any]
    start: float
    placed: int
    asked_again: int
    recoveries: Sequence[Recovery]
    exits: Sequence[Exit]
    deaths: Sequence[Death]
    """Workers that ended by themselves and were started again."""
    refusals: Sequence[Refusal]
    """Workers that refused to go on, as they had to."""
    in_vain: Sequence[str]
    """Faults that were not made, and why."""
    records: int
    verdict: Verdict
    log: LogFacts
    failures: Sequence[str]
    """What else went wrong: workers that died, readers that disagree, orders that ended otherwise than they had to."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures and not self.verdict.violations and not self.verdict.open

    @property
    def figures(self) -> dict[str, int]:
        """Return what must be 0: by kind, how many violations."""
        laws = Counter(violation.law for violation in self.verdict.violations)
        found = {name: sum(laws[law] for law in named) for name, named in FIGURES.items()}
        found["lost"] += max(0, self.placed - self.verdict.orders)
        return found | {"unfinished": self.verdict.open, "violations": laws.total(), "failures": len(self.failures)}

    @property
    def endings(self) -> dict[str, int]:
        """Return how many orders ended how, and how often something was undone, by the events on the log."""
        found = Counter[str]()
        for events in self.log.events.values():
            for event in events:
                if event.topic == OrderCancelled.topic and event.cause is None:
                    found[
                        "cancelled when its deadline had passed" if event.deadline else "cancelled by its customer"
                    ] += 1
                elif event.topic in ENDINGS:
                    found[ENDINGS[event.topic]] += 1
        return dict(sorted(found.items()))

    @property
    def times(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return how long things took, in seconds: `alone` with nothing else wrong at the time, `overlapped` else."""
        happened = [recovery.happened for recovery in self.recoveries]
        return {
            "restarted": _split((r.since_healed, r.alone) for r in self._of("kill")),
            "taken_over": _split((r.since_fault, r.alone) for r in self._of("kill-long")),
            "exit": _split((each.seconds, calm(each, happened)) for each in self.exits),
            "back": _split((r.until_back, r.alone) for r in self.recoveries if r.happened.fault.kind in TO_BROKERS),
            "refused": _split((each.seconds, unmoved(each, happened)) for each in self.refusals),
        }

    @property
    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Return, by kind of fault, how often it happened, and seconds from its end until the services worked again.

        For faults of the brokers: until every worker did. Where workers had to refuse: from its begin until they had.
        """
        kinds = {recovery.happened.fault.kind for recovery in self.recoveries}
        happened = [recovery.happened for recovery in self.recoveries]
        told: dict[str, dict[str, Any]] = {}
        for kind in (kind for kind in KINDS if kind in kinds):
            told[kind] = {"faults": len(self._of(kind)), "again": _split((_again(r), r.alone) for r in self._of(kind))}
            refused = [(each.seconds, unmoved(each, happened)) for each in self.refusals if each.kind == kind]
            if refused:
                told[kind]["refused"] = _split(refused)
        return told

    @property
    def exit_codes(self) -> dict[str, int]:
        """Return how often workers ended with which code: told to, or by themselves."""
        codes = Counter(str(each.code) for each in self.exits)
        codes += Counter(f"{death.code} by itself" for death in self.deaths)
        return dict(codes + Counter("3, as it had to" for _ in self.refusals))

    def _of(self, kind: str) -> list[Recovery]:
        return [recovery for recovery in self.recoveries if recovery.happened.fault.kind == kind]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the report with stable keys; times of the timeline in seconds since the start."""
    return {
        "clean": outcome.clean,
        "settings": outcome.settings,
        "versions": versions(),
        "placed": outcome.placed,
        "asked_again": outcome.asked_again,
        "records_audited": outcome.records,
        "figures": outcome.figures,
        "endings": outcome.endings,
        "failures": list(outcome.failures),
        "times": outcome.times,
        "limits": LIMITS,
        "faults": dict(Counter(recovery.happened.fault.kind for recovery in outcome.recoveries)),
        "by_kind": outcome.by_kind,
        "exit_codes": outcome.exit_codes,
        "not_made": list(outcome.in_vain),
        "timeline": [_entry(recovery, outcome.start) for recovery in outcome.recoveries],
        "check": check_as_json(outcome.verdict, outcome.log, _open_work(outcome)),
    }


def versions() -> dict[str, str]:
    """Return what it ran on, as far as it is known here."""
    python, client = platform.python_version(), confluent_kafka.libversion()[0]
    return {"python": python, "librdkafka": client, "sqlite": sqlite3.sqlite_version}


def as_text(outcome: Outcome) -> Iterator[str]:
    """Return the report line by line."""
    yield "seconds from the fault until its partitions went on, and until a batch was handled again"
    yield f"{'at':>7}  {'fault':<12} {'target':<20} {'lasted':>7} {'went on':>8}  {'handled':>8}"
    for recovery in outcome.recoveries:
        yield _line(recovery.happened, recovery, outcome.start)
    yield ""
    yield "seconds from the end of a fault until every service handled a batch; of brokers: until every worker did"
    for kind, told in outcome.by_kind.items():
        yield f"{kind:<13} {told['faults']:>4} times"
        for name in ("again", "refused"):
            yield from (f"    {name:<10} {which:<11} {_told(times)}" for which, times in told.get(name, {}).items())
    yield ""
    yield "seconds; judged is what was alone"
    for name, split in outcome.times.items():
        slowest = split[ALONE].get("max" if name in ("back", "refused") else "p99", 0)
        late = "" if slowest <= LIMITS[name] else f"  LATE: {LIMITS[name]:g} s are promised"
        yield f"{name:<11} {ALONE:<11} {_told(split[ALONE])}{late}"
        yield f"{name:<11} {OVERLAPPED:<11} {_told(split[OVERLAPPED])}"
    yield from (f"not made: {each}" for each in outcome.in_vain)
    yield ""
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(outcome.exit_codes.items()))
    yield f"exit codes of workers {codes}"
    yield from check_as_text(outcome.verdict, outcome.log, _open_work(outcome))
    yield from (f"FAILURE: {failure}" for failure in outcome.failures)
    yield f"records read while it ran and again at the end {outcome.records}, orders placed {outcome.placed}"
    yield ", ".join(f"{name} {count}" for name, count in outcome.endings.items())
    yield ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in outcome.figures.items())


def _open_work(outcome: Outcome) -> OpenWork:
    """Return what is open; the course itself has judged what is parked, and decided about the dead letters."""
    return OpenWork(outcome.verdict.open, {}, None, len(outcome.log.undecodable), len(outcome.log.unreadable))


def _split(measured: Iterable[tuple[float | None, bool]]) -> dict[str, dict[str, Any]]:
    """Return the spread of what was alone, and of what was not."""
    measured = list(measured)
    alone, overlapped = ([s for s, was_alone in measured if was_alone is so] for so in (True, False))
    return {ALONE: spread(alone), OVERLAPPED: spread(overlapped)}


def _told(times: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value}" for key, value in times.items())


def _again(recovery: Recovery) -> float | None:
    """Return the seconds from the end of a fault until the work went on."""
    if recovery.happened.fault.kind in TO_BROKERS:
        return recovery.until_back
    return None if recovery.handled is None else max(0.0, recovery.handled - recovery.happened.ended)


def _line(happened: Happened, recovery: Recovery, start: float) -> str:
    fault = happened.fault
    went_on, handled = (f"{s:.1f}" if s is not None else "-" for s in (recovery.since_fault, recovery.silence))
    lasted, beside = happened.ended - happened.began, "" if recovery.alone else "  not alone"
    what = f"{fault.target} {fault.how}".strip()
    return (
        f"{happened.began - start:7.1f}  {fault.kind:<12} {what:<20} {lasted:7.1f} {went_on:>8}  {handled:>8}{beside}"
    )


def _entry(recovery: Recovery, start: float) -> dict[str, Any]:
    fault, began, ended = recovery.happened
    return {
        "planned": fault.at,
        "began": round(began - start, 2),
        "kind": fault.kind,
        "target": fault.target,
        "how": fault.how,
        "lasted": round(ended - began, 2),
        "went_on": _rounded(recovery.since_fault),
        "went_on_after_healing": _rounded(recovery.since_healed),
        "handled": _rounded(recovery.silence),
        "back_after_healing": _rounded(recovery.until_back),
        "alone": recovery.alone,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
