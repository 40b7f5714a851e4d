"""Says in the log where a service's topics have different numbers of partitions: at start, and when that changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventbus.kafka.topics import uneven

SETTLED_SECONDS = 10.0
"""So long it must be the same: whoever adds partitions to all topics does so to one after the other."""


class Evenness:
    """What was said last, and what is so since when."""

    def __init__(self, counts: Mapping[str, int], warn: Callable[[str], None]) -> None:
        """Say it at once, for the counts at start: of all topics that are to have as many partitions as each other."""
        self._counts, self._warn = dict(counts), warn
        self._said: str | None = None
        self._seen, self._since = uneven(counts), float("-inf")
        self.look({}, 0)

    def look(self, counts: Mapping[str, int], now: float) -> None:
        """Say it once for each difference that stays; `counts` are those that are known anew, of any topics."""
        self._counts |= {topic: counts[topic] for topic in self._counts.keys() & counts}
        told = uneven(self._counts)
        if told != self._seen:
            self._seen, self._since = told, now
        if told == self._said or now - self._since < SETTLED_SECONDS:
            return
        self._said = told
        if told is not None:
            self._warn(f"{told}: was one created by itself, or not grown with the others? See `saga topics create`")
