"""Periodic comparison of a reader's positions with the end offsets that the brokers report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventbus.log import Partition
from saga.kafka.cluster import Cluster, Unreachable
from saga.kafka.event_topics import EventTopics, TopicsMissing
from saga.kafka.records import Ends

ASK_SECONDS = 10.0
CENSUS_SECONDS = 3.0
"""How long a query may take while the log is followed: a broker that does not answer must not delay the reader."""
STUCK_SECONDS = 30.0


class UnreadPartition(NamedTuple):
    """A partition that has not been read for some time although it has more records."""

    partition: Partition
    position: int
    end: int

    def __str__(self) -> str:
        return f"{self.partition} ends at {self.end}, but is not read past {self.position}"


class NotRead(RuntimeError):
    """The reader does not read a partition, or its end."""


def _behind(ends: Ends, positions: Mapping[Partition, int]) -> list[UnreadPartition]:
    there = sorted((Partition(*tp), end) for tp, end in ends.items())
    return [UnreadPartition(at, positions.get(at, 0), end) for at, end in there if positions.get(at, 0) < end]


class Census:
    """Fetches the end offsets through another client than the reader's; reports partitions that are not read."""

    def __init__(self, cluster: Cluster, topics: Iterable[str]) -> None:
        self._cluster, self._topics = cluster, list(topics)
        self._asked = -ASK_SECONDS
        self._since: dict[Partition, tuple[int, float]] = {}
        self.ends: Ends = {}
        """The end offsets at the last query."""
        self.first: Ends = {}
        """The end offsets at the first query."""
        self.stuck: list[UnreadPartition] = []
        """The partitions not read for STUCK_SECONDS, as of the last query."""

    def look(self, positions: Mapping[Partition, int]) -> bool:
        """Query, if it is due, and compare with the reader's positions; return whether there was an answer."""
        now = time.monotonic()
        if now - self._asked < ASK_SECONDS:
            return False
        try:
            self.ends = EventTopics(self._cluster, self._topics).ends()
        except (Unreachable, TopicsMissing):
            return False
        finally:
            self._asked = time.monotonic()
        self.first = self.first or self.ends
        self.stuck = self._stuck_partitions(positions, now)
        return True

    def all_read(self, positions: Mapping[Partition, int]) -> bool:
        """Return whether everything up to the end offsets of the first query has been read. Raises NotRead."""
        behind = {each.partition for each in _behind(self.first, positions)}
        if stuck := [each for each in self.stuck if each.partition in behind]:
            raise NotRead("; ".join(map(str, stuck)))
        return bool(self.first) and not behind

    def _stuck_partitions(self, positions: Mapping[Partition, int], now: float) -> list[UnreadPartition]:
        behind = _behind(self.ends, positions)
        before, self._since = self._since, {}
        for at, position, _ in behind:
            known = before.get(at)
            self._since[at] = known if known is not None and known[0] == position else (position, now)
        return [each for each in behind if now - self._since[each.partition][1] >= STUCK_SECONDS]
