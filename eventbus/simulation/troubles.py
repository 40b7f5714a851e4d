"""Keys in trouble: handlers and tables that refuse one event for a while, and the law that its key stays in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Protocol

from eventbus.database import Transaction
from eventbus.engine.batch import decode
from eventbus.event import Event
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import Reaction, Service
from eventbus.store import blocked_keys

HANDLER_RAISES, TABLE_REFUSES = "its handlers raise", "its rows are refused"
REFUSED = "it is refused as poison"
"""As by a deployment that does not know the newest schema: a dead letter that becomes good."""

MOST = 1_000
"""Records of one key that are looked at; more are never parked in a simulation."""


class Mistake(Exception):
    """What code and tables raise that were made for other data."""


class FaultInjector(Protocol):
    """Who decides which key is in trouble, and hears of a broken law."""

    def trouble_of(self, service: str, event: Event) -> str:
        """Return what goes wrong with this event now: one of the three above, or nothing."""

    def out_of_order(self, what: str) -> None:
        """Take note that a record was handled before its turn."""


class WatchedService:
    """A service's repository, and its handlers, watched: what is parked must be handled first, in its order."""

    def __init__(self, service: Service[Any], codec: Codec, fate: FaultInjector) -> None:
        self._service, self._fate, self._inner = service.name, fate, service.repository
        self._codec, self._reads = codec, service.topics()
        self.schema = service.repository.schema
        self._handled: list[Event] = []
        self._parked: dict[str, list[str]] = {}
        service.repository = self
        watched = {kind: self._watched(reaction) for kind, reaction in service.reactions.items()}
        vars(service)["reactions"] = watched

    def load(self, tx: Transaction, events: Sequence[Event]) -> Any:
        """See Repository; a transaction begins anew with every load."""
        self._handled = []
        self._parked = {}
        for row in tx.rows(f"select {blocked_keys.COLUMNS} from fence"):
            self._parked[row[0]] = self._topics(blocked_keys.records(tx, blocked_keys.BlockedKey(*row), MOST))
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

    def _topics(self, parked: Iterable[blocked_keys.Parked]) -> list[str]:
        """Return where the events lay at first; what is poison or is to bring nothing back has no turn to wait for."""
        items = (decode(self._codec, each.record, self._reads) for each in parked)
        return [item.event.topic for item in items if item is not None and isinstance(item.event, Event)]

    def _watched(self, reaction: Reaction) -> Reaction:
        handler: Callable[..., Event | None] = reaction.handler

        @wraps(handler)
        def handle(service: Any, event: Event, *rest: Any) -> Event | None:
            trouble = self._fate.trouble_of(self._service, event)
            if trouble == HANDLER_RAISES:
                raise Mistake(f"{event.key} is not what this was made for")
            if trouble == REFUSED:
                self._handled.append(event)  # it has had its turn
                raise PoisonRecord("refused", f"{event.key} is not known here yet")
            answer = handler(service, event, *rest)
            self._handled.append(event)
            return answer

        return replace(reaction, handler=handle)
