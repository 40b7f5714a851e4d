"""A limit for bad records: a bad deployment must not move a whole topic to the dead letters."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from eventbus.log import Partition

WINDOW = 10_000
"""The number of last records of a partition that count."""


class DeadLetterLimit:
    """Allows `limit` bad records among the last 10,000 of a partition, consecutive or not.

    Counted in memory since the worker started, not stored.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: Counter[Partition] = Counter()
        self._bad: defaultdict[Partition, deque[int]] = defaultdict(deque)

    def allows(self, partition: Partition, index: int, earlier: int) -> bool:
        """Return whether a batch's record at `index` may also be bad, after `earlier` bad ones of the same batch."""
        bad = self._bad[partition]
        while bad and bad[0] <= self._seen[partition] + index - WINDOW:
            bad.popleft()
        return len(bad) + earlier < self.limit

    def note(self, partition: Partition, count: int, bad: Iterable[int]) -> None:
        """Record a committed batch: its number of records, and the indexes of the bad ones."""
        self._bad[partition].extend(self._seen[partition] + index for index in bad)
        self._seen[partition] += count
