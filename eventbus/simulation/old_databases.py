"""Databases that are replaced by older copies of themselves."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

from eventbus.log import Partition
from eventbus.simulation import faults
from eventbus.simulation.surroundings import InMemory

if TYPE_CHECKING:
    from eventbus.simulation.simulation import Simulation

BUSY = 0.01
"""Seconds until the next attempt, while a transaction is open."""
Rows = dict[Partition, tuple[int, int, int]]


class OldDatabases:
    """Copies databases, replaces them by their copies, and checks how the workers react."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.exchanged: set[str] = set()
        """The services whose database was replaced."""
        self.refused: set[str] = set()
        """The workers that have stopped."""
        self._must_refuse: set[str] = set()
        self._broken: list[str] = []
        self._at_quarantine: dict[str, Rows] = {}

    def copy(self, service: str, fault: faults.Fault) -> None:
        """Make a copy, which replaces the database later."""
        simulation = self._simulation
        shared = simulation.databases[service]
        if shared.busy:
            simulation.after(BUSY, lambda: self.copy(service, fault))
            return
        assert isinstance(shared.database, InMemory)
        copy = shared.database.copied()
        simulation.note(f"the database of {service} is copied")
        simulation.after(fault.seconds, lambda: self._exchange(service, copy, fault))

    def _exchange(self, service: str, copy: sqlite3.Connection, fault: faults.Fault) -> None:
        simulation = self._simulation
        shared = simulation.databases[service]
        if service in self.exchanged:
            return
        if fault.detail == faults.KILLED:
            simulation.kill_all(service, 1.0)
        if shared.busy:  # a stalled worker has an open transaction
            simulation.after(BUSY, lambda: self._exchange(service, copy, fault))
            return
        assert isinstance(shared.database, InMemory)
        shared.database.restore(copy)
        shared.exchanges += 1
        self.exchanged.add(service)
        simulation.note(f"the database of {service} is replaced by its older copy")
        if self._is_behind(service):
            self._must_refuse.add(service)
        simulation.ends_soon()

    def in_quarantine(self, service: str) -> None:
        """Record the checkpoints when a worker puts the database in quarantine, and whether that is justified."""
        if service in self._at_quarantine:
            return
        self._at_quarantine[service] = self._rows(service)
        if self._is_behind(service):
            self._must_refuse.add(service)
        else:
            self._broken.append(f"the database of {service} is in quarantine, but no committed offset is ahead of it")

    def _is_behind(self, service: str) -> bool:
        """Return whether the group's committed offset is ahead of the database in any partition."""
        rows = self._rows(service)
        for tp, (offset, position) in self._simulation.cluster.group(service).offsets.items():
            next_offset, last, _ = rows.get(tp, (-1, -1, 0))
            if offset > next_offset or int(position or -1) > last:
                return True
        return False

    def gone_on(self) -> list[str]:
        """Return workers that did not stop, databases that were used in quarantine, and events on the log twice."""
        simulation = self._simulation
        workers = [p for p in simulation.processes if p.service.name in self._must_refuse]
        broken = self._broken + [f"{worker} did not stop" for worker in workers if str(worker) not in self.refused]
        for service, before in self._at_quarantine.items():
            now = self._rows(service)
            if any(now.get(tp) != row for tp, row in before.items()):
                broken.append(f"the database of {service} was used although it is in quarantine")
        return broken + (self._twice() if self.exchanged else [])

    def _twice(self) -> list[str]:
        cluster = self._simulation.cluster
        ids: Counter[bytes] = Counter()
        for event in self._simulation.setup.events:
            for number in range(cluster.topics()[event.topic]):
                tp = Partition(event.topic, number)
                for _, entry in cluster.read(tp, 0, cluster.end(tp))[0]:
                    ids.update(value for name, value in entry.headers if name == "ce_id" and value)
        return [f"{each.decode()} is on the log {count} times" for each, count in ids.items() if count > 1]

    def _rows(self, service: str) -> Rows:
        with self._simulation.databases[service].database.snapshot() as tx:
            rows = tx.rows("select topic, partition, next_offset, position, epoch from checkpoint")
        return {Partition(topic, number): (at, position, epoch) for topic, number, at, position, epoch in rows}
