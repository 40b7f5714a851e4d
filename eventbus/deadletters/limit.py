"""When bad records are too many to be the records' fault: a bad deploy must not drain a topic."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from eventbus.log import Partition

WINDOW = 10_000
"""Records of a partition that are looked back on."""


class DeadLetterLimit:
    """Allows `limit` bad ones among the last 10,000 records of a partition; in a row is the shortest way to get there.

    Remembered since the worker started, not stored.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: Counter[Partition] = Counter()
        self._bad: defaultdict[Partition, deque[int]] = defaultdict(deque)

    def allows(self, partition: Partition, index: int, earlier: int) -> bool:
        """Return whether a batch's record at `index` may be bad too, after so many `earlier` bad ones of the batch."""
        bad = self._bad[partition]
        while bad and bad[0] <= self._seen[partition] + index - WINDOW:
            bad.popleft()
        return len(bad) + earlier < self.limit

    def note(self, partition: Partition, count: int, bad: Iterable[int]) -> None:
        """Remember a batch that was committed: so many records, and which of them were bad."""
        self._bad[partition].extend(self._seen[partition] + index for index in bad)
        self._seen[partition] += count
