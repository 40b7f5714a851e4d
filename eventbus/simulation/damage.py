"""Damaged logs: a topic that is recreated, a partition that loses its end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from eventbus.log import Partition
from eventbus.service import Service
from eventbus.simulation.cluster import LogEntry, SimulatedCluster, Written


class Damage(NamedTuple):
    """What was done to a topic, its former end offsets, and in `cut` the new end offsets of the damaged partitions."""

    topic: str
    recreated: bool
    ends: dict[Partition, int]
    cut: dict[Partition, int]
    lost: dict[Partition, list[LogEntry]]

    def readers(self, next_offsets: dict[Partition, int]) -> bool:
        """Return whether a service with these checkpoints has handled records that are lost."""
        if self.recreated:
            return any(lane in next_offsets for lane in self.ends)
        return any(next_offsets.get(lane, 0) > offset for lane, offset in self.cut.items())

    def passed_over(self, next_offsets: dict[Partition, int]) -> list[Partition]:
        """Return the partitions whose checkpoints are beyond the end of the log before the damage."""
        return [lane for lane, end in self.ends.items() if next_offsets.get(lane, 0) > end]


def damaged(
    cluster: SimulatedCluster,
    services: Sequence[Service[Any]],
    handled: dict[Partition, int],
    kind: str,
    chance: random.Random,
) -> Damage | None:
    """Damage a topic of which records were handled; None if there is none."""
    topics = {topic for service in services for topic in service.topics()}
    lanes = sorted(lane for lane, offset in handled.items() if lane.topic in topics and offset)
    cuts = {lane: [at for at in cluster.between_transactions(lane) if at < handled[lane]] for lane in lanes}
    lanes = [lane for lane in lanes if cuts[lane]]
    if not lanes:
        return None
    chosen = chance.choice(lanes)
    hit = [chosen]
    if kind == "recreated":
        hit = [Partition(chosen.topic, number) for number in range(cluster.topics()[chosen.topic])]
    ends = {lane: cluster.end(lane) for lane in hit}
    lost = {lane: [entry for _, entry in cluster.read(lane, 0, ends[lane])[0]] for lane in hit}
    if kind == "recreated":
        cluster.recreate(chosen.topic)
        return Damage(chosen.topic, True, ends, dict.fromkeys(hit, 0), lost)
    at = chance.choice(cuts[chosen])
    cluster.lose_end(chosen, at)
    return Damage(chosen.topic, False, ends, {chosen: at}, lost)


def filled(cluster: SimulatedCluster, damage: Damage) -> None:
    """Write more records than before to every damaged partition: copies of the lost ones, repeatedly."""
    copies = [entry for entries in damage.lost.values() for entry in entries]
    for lane, end in damage.ends.items():
        for number in range(end + 3 - cluster.end(lane)):
            entry = copies[number % len(copies)]
            cluster.append(lane, Written(lane.topic, entry.key, entry.value, entry.headers))
