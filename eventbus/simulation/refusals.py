"""A provider that refuses one order for a while, or is away for all, and the laws about who waits for it meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from eventbus.engine.calls import Call
from eventbus.event import Event
from eventbus.log import Partition
from eventbus.service import TryAgain, Unasked

ONE_ORDER, ALL_ORDERS = "it refuses one order", "it is away for all"
PATIENCE = 8
"""So often at most the refused one is asked about while somebody waits behind it about whom the provider answers."""


class Refusals:
    """What the provider answers. One for all workers of a simulation."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: dict[str, float] = {}
        self._away_until = 0.0
        self._asked: Counter[str] = Counter()
        """How often each refused order was asked about..."""
        self._answered: dict[str, Counter[str]] = {}
        """...when the provider first answered about another one."""
        self._asked_in_vain: Counter[str] = Counter()
        """How often each order was asked about since the provider went away."""

    def begin(self, what: str, call: Call, seconds: float) -> None:
        """Refuse what this call is about, or everything."""
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
            return TryAgain("simulated: the provider is away for all")
        if now < self._refused.get(key, 0.0):
            self._asked[key] += 1
            return TryAgain(f"simulated: the provider refuses {key}")
        return None

    def answered(self, call: Call, answer: object) -> None:
        """Note that somebody was answered."""
        event = _about(call)
        if event is not None and not isinstance(answer, (Exception, Unasked)):
            self._answered.setdefault(event.key, self._asked.copy())

    def kept_waiting(self, unread: Mapping[Partition, Iterable[str]]) -> list[str]:
        """Return the orders about which the provider has answered and that wait behind one that it refuses."""
        return [
            f"{key} waits in {partition}, though the provider answers about it, behind one that it refuses"
            for partition, keys in unread.items()
            for key in keys
            if key not in self._refused and key in self._answered and self._has_waited(self._answered[key])
        ]

    def parked_in_vain(self, key: str) -> bool:
        """Return whether an order is parked that cannot be told from others: nobody was answered since it was asked."""
        before = 1 if key in self._refused else 0
        return self._clock() < self._away_until and self._asked_in_vain[key] > before

    def _has_waited(self, since: Counter[str]) -> bool:
        return any(asked - since[refused] > PATIENCE for refused, asked in self._asked.items())


def _about(call: Call) -> Event | None:
    """Return what a call is about, where it is one of a service's remote functions."""
    arguments = getattr(call, "args", ())
    return next((argument for argument in arguments if isinstance(argument, Event)), None)
