"""A registry that is asked beside the loop: however slow it is, the loop waits for it only a part of its time.

A registry is somebody else's: it may take seconds for an answer, or a name server may. The loop polls Kafka, so the
questions have threads of their own, and who is not answered soon comes back later.
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
"""How long a worker that starts waits at once for an answer."""
WAIT_SECONDS = 0.5
"""How long the loop waits for answers at once, at most..."""
WAIT_SHARE = 0.25
"""...and this part of its time in the long run. A new version of an event is answered within it, and nobody notices."""
STALE_SECONDS = 10.0
"""An answer that nobody has fetched for so long is asked for again."""
A = TypeVar("A")


class StillAsking(RegistryUnavailable):
    """The registry has been asked and has not answered yet."""


class _Question(NamedTuple):
    asked_at: float
    answer: Future[Any]


class Lookups:
    """See Registry. Raises StillAsking about what is not answered soon: ask again, each question is under way once."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._questions: dict[str, _Question] = {}
        self._may_wait, self._since = WAIT_SECONDS, clock()
        self._failed: dict[str, str] = {}
        """What it could not be asked about the last time, and why: nobody waits for that."""

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
        """Return the answer; wait so long for it when it is asked for the first time, and never again."""
        question = self._questions.get(what)
        if question is None or self._clock() - question.asked_at > STALE_SECONDS:
            question = self._questions[what] = _Question(self._clock(), _begin(ask))
            wait([question.answer], 0 if what in self._failed else seconds)
        if not question.answer.done():
            raise StillAsking(
                self._failed.get(what) or f"asked about {what}, the schema registry does not answer for now"
            )
        del self._questions[what]
        self._failed.pop(what, None)
        try:
            return cast("A", question.answer.result())
        except RegistryUnavailable as error:
            self._failed[what] = str(error)
            raise


def _begin(ask: Callable[[], Any]) -> Future[Any]:
    """Ask on a thread that keeps no process from ending."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 - raised where the answer is fetched
            answer.set_exception(error)

    threading.Thread(target=run, name="schema registry", daemon=True).start()
    return answer
