"""Which errors the engine retries."""

from __future__ import annotations

from eventbus.database import ConcurrentUpdate, Unavailable
from eventbus.engine.parking import TooManyParked
from eventbus.engine.recovery import RecoveryConflict
from eventbus.log import LogUnavailable
from eventbus.serde.registry import RegistryUnavailable

TRANSIENT = (Unavailable, LogUnavailable, RegistryUnavailable, ConcurrentUpdate, RecoveryConflict, TooManyParked)
"""The partitions are recovered after one of these, and everything is tried again."""
