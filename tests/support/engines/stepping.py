"""Handlers driven as the engine drives them: remote calls, then decisions in a transaction, again after a race."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from eventbus import ConcurrentUpdate, Event, Service
from eventbus.database import Database
from eventbus.service import answer_of, finished


def deliver(
    service: Service[Any], database: Database, *batch: Event, between: Callable[[], None] = lambda: None
) -> list[Event]:
    """Handle a batch in one transaction and return what is published; `between` runs after the first remote calls."""
    while True:
        outcomes = _reach_out(service, database, batch)
        between()
        between = _nothing
        try:
            return _decide(service, database, batch, outcomes)
        except ConcurrentUpdate:
            continue


def _nothing() -> None:
    pass


def _reach_out(service: Service[Any], database: Database, batch: Sequence[Event]) -> list[Any]:
    with database.snapshot() as tx:
        known = service.repository.load(tx, batch)
    outcomes = []
    for event in batch:
        reaction = service.reactions[type(event)]
        now_ms = time.time_ns() // 1_000_000
        asked = reaction.remote is not None
        outcomes.append([answer_of(finished(reaction.call_remote(service, event, known, now_ms)))] if asked else [])
    return outcomes


def _decide(service: Service[Any], database: Database, batch: Sequence[Event], outcomes: list[Any]) -> list[Event]:
    with database.transaction() as tx:
        work = service.repository.load(tx, batch)
        published = [
            service.reactions[type(event)].handler(service, event, *outcome, work)
            for event, outcome in zip(batch, outcomes, strict=True)
        ]
        service.repository.save(tx, work)
    return [event for event in published if event is not None]
