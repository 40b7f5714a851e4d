"""What an engine is given: its external dependencies, and its sizes and times."""

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
    """The most records of one batch; with 2,000 an event costs about a tenth more processor time (measured)."""
    pending_outputs: int = 10_000
    """The engine publishes once this many outputs are pending, even if there is a backlog."""
    pending_seconds: float = 0.3
    """The longest time that outputs are pending while there is a backlog; with 0.1 s a fifth fewer events a second
    (measured)."""
    max_buffered_bytes: int = MAX_BUFFERED_BYTES
    """From this size on the engine polls one record at a time, retries no further parked record at once, and publishes
    its outputs. The limit is approximate: the record that crosses it is still included."""
    remote_seconds: float = 0.25
    """The target duration of all remote calls of one batch together."""
    patience: float = 0.1
    """The longest time that an idle poll waits for input."""
    poll_timeout_root_events: float = 0.02
    """The same for a service that publishes root events: they are queried after each poll."""
    idle_check_after: float = 1.0
    """The interval at which a busy worker, too, checks whether another worker has moved a checkpoint."""
    deadline_check_after: float = 0.1
    """The same for a worker that fires deadlines: another process may set one that is over before this interval is."""
    judge_after: float = 5.0
    """The interval at which every worker compares its database with what all workers of the service have published."""
    prune_after: float = 0.5
    """An idle worker deletes published entries and records the end offsets this long after its last batch."""
    backoff: float = 0.1
    """The first wait after a failure in seconds; it doubles up to `backoff_most`, with jitter."""
    backoff_most: float = 5.0
    attempts: int = 6
    """The worker stops after this many consecutive failures to decide that no single record causes."""
    retry: float = 0.1
    """The first wait before a parked record is retried in seconds; it doubles up to `retry_most`, with jitter."""
    retry_most: float = 60.0
    retries: int = 100
    """The most blocked keys that are retried at once, and the most parked records of each."""
    dead_letters: int = 100
    """The most bad records among a partition's last 10,000; at one more the partition is paused."""
    keys_placed_over: int | None = None
    """The fewest partitions that any producer placed keys over: records elsewhere are bad. None: handled anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Every external dependency that the engine reads, writes, or waits for."""

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
    """The worker's instance name, recorded when it puts the database in quarantine."""
