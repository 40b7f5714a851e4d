"""Keys in trouble: handlers and tables that refuse one event for a while, and the law that its key stays in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Protocol

from eventbus.database import Transaction
from eventbus.event import Event
from eventbus.service import Reaction, Service

HANDLER_RAISES, TABLE_REFUSES = "its handlers raise", "its rows are refused"


class Mistake(Exception):
    """What code and tables raise that were made for other data."""


class Fate(Protocol):
    """Who decides which key is in trouble, and hears of a broken law."""

    def trouble_of(self, service: str, event: Event) -> str:
        """Return what goes wrong with this event now: one of the two above, or nothing."""

    def out_of_order(self, what: str) -> None:
        """Take note that a record was handled before its turn."""


class Watched:
    """A service's repository, and its handlers, watched: what is parked must be handled first, in its order."""

    def __init__(self, service: Service[Any], fate: Fate) -> None:
        self._service, self._fate, self._inner = service.name, fate, service.repository
        self.schema = service.repository.schema
        self._handled: list[Event] = []
        self._parked: dict[str, list[str]] = {}
        service.repository = self
        watched = {kind: self._watched(reaction) for kind, reaction in service.reactions.items()}
        vars(service)["reactions"] = watched

    def load(self, tx: Transaction, events: Sequence[Event]) -> Any:
        """See Repository; a transaction begins anew with every load."""
        self._handled = []
        self._parked = defaultdict(list)
        for key, topic in tx.rows("select key, topic from parked order by key, position"):
            self._parked[key].append(topic)
        return self._inner.load(tx, events)

    def save(self, tx: Transaction, work: Any) -> None:
        """See Repository."""
        for event in self._handled:
            if self._fate.trouble_of(self._service, event) == TABLE_REFUSES:
                raise Mistake(f"the table does not take {event.key}")
        self._inner.save(tx, work)
        for key, parked in self._parked.items():
            handled = [event.topic for event in self._handled if event.key == key]
            if handled != parked[: len(handled)]:
                self._fate.out_of_order(f"{key}: {self._service} handled {handled} while {parked} are parked")

    def _watched(self, reaction: Reaction) -> Reaction:
        handler: Callable[..., Event | None] = reaction.handler

        @wraps(handler)
        def handle(service: Any, event: Event, *rest: Any) -> Event | None:
            if self._fate.trouble_of(self._service, event) == HANDLER_RAISES:
                raise Mistake(f"{event.key} is not what this was made for")
            answer = handler(service, event, *rest)
            self._handled.append(event)
            return answer

        return replace(reaction, handler=handle)
