"""What a worker reports about itself: one log line per batch, Prometheus metrics, liveness and readiness."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any

import structlog
from confluent_kafka import libversion
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from eventbus.engine.observer import Handled, Observer, Parking
from eventbus.kafka.outage import BrokerOutage
from eventbus.kafka.topics import ReachedCluster
from eventbus.log import LogUnavailable, NoBrokerAnswers, Partition
from eventbus.store.blocked_keys import ParkedCounts
from eventbus.text.redaction import scrub
from eventbus.worker.console import SENTENCES, Sentences, for_people

ALIVE_SECONDS = 90.0
"""The loop must complete an iteration this often. The timeouts of calls to an unavailable broker bound the longest."""
REPEAT_SECONDS = 5.0
"""The same warning is logged at most this often."""
WAITS_SECONDS = 20.0
"""A worker waits for this long after it last said so: between two tries it may wait 5 s, and for an answer as long."""
NORMAL = ("GETPID", "METADATAUPDATE", "FAIL")
"""What librdkafka warns of although it is normal (GETPID: the coordinator of transactions is still loading;
METADATAUPDATE: a partition's leader is named before its address is known), or is said in a sentence (FAIL: a connection
that broke, or could not be made)."""
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


def configure_logging(
    log_format: str, level: str, secrets: Collection[str] = (), sentences: Sentences = SENTENCES
) -> None:
    """Send structlog to stderr: JSON, or sentences for people if stderr is a terminal (`auto`) or for `console`.

    Secrets are redacted: these, and others that are recognized by their context (see `scrub`).
    """

    def scrubbed(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {name: scrub(value, secrets) if isinstance(value, str) else value for name, value in event.items()}

    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    renderer = structlog.dev.ConsoleRenderer(pad_event_to=0, pad_level=False, colors=colors) if console else None
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            structlog.processors.format_exc_info,
            scrubbed,
            *([partial(for_people, sentences=sentences)] if console else []),
            renderer or structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


class Telemetry(Observer):
    """Logs and counts what the engine reports. One registry per object, so that one process can have several."""

    def __init__(self, service: str, instance: str | None, topics: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self.log = structlog.get_logger().bind(service=service)
        if instance is not None:
            self.named(instance)
        self.overdue: Callable[[], str | None] = lambda: None
        """Returns which step exceeds its limit, or None."""
        self.behind: Callable[[], int] = lambda: 0
        """Returns how many offsets are not read yet."""
        self.outage = BrokerOutage("")
        """Whether any Kafka broker answers."""
        self._last_iteration = self._not_ready_since = time.monotonic()
        self._ready = False
        self._owned = 0
        self._assigned: set[Partition] = set()
        self._logged_at: dict[str, float] = {}
        self._waits = ("", -WAITS_SECONDS)
        """The last reason for waiting, and when it was said."""
        self._paused: dict[Partition, str] = {}
        self._make_metrics()
        for topic in topics:
            self._consumed.labels(topic)

    def _make_metrics(self) -> None:
        registry = self.registry
        self._consumed = Counter("saga_events_consumed", "Records handled.", ["topic"], registry=registry)
        self._published = Counter(
            "saga_events_published", "Outputs committed, dead letters included.", ["topic"], registry=registry
        )
        self._dead = Counter("saga_dead_letters", "Records dead-lettered.", ["reason"], registry=registry)
        self._delay = Histogram(
            "saga_event_delay_seconds",
            "From a record's timestamp to the commit of its effects; the oldest record of each batch.",
            buckets=DELAYS,
            registry=registry,
        )
        self._batch = Histogram("saga_batch_seconds", "Handling one batch.", buckets=DELAYS, registry=registry)
        self._transactions = Counter("saga_transactions", "Kafka transactions.", ["outcome"], registry=registry)
        self._recoveries = Counter("saga_recoveries", "Recoveries of partitions.", registry=registry)
        self._scheduled = [
            Counter("saga_recoveries_scheduled", "Reasons to recover a partition.", registry=registry),
            Counter("saga_doubts", "Deprecated: saga_recoveries_scheduled.", registry=registry),
        ]
        self._pending = Gauge("saga_outbox_pending", "Outputs committed, not yet published.", registry=registry)
        self._blocked = [
            Gauge("saga_blocked_keys", "Blocked keys that this worker retries.", registry=registry),
            Gauge("saga_parked_orders", "Deprecated: saga_blocked_keys.", registry=registry),
        ]
        self._blocked_at = Gauge(
            "saga_blocked_keys_by_topic",
            "Those, by the topic of the record that is retried.",
            ["topic"],
            registry=registry,
        )
        self._parked = Gauge("saga_parked_records", "Parked records of these keys.", registry=registry)
        self._partitions = Gauge("saga_partitions_assigned", "Partitions assigned to this worker.", registry=registry)
        self._lag = Gauge(
            "saga_consumer_lag_records", "Offsets not yet read.", ["topic", "partition"], registry=registry
        )

        self._halted = Gauge(
            "saga_partition_paused", "1: waits for an operator.", ["topic", "partition", "reason"], registry=registry
        )

    def named(self, instance: str) -> None:
        """Add this instance name to every log line from now on."""
        self.log = self.log.bind(instance=instance)

    def connected(self, servers: str, cluster: ReachedCluster) -> None:
        """Log which cluster was reached. Kafka's client does not learn the version of the brokers."""
        self.reached()
        client = f"librdkafka {libversion()[0]}"
        self.log.info("kafka.connected", servers=servers, brokers=cluster.brokers, cluster=cluster.id, client=client)

    def not_alive(self) -> list[str]:
        """Return why the process is stuck; empty if it is not. An unavailable broker does not make it stuck."""
        overdue = self.overdue()
        stuck = time.monotonic() - self._last_iteration >= ALIVE_SECONDS
        reason = f"the worker's loop has not completed an iteration for {ALIVE_SECONDS:g} s"
        return [*([overdue] if overdue else []), *([reason] if stuck else [])]

    def not_ready(self) -> list[str]:
        """Return why the worker is not ready: it has no partitions, or some of them are paused."""
        return list(self._paused.values()) if self._owned else ["no partitions are assigned"]

    def unavailable(self, error: Exception) -> None:
        """Log that a dependency is away, as often as `warn` does."""
        if isinstance(error, NoBrokerAnswers):
            self.outage.begin(error.why)
        warn = self.warn_of_kafka if isinstance(error, LogUnavailable) else self.warn
        warn(str(error))

    def warn_of_kafka(self, what: str) -> None:
        """Do the same as `warn`; while no broker answers, that is what is logged instead."""
        if self.outage.active:
            self._warn(str(self.outage), "outage")
        elif not self.outage.suspected:
            self.warn(what)

    def away(self, why: str) -> None:
        """Log that no broker answers, if that is so: one was asked in vain, and why."""
        self.outage.unanswered(why)
        if self.outage.active:
            self.warn_of_kafka(why)

    def reached(self) -> None:
        """Log that a broker answers again, if it was logged that none did."""
        known = self.outage.active
        self.outage.end()
        if known:
            self.log.info("kafka.reached", seconds=round(self.outage.seconds, 1))

    def warn(self, what: str) -> None:
        """Log a problem that is retried, each kind at most every REPEAT_SECONDS, whichever key it is about."""
        self._warn(what, UUID.sub("…", what))

    def why_waiting(self) -> str:
        """Return why the worker retries in place, or why partitions are paused; empty if neither. For any thread."""
        why, at = self._waits
        if time.monotonic() - at < WAITS_SECONDS:
            return why
        return next(iter([*self._paused.values()]), "")

    def _warn(self, what: str, kind: str) -> None:
        now = time.monotonic()
        self._waits = what, now
        if now - self._logged_at.get(kind, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._logged_at = {w: t for w, t in self._logged_at.items() if now - t < REPEAT_SECONDS} | {kind: now}
            self.log.warning("waiting", why=what)

    def topic_limit(self, what: str) -> None:
        """Log that a topic may reject records that the service publishes."""
        self.log.warning("topic.limit", why=what)

    def batch_handled(self, batch: Handled) -> None:
        """See Observer."""
        for topic, count in batch.consumed.items():
            self._consumed.labels(topic).inc(count)
        for topic, count in batch.published.items():
            self._published.labels(topic).inc(count)
        if batch.oldest_ms is not None:
            self._delay.observe(max(0.0, time.time() - batch.oldest_ms / 1000))
        self._batch.observe(batch.seconds)
        for record, poison in batch.dead:
            self._dead.labels(poison.reason).inc()
            self.log.warning("record.dead_lettered", record=record.address, reason=poison.reason, detail=str(poison))
        self._log_parking(batch.parking)
        tell = self.log.info if batch.consumed or batch.published else self.log.debug  # a retry that failed again
        tell(
            "batch.handled",
            consumed=batch.consumed,
            published=batch.published,
            parked=batch.parking.parked,
            dead_letters=len(batch.dead),
            milliseconds=round(batch.seconds * 1000, 1),
            example=batch.example,
            lag=self.behind(),
        )

    def _log_parking(self, parking: Parking) -> None:
        for block in parking.blocked:
            self.log.error("key.blocked", key=block.key, records=block.records, error=block.error)
        for block in parking.retried:
            wait = round(max(0.0, block.retry_at_ms / 1000 - time.time()), 1)
            fields = {"attempts": block.attempts, "records": block.records, "error": block.error, "retry_in": wait}
            self.log.warning("key.retry_failed", key=block.key, **fields)
        for block in parking.unblocked:
            seconds = round(max(0.0, time.time() - block.since_ms / 1000), 1)
            self.log.info("key.unblocked", key=block.key, since_ms=block.since_ms, seconds=seconds)

    def transaction(self, outcome: str, outputs: int, seconds: float) -> None:
        """See Observer."""
        self._transactions.labels(outcome).inc()
        self.log.debug("transaction", outcome=outcome, outputs=outputs, milliseconds=round(seconds * 1000, 1))

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """See Observer."""
        partitions = list(partitions)
        if self._ready:
            self._ready, self._not_ready_since = False, time.monotonic()
        self._assigned.update(partitions)
        self.log.info("partitions.assigned", partitions=[str(partition) for partition in partitions])

    def released(self, partitions: Iterable[Partition], *, lost: bool) -> None:
        """See Observer."""
        partitions = list(partitions)
        self._assigned.difference_update(partitions)
        self._no_longer_paused(partitions)
        event = "partitions.lost" if lost else "partitions.revoked"
        self.log.info(event, partitions=[str(partition) for partition in partitions])

    def recovered(self, partition: Partition, *, entries: int, next_offset: int) -> None:
        """See Observer."""
        self._recoveries.inc()
        self._no_longer_paused([partition])
        log = self.log.info if entries else self.log.debug
        log("partition.recovered", partition=str(partition), entries=entries, next_offset=next_offset)

    def paused(self, partition: Partition, reason: str, why: str) -> None:
        """See Observer."""
        self._paused[partition] = why
        self._halted.labels(partition.topic, str(partition.number), reason).set(1)
        self.log.error("partition.paused", partition=str(partition), reason=reason, why=why)

    def resumed(self, partition: Partition) -> None:
        """See Observer."""
        self._no_longer_paused([partition])
        self.log.info("partition.resumed", partition=str(partition))

    def _no_longer_paused(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            if self._paused.pop(partition, None) is not None:
                self._halted.remove_by_labels({"topic": partition.topic, "partition": str(partition.number)})

    def recovery_scheduled(self, partition: Partition, why: str, *, retry_in: float) -> None:
        """See Observer."""
        for metric in self._scheduled:
            metric.inc()
        self.log.debug("partition.recovery_scheduled", partition=str(partition), why=why, retry_in=round(retry_in, 2))
        self.warn_of_kafka(why)

    def parked(self, counts: ParkedCounts) -> None:
        """See Observer."""
        for metric in self._blocked:
            metric.set(counts.keys)
        self._parked.set(counts.records)
        self._blocked_at.clear()
        for topic, keys in counts.keys_by_topic:
            self._blocked_at.labels(topic).set(keys)

    def set_aside(self, parking: Parking) -> None:
        """See Observer."""
        self._log_parking(parking)

    def alive(self) -> None:
        """See Observer."""
        self._last_iteration = time.monotonic()

    def turned(self, *, ready: int, owned: int, pending: int) -> None:
        """See Observer."""
        self.alive()
        if owned != self._owned:
            self._owned = owned
            self._partitions.set(owned)
        if not self._ready and 0 < owned == ready:
            self._ready = True
            seconds = round(self._last_iteration - self._not_ready_since, 1)
            topics = len({partition.topic for partition in self._assigned})
            self.log.info("worker.ready", partitions=owned, topics=topics, seconds=seconds)
        self._pending.set(pending)

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """Set the lag, in offsets, of each partition that is consumed."""
        self._lag.clear()
        for partition, records in lags.items():
            self._lag.labels(partition.topic, str(partition.number)).set(records)


class StructlogHandler(logging.Handler):
    """Passes a library's own log on to structlog, each kind of line at most every few seconds."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry
        self._logged_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        message = record.getMessage()
        kind = message.partition(" ")[0]
        if any(each in kind for each in NORMAL) or self._telemetry.outage.in_question:
            self._telemetry.log.debug("rdkafka", line=message)
            return
        now = time.monotonic()
        if "CONFWARN" in message or now - self._logged_at.get(kind, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        self._logged_at[kind] = now
        self._telemetry.log.log(record.levelno, "rdkafka", line=message)
