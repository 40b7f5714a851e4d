"""Records that cannot be handled, made from good ones, and batches that cannot be read, written among them."""

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
"""A record that is bad only by its partition, because the workers run with --keys-placed-over."""

BAD: Mapping[str, Callable[[Written], Written]] = {
    "a tombstone": lambda good: good._replace(value=None),
    "no frame": lambda good: good._replace(value=b"\1" + (good.value or b"")[1:]),
    "an unknown schema": lambda good: good._replace(value=FRAME.pack(0, 4_000_000_000) + (good.value or b"")[5:]),
    "truncated": lambda good: good._replace(value=(good.value or b"")[:-1]),
    "a stranger's key": lambda good: good._replace(key=STRANGER),
    "no key": lambda good: good._replace(key=None),
}
"""How good records are made permanently bad; their keys may be in use by unfinished sagas."""


def written(cluster: SimulatedCluster, services: Iterable[Service[Any]], how: str, chance: random.Random) -> str:
    """Write a record that is bad in this way to an input topic; return its topic/partition/offset.

    The partition is random, because a producer of bad records may use any; for MISPLACED it is any but the right one.
    """
    partition = _somewhere(cluster, services, chance)
    record = chance.choice(_good(cluster, partition.topic) or [Written(partition.topic, STRANGER, b"\0", [])])
    if how in BAD:
        record = BAD[how](record)
    else:
        home = cluster.partition_of(record.topic, record.key)
        partition = chance.choice([tp for tp in _tps(cluster, record.topic) if tp != home])
    return f"{partition}/{cluster.append(partition, record)}"


def corrupted(
    cluster: SimulatedCluster, services: Iterable[Service[Any]], chance: random.Random
) -> tuple[Partition, range]:
    """Write a batch that cannot be decompressed to an input topic; return its partition and offsets."""
    partition = _somewhere(cluster, services, chance)
    return partition, cluster.corrupt(partition, chance.choice((1, 3)))


def _somewhere(cluster: SimulatedCluster, services: Iterable[Service[Any]], chance: random.Random) -> Partition:
    topic = chance.choice(sorted({topic for service in services for topic in service.topics()}))
    return Partition(topic, chance.randrange(cluster.topics()[topic]))


def _tps(cluster: SimulatedCluster, topic: str) -> list[Partition]:
    return [Partition(topic, number) for number in range(cluster.topics()[topic])]


def _good(cluster: SimulatedCluster, topic: str) -> list[Written]:
    entries = [entry for tp in _tps(cluster, topic) for _, entry in cluster.read(tp, 0, cluster.end(tp))[0]]
    return [Written(topic, entry.key, entry.value, entry.headers) for entry in entries if entry.value]
