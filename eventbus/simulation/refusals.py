"""A provider that refuses one key for a while, or is down for all, and the laws about which keys may wait meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from eventbus.engine.calls import Call
from eventbus.event import Event
from eventbus.log import Partition
from eventbus.service import TryAgain, Unasked

ONE_ORDER, ALL_ORDERS = "it refuses one key", "it is down for all"
PATIENCE = 8
"""The most calls for a record of a refused key while a record of an answered key waits behind it in its partition."""


class Refusals:
    """The provider's refusals. One for all workers of a simulation."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: dict[str, float] = {}
        self._away_until = 0.0
        self._asked: Counter[tuple[str, str]] = Counter()
        """The number of calls for each refused key by topic: each of its records is judged by its own attempts..."""
        self._answered: dict[str, Counter[tuple[str, str]]] = {}
        """...when the provider first answered a call for another one."""
        self._asked_in_vain: Counter[str] = Counter()
        """The number of calls for each key since the provider went down."""

    def begin(self, what: str, call: Call, seconds: float) -> None:
        """Refuse the key of this call, or all keys."""
        until = self._clock() + seconds
        if what == ALL_ORDERS:
            self._away_until = until
            self._asked_in_vain.clear()
        elif (event := _about(call)) is not None:
            self._refused[event.key] = until

    def outcome(self, call: Call) -> TryAgain | None:
        """Return the outcome of a call that is refused now."""
        event, now = _about(call), self._clock()
        key = "" if event is None else event.key
        if now < self._away_until:
            self._asked_in_vain[key] += 1
            return TryAgain("simulated: the provider is down for all")
        if now < self._refused.get(key, 0.0):
            if event is not None:
                self._asked[type(event).topic, key] += 1
            return TryAgain(f"simulated: the provider refuses {key}")
        return None

    def answered(self, call: Call, answer: object) -> None:
        """Record that the provider answered a call; a key about which it was not asked shows nobody that it answers."""
        event = _about(call)
        if event is None or isinstance(answer, Exception):
            return
        if isinstance(answer, Unasked):
            self._answered.pop(event.key, None)
        else:
            self._answered.setdefault(event.key, self._asked.copy())

    def kept_waiting(self, unread: Mapping[Partition, Iterable[str]]) -> list[str]:
        """Return the keys for which the provider has answered and that wait behind one that it refuses."""
        return [
            f"{key} waits in {partition} behind a key that the provider refuses, although the provider answers for it"
            for partition, keys in unread.items()
            for key in keys
            if key not in self._refused and self._has_waited(key, partition.topic)
        ]

    def parked_in_vain(self, key: str) -> bool:
        """Return whether a key was parked without reason: the provider is down, and refuses it no more than others."""
        before = 1 if key in self._refused else 0
        return self._clock() < self._away_until and self._asked_in_vain[key] > before

    def _has_waited(self, key: str, topic: str) -> bool:
        since = self._answered.get(key)
        if since is None:
            return False
        return any(asked - since[where] > PATIENCE for where, asked in self._asked.items() if where[0] == topic)


def _about(call: Call) -> Event | None:
    """Return the event of a call, if it is a call of a service's remote function."""
    arguments = getattr(call, "args", ())
    return next((argument for argument in arguments if isinstance(argument, Event)), None)
