"""What the brokers say there is, asked now and then beside a reader that follows the log, and compared with it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventbus.log import Partition
from saga.kafka.cluster import Cluster, Unreachable
from saga.kafka.event_topics import EventTopics, TopicsMissing
from saga.kafka.records import Ends

ASK_SECONDS = 10.0
STUCK_SECONDS = 30.0


class UnreadPartition(NamedTuple):
    """A partition of which nothing has been read for some time although there is more."""

    partition: Partition
    position: int
    end: int

    def __str__(self) -> str:
        return f"{self.partition} ends at {self.end}, and nothing is read of it behind {self.position}"


class NotRead(RuntimeError):
    """The reader leaves out a partition, or the end of one."""


def _behind(ends: Ends, positions: Mapping[Partition, int]) -> list[UnreadPartition]:
    there = sorted((Partition(*lane), end) for lane, end in ends.items())
    return [UnreadPartition(at, positions.get(at, 0), end) for at, end in there if positions.get(at, 0) < end]


class Census:
    """Asks where the partitions end, through another client than the reader's; says which ones are not read on."""

    def __init__(self, cluster: Cluster, topics: Iterable[str]) -> None:
        self._cluster, self._topics = cluster, list(topics)
        self._asked = -ASK_SECONDS
        self._since: dict[Partition, tuple[int, float]] = {}
        self.ends: Ends = {}
        """Where they ended when that was last asked."""
        self.first: Ends = {}
        """Where they ended when that was asked first."""
        self.stuck: list[UnreadPartition] = []
        """What has not been read on for STUCK_SECONDS, as of then."""

    def look(self, positions: Mapping[Partition, int]) -> bool:
        """Ask, if that is due, and compare with what has been read; return whether there was an answer."""
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
        self.stuck = self._judged(positions, now)
        return True

    def all_read(self, positions: Mapping[Partition, int]) -> bool:
        """Return whether everything has been read that was there when that was asked first. Raises NotRead."""
        behind = {each.partition for each in _behind(self.first, positions)}
        if stuck := [each for each in self.stuck if each.partition in behind]:
            raise NotRead("; ".join(map(str, stuck)))
        return bool(self.first) and not behind

    def _judged(self, positions: Mapping[Partition, int], now: float) -> list[UnreadPartition]:
        behind = _behind(self.ends, positions)
        before, self._since = self._since, {}
        for at, position, _ in behind:
            known = before.get(at)
            self._since[at] = known if known is not None and known[0] == position else (position, now)
        return [each for each in behind if now - self._since[each.partition][1] >= STUCK_SECONDS]
