"""Blocked keys: handlers and tables that fail on one event for a while, and the law that its key stays in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Protocol

from eventbus.database import Transaction
from eventbus.engine.delivery import decode
from eventbus.event import Event
from eventbus.event.overdue import Overdue
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Reaction, Service, by_topic, deadline_reactions
from eventbus.store import blocked_keys

HANDLER_RAISES, TABLE_REFUSES = "its handlers raise", "its rows are refused"
REFUSED = "it is rejected as poison"
"""As by a deployment that does not know the newest schema: the dead letter can be handled later."""

MOST = 1_000
"""The most parked records of one key that are checked; there are never more in a simulation."""


class Mistake(Exception):
    """The error of code and tables that do not support the data."""


class FaultInjector(Protocol):
    """Decides which events fail, and records violations of a law."""

    def trouble_of(self, service: str, event: Event) -> str:
        """Return what goes wrong with this event now: one of the three above, or an empty string."""

    def out_of_order(self, what: str) -> None:
        """Record that a record was handled out of order."""


class WatchedService:
    """Checks a service's repository and handlers: parked records must be handled first, in their order."""

    def __init__(self, service: Service[Any], codec: Codec, injector: FaultInjector) -> None:
        self._service, self._injector, self._inner = service.name, injector, service.repository
        self._codec, self._reads = codec, by_topic(service.reactions) | deadline_reactions(service.deadlines)
        self.schema = service.repository.schema
        self._handled: list[Event] = []
        self._parked: dict[str, list[str]] = {}
        service.repository = self
        watched = {kind: self._watched(reaction) for kind, reaction in service.reactions.items()}
        vars(service)["reactions"] = watched
        overdue = service.deadlines.items()
        vars(service)["deadlines"] = {n: replace(each, reaction=self._watched(each.reaction)) for n, each in overdue}

    def load(self, tx: Transaction, events: Sequence[Event]) -> Any:
        """See Repository; every load begins a new transaction."""
        self._handled = []
        self._parked = {}
        for row in tx.rows(f"select {blocked_keys.COLUMNS} from fence"):
            self._parked[row[0]] = self._topics(blocked_keys.records(tx, blocked_keys.BlockedKey(*row), MOST))
        return self._inner.load(tx, events)

    def save(self, tx: Transaction, work: Any) -> None:
        """See Repository."""
        for event in self._handled:
            if self._injector.trouble_of(self._service, event) == TABLE_REFUSES:
                raise Mistake(f"the table does not accept {event.key}")
        self._inner.save(tx, work)
        for key, parked in self._parked.items():
            handled = [event.topic for event in self._handled if event.key == key]
            # A parked deadline that was cleared meanwhile is not handled at all.
            due = [topic for topic in parked if topic != Overdue.topic or topic in handled]
            if handled != due[: len(handled)]:
                self._injector.out_of_order(f"{key}: {self._service} handled {handled} while {parked} are parked")

    def _topics(self, parked: Iterable[blocked_keys.Parked]) -> list[str]:
        """Return the original topics of the events; poison and resolutions without a record do not count."""
        items = (decode(self._codec, each.record, self._reads) for each in parked)
        return [item.event.topic for item in items if item is not None and item.event is not None]

    def _watched(self, reaction: Reaction) -> Reaction:
        handler: Callable[..., Event | None] = reaction.handler

        @wraps(handler)
        def handle(service: Any, event: Event, *rest: Any) -> Event | None:
            trouble = self._injector.trouble_of(self._service, event)
            if trouble == HANDLER_RAISES:
                raise Mistake(f"the handler does not support {event.key}")
            if trouble == REFUSED:
                self._handled.append(event)  # it counts as handled
                raise PoisonRecord("refused", f"{event.key} is not known to this service yet")
            answer = handler(service, event, *rest)
            self._handled.append(event)
            return answer

        return replace(reaction, handler=handle)
