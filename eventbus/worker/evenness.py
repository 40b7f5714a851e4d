"""Warns if a service's topics have different numbers of partitions: at start, and when that changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventbus.kafka.topics import uneven

SETTLED_SECONDS = 10.0
"""How long a difference must last before it is reported: partitions are added to one topic after the other."""


class Evenness:
    """The last reported difference, and the present one with its start time."""

    def __init__(self, counts: Mapping[str, int], warn: Callable[[str], None]) -> None:
        """Report a difference at once. `counts`: partitions at start, of all topics that should have equally many."""
        self._counts, self._warn = dict(counts), warn
        self._reported: str | None = None
        self._seen, self._since = uneven(counts), float("-inf")
        self.look({}, 0)

    def look(self, counts: Mapping[str, int], now: float) -> None:
        """Report each lasting difference once. `counts`: partitions of any topics, as far as they are newly known."""
        self._counts |= {topic: counts[topic] for topic in self._counts.keys() & counts}
        difference = uneven(self._counts)
        if difference != self._seen:
            self._seen, self._since = difference, now
        if difference == self._reported or now - self._since < SETTLED_SECONDS:
            return
        self._reported = difference
        if difference is not None:
            self._warn(
                f"{difference}: a topic may have been auto-created, or left out when partitions were added; see"
                " `saga topics create`"
            )
