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
            return any(tp in next_offsets for tp in self.ends)
        return any(next_offsets.get(tp, 0) > offset for tp, offset in self.cut.items())

    def passed_over(self, next_offsets: dict[Partition, int]) -> list[Partition]:
        """Return the partitions whose checkpoints are beyond the end of the log before the damage."""
        return [tp for tp, end in self.ends.items() if next_offsets.get(tp, 0) > end]


def damaged(
    cluster: SimulatedCluster,
    services: Sequence[Service[Any]],
    handled: dict[Partition, int],
    kind: str,
    chance: random.Random,
) -> Damage | None:
    """Damage a topic of which records were handled; None if there is none."""
    topics = {topic for service in services for topic in service.topics()}
    tps = sorted(tp for tp, offset in handled.items() if tp.topic in topics and offset)
    cuts = {tp: [at for at in cluster.between_transactions(tp) if at < handled[tp]] for tp in tps}
    tps = [tp for tp in tps if cuts[tp]]
    if not tps:
        return None
    chosen = chance.choice(tps)
    hit = [chosen]
    if kind == "recreated":
        hit = [Partition(chosen.topic, number) for number in range(cluster.topics()[chosen.topic])]
    ends = {tp: cluster.end(tp) for tp in hit}
    lost = {tp: [entry for _, entry in cluster.read(tp, 0, ends[tp])[0]] for tp in hit}
    if kind == "recreated":
        cluster.recreate(chosen.topic)
        return Damage(chosen.topic, True, ends, dict.fromkeys(hit, 0), lost)
    at = chance.choice(cuts[chosen])
    cluster.lose_end(chosen, at)
    return Damage(chosen.topic, False, ends, {chosen: at}, lost)


def filled(cluster: SimulatedCluster, damage: Damage) -> None:
    """Write more records than before to every damaged partition: copies of the lost ones, repeatedly."""
    copies = [entry for entries in damage.lost.values() for entry in entries]
    for tp, end in damage.ends.items():
        for number in range(end + 3 - cluster.end(tp)):
            entry = copies[number % len(copies)]
            cluster.append(tp, Written(tp.topic, entry.key, entry.value, entry.headers))
