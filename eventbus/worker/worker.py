"""A worker process: builds the world around an engine, turns it until a signal comes, and says how it ended."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import click

from eventbus.cli.options import Settings, fail
from eventbus.database import Database, LostRace, NotOurs, Unavailable, Unwritable, WrongVersion, connect, until_won
from eventbus.database.upgrade import upgrade
from eventbus.engine.calls import RemoteCalls
from eventbus.engine.config import Tuning, World
from eventbus.engine.decision import RepositoryFailed
from eventbus.engine.engine import Engine
from eventbus.engine.handlers import HandlerFailed
from eventbus.kafka.config import BadKafkaConfig, Connection, check, try_out
from eventbus.kafka.log import KafkaLog
from eventbus.kafka.topics import check_topics
from eventbus.log import InstanceTaken, LogUnavailable, NotLetIn, Refused, TopicMissing
from eventbus.serde.codec import Codec
from eventbus.serde.lookups import Lookups
from eventbus.serde.registry import RegistryLetsNobodyIn, RegistryUnavailable, UnknownSchema, registry_at
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
from eventbus.worker.telemetry import StructlogHandler, Telemetry, configure_logging
from eventbus.worker.watchdog import Watchdog
from eventbus.worker.watched import WatchedDatabase, watched_clients

EXIT_CODES: dict[type[Exception], int] = {
    HandlerFailed: 1,
    RepositoryFailed: 1,
    NotOurs: 1,
    WrongVersion: 1,
    UnknownSchema: 1,
    RegistryLetsNobodyIn: 1,
    NotLetIn: 1,
    BadKafkaConfig: 2,
    BadFailpoint: 2,
    BadRegistryConfig: 2,
    Refused: 3,
    InstanceTaken: 4,
    TopicMissing: 5,
    Unwritable: 7,
}
"""How a worker ends when it cannot go on. 0: told to stop; 2 also: wrong usage; 8: see watchdog."""
AWAY = (Unavailable, LogUnavailable, RegistryUnavailable, LostRace)
GRACE_SECONDS = 9.0
LAG_SECONDS = 2.0
GARBAGE = (50_000, 20, 100)
"""When Python looks for cycles: a batch makes tens of thousands of objects and no cycle; by default a tenth of the
time would go into looking (measured)."""
T = TypeVar("T")


class Stopped(Exception):
    """A signal came before there was anything to stop."""


class Signals:
    """SIGTERM and SIGINT: the first stops the worker, the second ends it at once, even inside a blocking call.

    After the first, a watchdog ends it hard when stopping takes too long; nothing is lost by that either.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hurry: Callable[[], None] = lambda: None
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._first)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()

    def _first(self, _number: int, _frame: object) -> None:
        self.stop.set()
        self.hurry()

    @staticmethod
    def _watch(reader: socket.socket) -> None:
        """Hear of signals as they arrive, whatever the main thread is doing."""
        reader.recv(1)
        reader.settimeout(GRACE_SECONDS)
        try:
            number = reader.recv(1)[0]
            os._exit(128 + number)
        except TimeoutError:
            click.echo(f"stopping took longer than {GRACE_SECONDS:g} s and was cut short: nothing is lost", err=True)
            os._exit(0)


def run_worker(service: Service[Any], settings: Settings) -> NoReturn:
    """Run until a signal (exit code 0) or until something is wrong that only a person can mend (see EXIT_CODES)."""
    secrets = secrets_in(settings.kafka_config)
    configure_logging(settings.log_format, settings.log_level, secrets)
    signals = Signals()
    telemetry = Telemetry(service.name, settings.instance, service.subscriptions())
    try:
        check(settings.kafka_config)
        _Run(service, settings, telemetry, signals).run()
    except Stopped:
        pass
    except tuple(EXIT_CODES) as error:
        telemetry.log.critical("worker.failed", error=type(error).__name__, why=str(error))
        fail(scrub(str(error), secrets), next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))
    telemetry.log.info("worker.stopped")
    sys.exit(0)


class _Run:
    """One worker, from its first look at what it needs to its end."""

    def __init__(self, service: Service[Any], settings: Settings, telemetry: Telemetry, signals: Signals) -> None:
        self._service, self._settings, self._telemetry, self._signals = service, settings, telemetry, signals
        self._watchdog = Watchdog(telemetry.log)
        self._steps = self._watchdog.watch("loop")
        telemetry.overdue = lambda: self._watchdog.overdue

    def run(self) -> None:
        """Run until a signal comes, or until something is wrong (see EXIT_CODES)."""
        self._watchdog.start()
        if self._settings.metrics_port is not None:
            _serve(self._telemetry, self._settings.metrics_port)
        connection = self._connection()
        try_out(connection)
        if self._settings.upgrade_database:
            self._patiently(self._upgrade)
        database = self._patiently(self._database)
        own = self._patiently(self._database)
        lease = self._lease(own)
        self._telemetry.named(lease.name)
        with closing(self._keeper(own, lease)) as keeper:
            self._turn(replace(connection, instance=lease.name), database, keeper)

    def _connection(self) -> Connection:
        """Return how Kafka is reached; the instance name is not known yet where none was given."""
        settings, service = self._settings, self._service
        logger = logging.getLogger(f"rdkafka.{service.name}.{os.getpid()}")
        logger.addHandler(StructlogHandler(self._telemetry))
        logger.propagate = False
        exactly_once = settings.delivery == "exactly-once"
        clients = watched_clients(self._steps)
        name = settings.instance or "unnamed"
        return Connection(
            settings.bootstrap_servers, service.name, name, exactly_once, settings.kafka_config, logger, clients
        )

    def _database(self) -> Database:
        service = self._service
        database = connect(self._settings.database, service=service.name, schema=service.repository.schema)
        with WatchedDatabase(database, self._steps).snapshot() as tx:
            quarantine.check(tx)
            return database

    def _upgrade(self) -> None:
        self._steps.rest()  # large tables take as long as they take
        schema = self._service.repository.schema
        for component, steps in upgrade(self._settings.database, self._service.name, schema, create=True).items():
            for step in steps:
                self._telemetry.log.info("database.upgraded", component=component, step=step.name)

    def _lease(self, database: Database) -> Lease:
        """Wait for the instance name, as long as it takes to see whether its holder lives."""
        contender = Contender(WatchedDatabase(database, self._steps), this_process(), now_ms=_now_ms)
        while True:
            lease = self._patiently(lambda: contender.take(self._settings.instance))
            if lease is not None:
                return lease
            self._signals.stop.wait(WATCH_SECONDS)

    def _keeper(self, database: Database, lease: Lease) -> LeaseKeeper:
        return LeaseKeeper(database, lease, self._watchdog, now_ms=_now_ms, warn=self._telemetry.warn)

    def _turn(self, connection: Connection, database: Database, keeper: LeaseKeeper) -> None:
        settings, service, telemetry = self._settings, self._service, self._telemetry
        world, announcement = self._world(connection, WatchedDatabase(database, self._steps))
        tuning = Tuning(dead_letters=settings.dead_letter_limit, keys_placed_over=settings.keys_placed_over)
        engine = Engine(service, world, tuning)
        self._signals.hurry = keeper.on_lost = engine.stop
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        try:
            self._steps.reach("starting")
            with suppress(*AWAY):  # whoever is not answered joins all the same: recovery judges too
                engine.judge()
            engine.subscribe()
            telemetry.log.info("worker.started", topics=service.topics(), delivery=settings.delivery)
            self._loop(engine, world, announcement, keeper)
        finally:
            engine.close()
            world.database.close()

    def _loop(self, engine: Engine, world: World, announcement: Announcement, keeper: LeaseKeeper) -> None:
        assert isinstance(world.log, KafkaLog)
        lag_at = 0.0
        while not self._signals.stop.is_set():
            keeper.check()
            try:
                engine.turn()
            except AWAY as error:
                self._telemetry.warn(str(error))
                self._signals.stop.wait(0.2)
            if time.monotonic() - lag_at > LAG_SECONDS:
                self._telemetry.lag(world.log.lag())
                self._evenness.look(world.log.partition_counts, time.monotonic())
                announcement.poll()
                lag_at = time.monotonic()

    def _world(self, connection: Connection, database: Database) -> tuple[World, Announcement]:
        settings, service, telemetry = self._settings, self._service, self._telemetry
        happens = failpoint(os.environ.get(VARIABLE), telemetry.log)

        def at(step: str) -> None:
            self._steps.reach(step)
            happens(step)

        url = settings.schema_registry_url
        registry = registry_at(url, service.events(), settings.registry_config)
        asked = Lookups(registry) if url else registry
        codec = self._patiently(lambda: Codec(asked, service.events()))
        agree = partial(schema_source.agree, codec=codec, events=service.publishes(), service=service.name)
        self._patiently(lambda: until_won(database, agree))
        outputs = [event.topic for event in service.publishes()]
        ours = (service.dead_letters(), service.resolutions())
        outputs += [service.progress()] if connection.exactly_once else []
        there = self._patiently(
            lambda: check_topics(connection, service.topics(), outputs, ours, telemetry.topic_limit)
        )
        alike = {topic: there[topic] for topic in (*service.topics(), *(event.topic for event in service.publishes()))}
        self._evenness = Evenness(alike, lambda why: telemetry.log.warning("topics.uneven", why=why))
        announcement = Announcement(type(service), connection, there, telemetry)
        log = KafkaLog(connection, warn=telemetry.warn, at=at, stopping=self._signals.stop.is_set)
        calls = RemoteCalls(settings.remote_concurrency)
        name = connection.instance
        world = World(log, database, calls, codec, time.monotonic, _now_ms, random.random, telemetry, at, name)
        return world, announcement

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call until what is away is back, saying so every few seconds. Raises Stopped when a signal comes first.

        And RegistryLetsNobodyIn: who starts with a wrong password does not wait.
        """
        while not self._signals.stop.is_set():
            self._telemetry.alive()
            self._steps.reach("starting")
            try:
                return call()
            except RegistryLetsNobodyIn:
                raise
            except AWAY as error:
                self._telemetry.warn(str(error))
                self._signals.stop.wait(1.0)
        raise Stopped


def _serve(telemetry: Telemetry, port: int) -> None:
    try:
        server = health.serve(telemetry, port)
    except OSError as error:
        fail(f"--metrics-port {port}: {error.strerror}; choose another one")
    telemetry.log.info("metrics.served", port=server.server_port)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
