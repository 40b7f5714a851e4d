"""Records that nobody can handle, made out of good ones, and batches that nobody can read, written among them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eventbus.log import Partition
from eventbus.serde.framing import FRAME
from eventbus.service import Service
from eventbus.simulation.cluster import SimulatedCluster, Written

STRANGER = b"nobody"
MISPLACED = "in the wrong partition"
"""What is bad by that alone, where workers are told over how many partitions keys are placed."""

BAD: Mapping[str, Callable[[Written], Written]] = {
    "a tombstone": lambda good: good._replace(value=None),
    "no frame": lambda good: good._replace(value=b"\1" + (good.value or b"")[1:]),
    "an unknown schema": lambda good: good._replace(value=FRAME.pack(0, 4_000_000_000) + (good.value or b"")[5:]),
    "truncated": lambda good: good._replace(value=(good.value or b"")[:-1]),
    "a stranger's key": lambda good: good._replace(key=STRANGER),
    "no key": lambda good: good._replace(key=None),
}
"""What makes a good record bad for ever: by now its key may be that of an order which is under way."""


def written(cluster: SimulatedCluster, services: Iterable[Service[Any]], how: str, chance: random.Random) -> str:
    """Write a record that is bad in this way to a topic that somebody reads; return where it lies.

    In any partition: who writes such a thing does not care. What is only MISPLACED: in any but its own.
    """
    partition = _somewhere(cluster, services, chance)
    record = chance.choice(_good(cluster, partition.topic) or [Written(partition.topic, STRANGER, b"\0", [])])
    if how in BAD:
        record = BAD[how](record)
    else:
        home = cluster.partition_of(record.topic, record.key)
        partition = chance.choice([lane for lane in _lanes(cluster, record.topic) if lane != home])
    return f"{partition}/{cluster.append(partition, record)}"


def corrupted(
    cluster: SimulatedCluster, services: Iterable[Service[Any]], chance: random.Random
) -> tuple[Partition, range]:
    """Write a batch that nobody can decompress to a topic that somebody reads; return where it lies."""
    partition = _somewhere(cluster, services, chance)
    return partition, cluster.corrupt(partition, chance.choice((1, 3)))


def _somewhere(cluster: SimulatedCluster, services: Iterable[Service[Any]], chance: random.Random) -> Partition:
    topic = chance.choice(sorted({topic for service in services for topic in service.topics()}))
    return Partition(topic, chance.randrange(cluster.topics()[topic]))


def _lanes(cluster: SimulatedCluster, topic: str) -> list[Partition]:
    return [Partition(topic, number) for number in range(cluster.topics()[topic])]


def _good(cluster: SimulatedCluster, topic: str) -> list[Written]:
    entries = [entry for lane in _lanes(cluster, topic) for _, entry in cluster.read(lane, 0, cluster.end(lane))[0]]
    return [Written(topic, entry.key, entry.value, entry.headers) for entry in entries if entry.value]
