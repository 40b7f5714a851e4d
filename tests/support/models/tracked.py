"""The events of the model of the saga as the tracker takes them in, and a tracker's database to put them into."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec

from saga.tracker.fold import TrackedEvent
from saga.tracker.installed import MODEL
from saga.tracker.intake import Batch
from saga.tracker.store import Store
from tests.support.models.saga_model import World
from tests.support.models.written_saga import _event

SCHEMA_ID = 1


def tracked_events(orders: int, seed: int = 3) -> list[TrackedEvent]:
    """Return all events of so many finished orders, by time."""
    world = World(Random(seed), orders)
    world.finish()
    facts = sorted((fact for tp in world.log.values() for fact in tp), key=lambda fact: fact.timestamp_ms)
    return [
        TrackedEvent(
            *(fact.order_id, fact.topic, fact.partition, fact.offset, fact.timestamp_ms),
            *(MODEL.publisher[fact.topic], SCHEMA_ID, None if fact.cause is None else str(fact.cause)),
            msgspec.json.encode(_event(fact)).decode(),
        )
        for fact in facts
    ]


def of_order(events: list[TrackedEvent], *topics: str) -> list[TrackedEvent]:
    """Return the events of the first order that has exactly these."""
    by_order: dict[str, list[TrackedEvent]] = {}
    for event in events:
        by_order.setdefault(event.order_id, []).append(event)
    return next(found for found in by_order.values() if {event.topic for event in found} == set(topics))


def stored(path: Path, *batches: list[TrackedEvent]) -> Store:
    """Return a database that took these batches in."""
    store = Store(path, MODEL)
    for batch in batches:
        ends: dict[tuple[str, int], tuple[int, int]] = {}
        for event in batch:
            ends[event.topic, event.partition] = (event.offset + 1, event.offset + 1)
        store.write(Batch(batch, []), ends)
    return store
