"""What chaos does to the brokers: it kills and restarts them, moves leaders, and reassigns partitions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Protocol

from confluent_kafka import ElectionType, KafkaException, TopicPartition

from saga.kafka.cluster import Cluster, Unreachable

SYNC_SECONDS = 120.0
"""Within it every replica is in sync again after a restart, and every reassignment is over."""
AGAIN_SECONDS = 0.2


class Node(Protocol):
    """A broker that can be ended and started again, same address, same data."""

    def kill(self) -> None:
        """End it without any warning (SIGKILL)."""

    def terminate(self) -> None:
        """Shut it down in good order (SIGTERM)."""

    def restart(self) -> None:
        """Start it again; return when it answers."""


class Control(Protocol):
    """Who has control over a cluster."""

    @property
    def nodes(self) -> Sequence[Node]:
        """Its brokers."""

    def reassign(self, plan: str) -> None:
        """Ask for new replicas of partitions; `plan` is the JSON that kafka-reassign-partitions.sh takes."""


class Brokers:
    """The brokers of a run. One fault at a time: who calls holds a lock."""

    def __init__(self, bootstrap_servers: str, kafka_config: Mapping[str, str], control: Control, seed: int) -> None:
        self.nodes = control.nodes
        self._control = control
        self._cluster = Cluster(bootstrap_servers, kafka_config)
        self._chance = Random(seed)

    def wait_until_in_sync(self) -> None:
        """Return when every partition has all its replicas in sync. Raises TimeoutError."""
        self._until(
            lambda there: all(len(part.isrs) == len(part.replicas) for part in there.values()),
            "not every replica was in sync",
        )

    def kill(self, numbers: Sequence[int], seconds: float) -> None:
        """Kill these nodes, the first is number 1, and start them again after so many seconds."""
        for number in numbers:
            self.nodes[number - 1].kill()
        time.sleep(seconds)
        for number in numbers:
            self.nodes[number - 1].restart()

    def roll(self, seconds: float) -> None:
        """Shut each node down in good order, and start it again after so many seconds; then the next."""
        for node in self.nodes:
            self.wait_until_in_sync()
            node.terminate()
            time.sleep(seconds)
            node.restart()

    def move_leaders(self) -> None:
        """Let another replica lead each partition, those of offsets and transactions too: coordinators move along."""
        there = self._partitions()
        self._reassign({place: [*part.replicas[1:], part.replicas[0]] for place, part in there.items()})
        preferred = [TopicPartition(*place) for place in there]
        # It takes no time-out: confluent_kafka 2.16 fails on either of them.
        self._cluster.ask(lambda: self._cluster.admin.elect_leaders(ElectionType.PREFERRED, preferred).result())

    def reassign_some(self) -> None:
        """Take the leader's replica away from half of the partitions, then copy them back to it.

        The second move makes new replicas, which read everything from the others.
        """
        there = self._partitions()
        places = self._chance.sample(sorted(there), (len(there) + 1) // 2)
        self._reassign({place: [r for r in there[place].replicas if r != there[place].leader] for place in places})
        self._reassign({place: there[place].replicas for place in places})

    def _reassign(self, replicas: Mapping[tuple[str, int], Sequence[int]]) -> None:
        plan = [{"topic": t, "partition": n, "replicas": list(to)} for (t, n), to in replicas.items()]
        self._control.reassign(json.dumps({"version": 1, "partitions": plan}))
        self._until(
            lambda there: all(place not in there or there[place].replicas == to for place, to in replicas.items()),
            "a reassignment was not over",
        )

    def _partitions(self) -> dict[tuple[str, int], Any]:
        """Return every partition's metadata, Kafka's own topics too."""
        return {(name, n): part for name, parts in self._cluster.partitions().items() for n, part in parts.items()}

    def _until(self, so: Callable[[Mapping[tuple[str, int], Any]], bool], otherwise: str) -> None:
        until = time.monotonic() + SYNC_SECONDS
        while True:
            with suppress(Unreachable, KafkaException):
                if so(self._partitions()):
                    return
            if time.monotonic() > until:
                raise TimeoutError(f"{otherwise} within {SYNC_SECONDS:.0f} s")
            time.sleep(AGAIN_SECONDS)
