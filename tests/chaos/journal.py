"""What the workers' logs say about recoveries: which partitions a worker had, and when somebody went on with them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

TOLD = ("worker.started", "partitions.assigned", "partitions.revoked", "partitions.lost", "partition.recovered")
HANDLED = "batch.handled"


class Line(NamedTuple):
    """One line of a log that tells of partitions."""

    at: float
    worker: str
    event: str
    partitions: tuple[str, ...]


class Journal:
    """The logs of all workers of a run; times are seconds since 1970."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._lines: dict[str, list[Line]] = defaultdict(list)
        self._handled: dict[str, list[float]] = {}
        for worker, path in logs.items():
            handled = self._handled.setdefault(worker, [])
            for found in _entries(path):
                at = datetime.fromisoformat(found["timestamp"]).timestamp()
                if found["event"] == HANDLED:
                    handled.append(at)
                elif found["event"] in TOLD:
                    one = [found["partition"]] if "partition" in found else []
                    named = tuple(found.get("partitions", one))
                    self._lines[service_of(worker)].append(Line(at, worker, found["event"], named))
        for lines in self._lines.values():
            lines.sort()

    def held(self, worker: str, at: float) -> set[str]:
        """Return the partitions that a worker had at a time: it was the last to be given them, and kept them."""
        owners: dict[str, str] = {}
        for line in self._lines[service_of(worker)]:
            if line.at > at:
                break
            if line.event in ("partitions.assigned", "partition.recovered"):
                owners.update(dict.fromkeys(line.partitions, line.worker))
            else:
                gone = owners if line.event == "worker.started" else line.partitions
                owners = {p: owner for p, owner in owners.items() if owner != line.worker or p not in gone}
        return {partition for partition, owner in owners.items() if owner == worker}

    def recovered(self, worker: str, at: float) -> float | None:
        """Return when the last of the partitions that the worker had at a time was taken up again, by whomever.

        None if it had none, or one never was.
        """
        waiting, last = self.held(worker, at), None
        for line in self._lines[service_of(worker)]:
            if line.at > at and line.event == "partition.recovered" and waiting.intersection(line.partitions):
                waiting.difference_update(line.partitions)
                last = line.at
        return None if waiting else last

    def handled(self, service: str, after: float) -> float | None:
        """Return when any worker of a service next committed a batch."""
        firsts = [self.next_of(worker, after) for worker in self._handled if service_of(worker) == service]
        return min((at for at in firsts if at is not None), default=None)

    def last(self, service: str) -> float | None:
        """Return when the last batch of a service was committed."""
        return max(
            (times[-1] for worker, times in self._handled.items() if service_of(worker) == service and times),
            default=None,
        )

    def next_of(self, worker: str, after: float) -> float | None:
        """Return when this worker next committed a batch; None if it never did again."""
        times = self._handled.get(worker, [])
        index = bisect_right(times, after)
        return times[index] if index < len(times) else None


def service_of(target: str) -> str:
    """Return the service of a worker; a service is its own."""
    return target.partition("/")[0]


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Return the lines that are whole; a killed worker may leave half of one."""
    with path.open(encoding="utf-8", errors="replace") as log:
        for line in log:
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(found, dict) and "event" in found and "timestamp" in found:
                yield found
