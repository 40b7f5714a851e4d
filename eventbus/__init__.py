"""The runtime of an event-driven service on Kafka: exactly once, in one thread. Knows no order and no service."""

from eventbus.database import ConcurrentUpdate, ReadOnlyOrFull, Table, Transaction, Unavailable, WorkingSet
from eventbus.event import Event, event
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import NoState, Service, TryAgain, Unasked, reacts_to

__all__ = [
    "Codec",
    "ConcurrentUpdate",
    "Event",
    "NoState",
    "PoisonRecord",
    "ReadOnlyOrFull",
    "Service",
    "Table",
    "Transaction",
    "TryAgain",
    "Unasked",
    "Unavailable",
    "WorkingSet",
    "event",
    "reacts_to",
]
