"""A worker process: builds an engine and its dependencies, runs it until a signal arrives, and reports how it ended."""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from eventbus.cli.options import WorkerConfig
from eventbus.database import (
    ConcurrentUpdate,
    Database,
    ReadOnlyOrFull,
    Unavailable,
    WrongDatabase,
    WrongVersion,
    connect,
    retry_on_conflict,
)
from eventbus.database.upgrade import upgrade
from eventbus.engine.calling import RemoteCalls
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.decision import RepositoryFailed
from eventbus.engine.engine import Engine
from eventbus.engine.handlers import HandlerFailed
from eventbus.engine.incarnations import with_warning
from eventbus.event.overdue import WrongClock, check_clock
from eventbus.kafka.config import BadKafkaConfig, Connection, check, try_out
from eventbus.kafka.log import KafkaLog, Signal
from eventbus.kafka.outage import QUESTIONS, BrokerOutage
from eventbus.kafka.topics import ReachedCluster, check_topics
from eventbus.log import (
    AuthenticationFailed,
    InstanceTaken,
    LogUnavailable,
    Partition,
    TopicMissing,
    UnsafeToContinue,
)
from eventbus.serde.codec import Codec
from eventbus.serde.lookups import Lookups
from eventbus.serde.plans import BadCodec
from eventbus.serde.registry import RegistryAuthenticationFailed, RegistryUnavailable, UnknownSchema, registry_at
from eventbus.serde.registry_config import BadRegistryConfig
from eventbus.service import Service
from eventbus.store import quarantine, schema_source
from eventbus.text.redaction import scrub, secrets_in
from eventbus.worker import health
from eventbus.worker.announcement import Announcement
from eventbus.worker.evenness import Evenness
from eventbus.worker.failpoints import VARIABLE, BadFailpoint, failpoint
from eventbus.worker.instance import this_process
from eventbus.worker.lease import WATCH_SECONDS, Contender, Lease
from eventbus.worker.lease_keeper import LeaseKeeper
from eventbus.worker.root_events import SIGNALLED_QUERY_SECONDS, RootEventSignal
from eventbus.worker.telemetry import StructlogHandler, Telemetry
from eventbus.worker.watchdog import Steps, Watchdog
from eventbus.worker.watched import WatchedDatabase, watched_clients


class PortTaken(Exception):
    """The port for metrics and health cannot be used."""


EXIT_CODES: dict[type[Exception], int] = {
    HandlerFailed: 1,
    RepositoryFailed: 1,
    WrongDatabase: 1,
    WrongVersion: 1,
    UnknownSchema: 1,
    RegistryAuthenticationFailed: 1,
    AuthenticationFailed: 1,
    PortTaken: 1,
    WrongClock: 1,
    BadKafkaConfig: 2,
    BadCodec: 2,
    BadFailpoint: 2,
    BadRegistryConfig: 2,
    UnsafeToContinue: 3,
    InstanceTaken: 4,
    TopicMissing: 5,
    ReadOnlyOrFull: 7,
}
"""The exit code for each error that ends a worker. 0: told to stop; 2 also: a usage error; 8: see watchdog."""
AWAY = (Unavailable, LogUnavailable, RegistryUnavailable, ConcurrentUpdate)
LAG_SECONDS = 2.0
ASK_SECONDS = 2.0
GARBAGE = (50_000, 20, 100)
"""Thresholds of Python's garbage collector. A batch makes tens of thousands of objects and no cycles: with the default
thresholds a tenth of the time goes into collections (measured)."""
T = TypeVar("T")


class Stopped(Exception):
    """The worker was told to stop before it had started."""


class Ending(NamedTuple):
    """How a worker ended: its exit code (see EXIT_CODES), and the error that an operator must fix, if any."""

    code: int = 0
    error: Exception | None = None


class Worker:
    """One worker of a service, in this process.

    If Kafka's client hangs, the watchdog ends the process with exit code 8: such a call cannot be interrupted.
    """

    def __init__(self, service: Service[Any], config: WorkerConfig) -> None:
        self._service, self._config = service, config
        self._stop = threading.Event()
        self._stop_engine: Callable[[], None] = lambda: None
        self._telemetry = Telemetry(service.name, config.instance, service.subscriptions())
        self._watchdog = Watchdog(self._telemetry.log)
        self._telemetry.overdue = lambda: self._watchdog.overdue
        self._telemetry.outage = BrokerOutage(config.bootstrap_servers)
        self._asked_at = 0.0
        self._steps: Steps

    def stop(self) -> None:
        """Make `run` return soon. May be called from another thread or from a signal handler."""
        self._stop.set()
        self._stop_engine()

    def run(self) -> Ending:
        """Run until `stop`, or until an error that only an operator can fix; return how it ended."""
        secrets = secrets_in(self._config.kafka_config)
        self._steps = self._watchdog.watch("loop")
        try:
            check(self._config.kafka_config)
            self._watchdog.start()
            with self._serving():
                self._run()
        except Stopped:
            pass
        except tuple(EXIT_CODES) as error:
            self._telemetry.log.critical("worker.failed", error=type(error).__name__, why=scrub(str(error), secrets))
            return Ending(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), error)
        finally:
            self._steps.rest()
        self._telemetry.log.info("worker.stopped")
        return Ending()

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """Serve metrics and health, if a port is configured."""
        port, server = self._config.metrics_port, None
        if port is not None:
            try:
                server = health.serve(self._telemetry, port)
            except OSError as error:
                raise PortTaken(f"--metrics-port {port}: {error.strerror}; choose another one") from error
            self._telemetry.log.info("metrics.served", port=server.server_port)
        try:
            yield
        finally:
            if server is not None:
                health.end(server)

    def _run(self) -> None:
        if self._service.deadlines:
            check_clock(_now_ms())
        connection = self._connection()
        try_out(connection)
        if self._config.upgrade_database:
            self._retry_while_unavailable(self._upgrade)
        database = self._retry_while_unavailable(self._database)
        self._retry_while_unavailable(lambda: self._service.starting(database))
        lease_database = self._retry_while_unavailable(self._database)
        lease = self._lease(lease_database)
        self._telemetry.named(lease.name)
        with closing(self._keeper(lease_database, lease)) as keeper:
            self._run_engine(replace(connection, instance=lease.name), database, keeper)

    def _connection(self) -> Connection:
        """Return the connection settings for Kafka. Without --instance the instance name is not known yet."""
        config, service = self._config, self._service
        logger = logging.getLogger(f"rdkafka.{service.name}.{os.getpid()}")
        logger.addHandler(StructlogHandler(self._telemetry))
        logger.propagate = False
        exactly_once = config.delivery == "exactly-once"
        clients = watched_clients(self._steps)
        name = config.instance or "unnamed"
        return Connection(
            config.bootstrap_servers, service.name, name, exactly_once, config.kafka_config, logger, clients
        )

    def _database(self) -> Database:
        service = self._service
        database = connect(self._config.database, service=service.name, schema=service.repository.schema)
        with WatchedDatabase(database, self._steps).snapshot() as tx:
            quarantine.check(tx)
            return database

    def _upgrade(self) -> None:
        self._steps.rest()  # no limit: large tables take long
        schema = self._service.repository.schema
        for component, steps in upgrade(self._config.database, self._service.name, schema, create=True).items():
            for step in steps:
                self._telemetry.log.info("database.upgraded", component=component, step=step.name)

    def _lease(self, database: Database) -> Lease:
        """Return the lease of the instance name, once it is known whether the present holder is alive."""
        contender = Contender(WatchedDatabase(database, self._steps), this_process(), now_ms=_now_ms)
        while True:
            lease = self._retry_while_unavailable(lambda: contender.take(self._config.instance))
            if lease is not None:
                return lease
            self._stop.wait(WATCH_SECONDS)

    def _keeper(self, database: Database, lease: Lease) -> LeaseKeeper:
        keeper = LeaseKeeper(database, lease, self._watchdog, now_ms=_now_ms, warn=self._telemetry.warn)
        secrets = secrets_in(self._config.kafka_config)
        keeper.why_waiting = lambda: scrub(self._telemetry.why_waiting(), secrets)
        return keeper

    def _run_engine(self, connection: Connection, database: Database, keeper: LeaseKeeper) -> None:
        config, service, telemetry = self._config, self._service, self._telemetry
        deps, announcement = self._dependencies(connection, WatchedDatabase(database, self._steps))
        engine_config = EngineConfig(
            dead_letters=config.dead_letter_limit,
            keys_placed_over=config.keys_placed_over,
            poll_timeout_root_events=SIGNALLED_QUERY_SECONDS,
        )
        engine = Engine(service, deps, engine_config)
        self._stop_engine = keeper.on_lost = engine.stop
        thresholds = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        try:
            self._steps.reach("starting")
            with suppress(*AWAY):  # if it cannot be checked now, recovery checks it
                engine.judge()
            engine.subscribe()
            codec = deps.codec.kind
            telemetry.log.info("worker.started", topics=service.topics(), delivery=config.delivery, codec=codec)
            self._loop(engine, deps, announcement, keeper)
        finally:
            engine.close()
            deps.database.close()
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def _loop(self, engine: Engine, deps: Dependencies, announcement: Announcement, keeper: LeaseKeeper) -> None:
        assert isinstance(deps.log, KafkaLog)
        lag_at = 0.0
        while not self._stop.is_set():
            keeper.check()
            try:
                engine.run_once()
            except AWAY as error:
                self._telemetry.unavailable(error)
                self._stop.wait(0.2)
            self._ask_if_silent(deps.log)
            if time.monotonic() - lag_at > LAG_SECONDS:
                self._telemetry.lag(deps.log.lag())
                self._evenness.look(deps.log.partition_counts, time.monotonic())
                announcement.poll()
                lag_at = time.monotonic()

    def _dependencies(self, connection: Connection, database: Database) -> tuple[Dependencies, Announcement]:
        config, service, telemetry = self._config, self._service, self._telemetry
        act_on = failpoint(os.environ.get(VARIABLE), telemetry.log)

        def reached(step: str) -> None:
            self._steps.reach(step)
            act_on(step)

        url = config.schema_registry_url
        registry = registry_at(url, service.events(), config.registry_config)
        lookups = Lookups(registry) if url else registry
        codec = self._retry_while_unavailable(lambda: Codec(lookups, service.events()))
        agree = partial(schema_source.agree, codec=codec, events=service.publishes(), service=service.name)
        self._retry_while_unavailable(lambda: retry_on_conflict(database, agree))
        outputs = [event.topic for event in service.publishes()]
        ours = (service.dead_letters(), service.resolutions())
        outputs += [service.progress()] if connection.exactly_once else []

        def checked() -> ReachedCluster:
            try:
                return check_topics(connection, service.topics(), outputs, ours, telemetry.topic_limit)
            except TopicMissing as missing:
                raise with_warning(missing, database) from missing

        cluster = self._retry_while_unavailable(checked)
        telemetry.connected(config.bootstrap_servers, cluster)
        partition_counts = cluster.partition_counts
        events = (*service.topics(), *(event.topic for event in service.publishes()))
        equal_counts = {topic: partition_counts[topic] for topic in events}
        self._evenness = Evenness(equal_counts, lambda why: telemetry.log.warning("topics.uneven", why=why))
        announcement = Announcement(type(service), connection, partition_counts, telemetry)
        log = KafkaLog(
            connection,
            warn=telemetry.warn_of_kafka,
            failpoint=reached,
            stopping=self._stop.is_set,
        )
        log.outage = telemetry.outage
        telemetry.behind = lambda: sum(log.lag().values())
        if service.root_events() or service.deadlines:
            root = Partition(service.subscriptions()[0], 0)
            log.signal = Signal(root, RootEventSignal(database, time.monotonic).seen)
        calls = RemoteCalls(config.remote_concurrency, service.call_style)
        name = connection.instance
        deps = Dependencies(
            log=log,
            database=database,
            calls=calls,
            codec=codec,
            clock=time.monotonic,
            now_ms=_now_ms,
            random=random.random,
            observer=telemetry,
            failpoint=reached,
            instance=name,
        )
        return deps, announcement

    def _retry_while_unavailable(self, call: Callable[[], T]) -> T:
        """Call, and repeat while a dependency is unavailable, with a warning every few seconds.

        Raises Stopped if the worker is told to stop meanwhile, and RegistryAuthenticationFailed at once: a worker that
        starts with a wrong password does not wait.
        """
        while not self._stop.is_set():
            self._telemetry.alive()
            self._steps.reach("starting")
            try:
                return call()
            except RegistryAuthenticationFailed:
                raise
            except AWAY as error:
                self._telemetry.unavailable(error)
                self._stop.wait(1.0)
        raise Stopped

    def _ask_if_silent(self, log: KafkaLog) -> None:
        """While no broker is heard, ask every few seconds, and say so: the client tells neither that nor its end."""
        if log.outage.in_question and time.monotonic() - self._asked_at > ASK_SECONDS:
            for _ in range(QUESTIONS):
                try:
                    log.ask()
                except LogUnavailable as error:
                    self._telemetry.away(str(error))
                else:
                    self._telemetry.reached()
                if log.outage.active or not log.outage.in_question:
                    break
            self._asked_at = time.monotonic()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
