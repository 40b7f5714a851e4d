"""Lookups in a registry on threads beside the loop: however slow it is, the loop spends only a share of its time on it.

A registry is an external service: it may take seconds for an answer, or a name server may. The loop must poll Kafka, so
each lookup has a thread of its own, and a caller that gets no answer soon retries later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, NamedTuple, TypeVar, cast

from eventbus.event import Event
from eventbus.serde.framing import SchemaId
from eventbus.serde.registry import Registry, RegistryUnavailable

START_SECONDS = 2.0
"""How long a starting worker waits for an answer before it retries."""
WAIT_SECONDS = 0.5
"""How long the loop waits for answers without a break, at most..."""
WAIT_SHARE = 0.25
"""...and its share of the loop's time in the long run. The lookup of an event's new version fits into it."""
STALE_SECONDS = 10.0
"""An answer that was not fetched for so long is requested again."""
A = TypeVar("A")


class StillAsking(RegistryUnavailable):
    """The registry has been asked and has not answered yet."""


class _Lookup(NamedTuple):
    asked_at: float
    answer: Future[Any]


class Lookups:
    """See Registry. Raises StillAsking if there is no answer soon: call again, a lookup in progress is not repeated."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._lookups: dict[str, _Lookup] = {}
        self._may_wait, self._since = WAIT_SECONDS, clock()
        self._failed: dict[str, str] = {}
        """The lookups that failed the last time, and why: they are not waited for."""

    def id_of(self, event: type[Event]) -> int:
        """See Registry."""
        return self._answer(f"the schema of {event.topic}", lambda: self._registry.id_of(event), START_SECONDS)

    def schema_of(self, schema_id: SchemaId) -> dict[str, Any]:
        """See Registry."""
        began = self._clock()
        self._may_wait = min(WAIT_SECONDS, self._may_wait + WAIT_SHARE * (began - self._since))
        self._since = began
        try:
            ask = lambda: self._registry.schema_of(schema_id)  # noqa: E731
            return self._answer(f"schema id {schema_id}", ask, max(0.0, self._may_wait))
        finally:
            self._may_wait -= self._clock() - began

    def _answer(self, what: str, ask: Callable[[], A], seconds: float) -> A:
        """Return the answer; wait `seconds` for it at the first request only."""
        lookup = self._lookups.get(what)
        if lookup is None or self._clock() - lookup.asked_at > STALE_SECONDS:
            lookup = self._lookups[what] = _Lookup(self._clock(), _begin(ask))
            wait([lookup.answer], 0 if what in self._failed else seconds)
        if not lookup.answer.done():
            raise StillAsking(
                self._failed.get(what) or f"the schema registry has not answered the request for {what} yet"
            )
        del self._lookups[what]
        self._failed.pop(what, None)
        try:
            return cast("A", lookup.answer.result())
        except RegistryUnavailable as error:
            self._failed[what] = str(error)
            raise


def _begin(ask: Callable[[], Any]) -> Future[Any]:
    """Ask on a daemon thread, which does not keep the process alive."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 - raised where the answer is fetched
            answer.set_exception(error)

    threading.Thread(target=run, name="schema registry", daemon=True).start()
    return answer
