"""Following the log into the tracker's database, and rebuilding it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from eventbus.serde.registry import RegistryUnavailable
from saga.kafka.census import Census, UnreadPartition
from saga.kafka.reader import Reader
from saga.kafka.waiting import OutageNews
from saga.tracker.fold import TrackedViolation
from saga.tracker.intake import Batch, TrackerIntake, unreadable
from saga.tracker.store import Store

MOST_AT_ONCE = 10_000
POLL_SECONDS = 0.5
SAY_SECONDS = 5.0
ALIVE_SECONDS = 60.0


class Watch:
    """The output of a running tracker: a log line every few seconds, and metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.log = structlog.get_logger()
        self.broker = OutageNews(self._broker_away, self._broker_reached)
        """Logs outages."""
        self._events = Counter("saga_tracked_events", "Events stored.", registry=self.registry)
        self._violations = Gauge(
            "saga_violations", "Records on the log that no declaration allows.", ["kind"], registry=self.registry
        )
        self._behind = Gauge("saga_tracker_behind_records", "Offsets not yet read.", registry=self.registry)
        self._turned = self._said = time.monotonic()
        self._since_said = 0
        self._waits, self._waited = False, -SAY_SECONDS
        self._known: dict[str, int] = {}
        self._at_end = False
        self._stuck: list[str] = []

    def not_alive(self) -> list[str]:
        """Return why it is stuck; empty if it is not."""
        return [] if time.monotonic() - self._turned < ALIVE_SECONDS else ["the loop is stuck"]

    def not_ready(self) -> list[str]:
        """Return why it is not ready: it has not read the whole log once, or a partition is not read."""
        return [*([] if self._at_end else ["it is still reading the existing log"]), *self._stuck]

    def stuck(self, partitions: Sequence[UnreadPartition]) -> None:
        """Store which partitions are not read; new ones are logged."""
        said = [str(each) for each in partitions]
        for each in said:
            if each not in self._stuck:
                self.log.warning("partition.not.read", why=each, do="restart it; saga track --rebuild --verify")
        self._stuck = said

    def turned(self, events: int, behind: int | None, complaint: str, *, at_end: bool) -> None:
        """Record one iteration of the loop; `behind` is None if it was not queried."""
        self._turned, self._at_end = time.monotonic(), at_end
        self._events.inc(events)
        if behind is not None:
            self._behind.set(behind)
        self._since_said += events
        if complaint:
            self.waiting(complaint)
        elif self._waits:
            self._waits = False
            self.log.info("waiting.over")
        if self._turned - self._said >= SAY_SECONDS:
            if self._since_said:
                rate = round(self._since_said / (self._turned - self._said))
                self.log.info("events.tracked", events=self._since_said, events_per_second=rate, behind=behind)
            self._said, self._since_said = self._turned, 0

    def waiting(self, why: str) -> None:
        """Log what else it waits for, at most every few seconds; waiting is not being stuck."""
        self._turned, self._waits = time.monotonic(), True
        if self._turned - self._waited >= SAY_SECONDS:
            self.log.warning("waiting", why=why)
            self._waited = self._turned

    def _broker_away(self, why: str) -> None:
        self._turned = time.monotonic()
        self.log.warning("waiting", why=why)

    def _broker_reached(self, seconds: float) -> None:
        self.log.info("kafka.reached", seconds=round(seconds, 1))

    def violations(self, counts: Mapping[str, int]) -> None:
        """Store the number of violations; new ones are logged."""
        for kind, count in counts.items():
            self._violations.labels(kind).set(count)
            if count > self._known.get(kind, 0):
                self.log.warning("violations", kind=kind, count=count, see="saga violations")
        self._known = dict(counts)


class Tracking:
    """One pass over the log into one store. Whatever the reader returns is written, with the next offset."""

    def __init__(self, reader: Reader, intake: TrackerIntake, store: Store, watch: Watch, census: Census) -> None:
        self._reader, self._intake, self._store, self._watch = reader, intake, store, watch
        self._census = census
        self._passed_by = 0
        self._written: dict[tuple[str, int], tuple[int, int]] = {}
        watch.violations(store.counts())

    @property
    def done(self) -> bool:
        """Whether the whole existing log has been read, according to the reader and the brokers. Raises NotRead."""
        return self._census.all_read(self._reader.positions) and self._reader.at_end

    def run_once(self) -> int:
        """Read available records, write them, and return their number."""
        messages = self._reader.receive(POLL_SECONDS, MOST_AT_ONCE)
        batch = self._batch(messages)
        batch.undecodable.extend(self._unreadable())
        positions = self._positions()
        moved = {at: where for at, where in positions.items() if self._written.get(at) != where}
        judged = self._store.write(batch, moved) if moved else False
        self._written.update(moved)
        if not self._reader.outage.active and self._census.look(self._reader.positions):
            self._store.note_ends(self._census.ends)
            self._watch.stuck(self._census.stuck)
        ends = {**self._census.ends, **{at: end for at, (_, end) in positions.items()}}
        behind = sum(max(0, end - positions.get(at, (0, 0))[0]) for at, end in ends.items())
        self._watch.broker.look(self._reader.outage)
        self._watch.turned(len(messages), behind, self._reader.complaint, at_end=self._reader.at_end)
        if judged:
            self._watch.violations(self._store.counts())
        return len(messages)

    def _unreadable(self) -> Iterator[TrackedViolation]:
        """Return the violations for batches that were skipped since the last call."""
        for at, batch in self._reader.unreadable[self._passed_by :]:
            yield unreadable(at, batch)
        self._passed_by = len(self._reader.unreadable)

    def _batch(self, messages: list[Any]) -> Batch:
        while True:
            try:
                return self._intake.batch(messages)
            except RegistryUnavailable as why:
                self._watch.turned(0, None, str(why), at_end=False)
                time.sleep(POLL_SECONDS)

    def _positions(self) -> dict[tuple[str, int], tuple[int, int]]:
        found = self._reader.positions
        return {(at.topic, at.number): (offset, max(offset, self._reader.end(at))) for at, offset in found.items()}


def aside(path: Path) -> Path:
    """Return an unused file name beside the database, for rebuilding it."""
    fresh = path.with_name(f"{path.name}.rebuilding")
    remove(fresh)
    return fresh


def remove(path: Path) -> None:
    """Delete a database with SQLite's files beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
