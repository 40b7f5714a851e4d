"""How long to wait before something is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Backoff(NamedTuple):
    """Exponential backoff: `first` seconds, doubled with each attempt up to `most`; jitter takes off up to a half."""

    first: float
    most: float
    random: Callable[[], float]
    """0 to 1, for the jitter."""

    def seconds(self, attempts: int) -> float:
        """Return how long to wait after this number of attempts, 1 or more."""
        longest = min(self.first * 2.0 ** min(attempts - 1, 30), self.most)
        return longest * (0.5 + self.random() / 2)
