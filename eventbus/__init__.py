"""The runtime of an event-driven service on Kafka: exactly once, in one thread. Knows no order and no service."""

from eventbus.database import LostRace, Table, Transaction, Unavailable, Unwritable, WorkingSet
from eventbus.event import Event, event
from eventbus.serde.codec import Codec, PoisonRecord
from eventbus.service import NoState, Service, TryAgain, Unasked, reacts_to

__all__ = [
    "Codec",
    "Event",
    "LostRace",
    "NoState",
    "PoisonRecord",
    "Service",
    "Table",
    "Transaction",
    "TryAgain",
    "Unasked",
    "Unavailable",
    "Unwritable",
    "WorkingSet",
    "event",
    "reacts_to",
]
