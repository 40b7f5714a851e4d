"""What `saga chaos` says at the end: for people, and as JSON with stable keys."""

from __future__ import annotations

import platform
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import confluent_kafka

from choreography.chaos.faults import Happened
from choreography.chaos.fleet import Death, Exit
from choreography.chaos.recoveries import Recovery, calm, spread
from choreography.chaos.timeline import KINDS
from choreography.check.facts import LogFacts
from choreography.check.laws import Verdict
from choreography.check.report import as_json as check_as_json
from choreography.check.report import as_text as check_as_text

FIGURES = {
    "duplicates": ("each-event-once", "one-answer-per-cause"),
    "double_charges": ("confirmed-is-charged-once", "cancelled-nets-to-zero", "payment-is-what-the-provider-says"),
    "bad_stock": ("reserved-stock-adds-up", "stock-covers-reservations"),
    "lost": ("order-iff-order-created", "event-has-its-state", "state-is-announced", "cause-is-on-the-log"),
}
"""Which broken laws count as what."""
LIMITS = {"restarted": 5.0, "taken_over": 15.0, "exit": 5.0, "back": 30.0}
"""Seconds, for the classic protocol. What is slower is said, not a failure: the machine may be busy."""


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
    def times(self) -> dict[str, dict[str, Any]]:
        """Return how long things took, in seconds; `alone`: with nothing else wrong at the time."""
        happened = [recovery.happened for recovery in self.recoveries]
        kills, longs = self._of("kill"), self._of("kill-long")
        return {
            "restarted": spread(r.since_healed for r in kills),
            "restarted_alone": spread(r.since_healed for r in kills if r.alone),
            "taken_over": spread(r.since_fault for r in longs),
            "taken_over_alone": spread(r.since_fault for r in longs if r.alone),
            "exit": spread(each.seconds for each in self.exits),
            "exit_alone": spread(each.seconds for each in self.exits if calm(each, happened)),
            "back": spread(r.until_back for r in self.recoveries),
        }

    @property
    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Return, by kind of fault, how often it happened, and seconds from its end until the services worked again.

        For faults of the brokers: until every worker did.
        """
        kinds = {recovery.happened.fault.kind for recovery in self.recoveries}
        return {
            kind: {"faults": len(self._of(kind)), "again": spread(_again(r) for r in self._of(kind))}
            for kind in KINDS
            if kind in kinds
        }

    @property
    def exit_codes(self) -> dict[str, int]:
        """Return how often workers ended with which code: told to, or by themselves."""
        codes = Counter(str(each.code) for each in self.exits)
        return dict(codes + Counter(f"{death.code} by itself" for death in self.deaths))

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
        "failures": list(outcome.failures),
        "times": outcome.times,
        "limits": LIMITS,
        "faults": dict(Counter(recovery.happened.fault.kind for recovery in outcome.recoveries)),
        "by_kind": outcome.by_kind,
        "exit_codes": outcome.exit_codes,
        "timeline": [_entry(recovery, outcome.start) for recovery in outcome.recoveries],
        "check": check_as_json(outcome.verdict, outcome.log),
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
        yield f"{kind:<13} {told['faults']:>4} times  {'  '.join(f'{k} {v}' for k, v in told['again'].items())}"
    yield ""
    for name, times in outcome.times.items():
        within = LIMITS[name.removesuffix("_alone")]
        late = (
            "" if times.get("max" if name == "back" else "p99", 0) <= within else f"  LATE: {within:g} s are promised"
        )
        yield f"{name:<18} {'  '.join(f'{key} {value}' for key, value in times.items())}{late}"
    yield ""
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(outcome.exit_codes.items()))
    yield f"exit codes of workers {codes}"
    yield from check_as_text(outcome.verdict, outcome.log)
    yield from (f"FAILURE: {failure}" for failure in outcome.failures)
    yield f"records read while it ran and again at the end {outcome.records}, orders placed {outcome.placed}"
    yield ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in outcome.figures.items())


def _again(recovery: Recovery) -> float | None:
    """Return the seconds from the end of a fault until the work went on."""
    if recovery.back is not None:
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
