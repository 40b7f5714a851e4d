"""What an engine is given: everything outside that it touches, and its sizes and times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eventbus.database import Database
from eventbus.engine.calls import Calls
from eventbus.engine.observer import Observer
from eventbus.log import MAX_BUFFERED_BYTES, Log
from eventbus.serde.codec import Codec


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes and times; the defaults were measured."""

    batch: int = 1_000
    """Records a batch, at most; with 2,000 an event costs about a tenth more processor time (measured)."""
    pending_outputs: int = 5_000
    """So many outputs are published at once, although more input is there."""
    pending_seconds: float = 0.1
    """So long outputs wait for company, at most, while more input is there."""
    max_buffered_bytes: int = MAX_BUFFERED_BYTES
    """Whatever their number, records are a crowd from here on: no more are read than one a turn, no further parked one
    is tried again at once, and outputs are published. Around it, because the last one always comes too."""
    remote_seconds: float = 0.25
    """What the remote calls of one batch should take together."""
    patience: float = 0.1
    """How long an idle turn waits for input, at most."""
    poll_timeout_root_events: float = 0.02
    """The same for a service that publishes uncaused events: they are looked for after it."""
    idle_check_after: float = 1.0
    """So often a busy worker, too, looks whether somebody else has moved a checkpoint."""
    judge_after: float = 5.0
    """So often every worker compares its database with what all workers of the service have published."""
    prune_after: float = 0.5
    """So long after the last work an idle worker deletes published entries and notes the end of the log."""
    backoff: float = 0.1
    """The first wait after a failure in seconds; it doubles up to `backoff_most`, with jitter."""
    backoff_most: float = 5.0
    attempts: int = 6
    """So often deciding may fail for no record's fault before the worker stops."""
    retry: float = 0.1
    """The first wait before a parked record is tried again in seconds; it doubles up to `retry_most`, with jitter."""
    retry_most: float = 60.0
    retries: int = 100
    """So many keys in trouble are tried again at once, at most, and so many parked records of each."""
    dead_letters: int = 100
    """So many of a partition's last 10,000 records may be bad; at one more the partition is paused."""
    keys_placed_over: int | None = None
    """The fewest partitions that all writers placed keys over: records elsewhere are bad. None: handled anywhere."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything outside that the engine reads, writes, or waits for."""

    log: Log
    database: Database
    calls: Calls
    codec: Codec
    clock: Callable[[], float]
    """Seconds that only go forward."""
    now_ms: Callable[[], int]
    """The time of day, in milliseconds since 1970, for dead letters."""
    random: Callable[[], float]
    """0 to 1, for jitter."""
    observer: Observer
    failpoint: Callable[[str], None] = lambda _step: None
    """Called at every named step: where tests crash, stall and interleave."""
    instance: str = ""
    """The worker's name, for who asks which one it was."""
