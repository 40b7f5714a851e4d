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
from typing import Any, NoReturn, TypeVar

import click

from eventbus import health, quarantine
from eventbus.announcement import Announcement
from eventbus.cli import Settings, fail
from eventbus.codec import Codec
from eventbus.database import Database, LostRace, NotOurs, Unavailable, Unwritable, WrongVersion, connect
from eventbus.decision import RepositoryFailed
from eventbus.engine import Engine
from eventbus.failpoints import VARIABLE, BadFailpoint, failpoint
from eventbus.handlers import HandlerFailed
from eventbus.instance import InstanceName
from eventbus.kafka import KafkaLog
from eventbus.kafka_config import BadKafkaConfig, Connection, check, try_out
from eventbus.kafka_topics import check_topics
from eventbus.log import InstanceTaken, LogUnavailable, Refused, TopicMissing
from eventbus.registry import RegistryUnavailable, UnknownSchema, registry_at
from eventbus.remote import RemoteCalls
from eventbus.service import Service
from eventbus.telemetry import StructlogHandler, Telemetry, configure_logging
from eventbus.upgrade import upgrade
from eventbus.world import Tuning, World

EXIT_CODES: dict[type[Exception], int] = {
    HandlerFailed: 1,
    RepositoryFailed: 1,
    NotOurs: 1,
    WrongVersion: 1,
    UnknownSchema: 1,
    BadKafkaConfig: 2,
    BadFailpoint: 2,
    Refused: 3,
    InstanceTaken: 4,
    TopicMissing: 5,
    Unwritable: 7,
}
"""How a worker ends when it cannot go on. 0: told to stop; 2 also: wrong usage."""
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
    configure_logging(settings.log_format, settings.log_level)
    signals = Signals()
    instance = settings.instance or _first_free(service)
    telemetry = Telemetry(service.name, instance, service.subscriptions())
    try:
        check(settings.kafka_config)
        _run(service, settings, instance, telemetry, signals)
    except Stopped:
        pass
    except tuple(EXIT_CODES) as error:
        telemetry.log.critical("worker.failed", error=type(error).__name__, why=str(error))
        fail(str(error), next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))
    telemetry.log.info("worker.stopped")
    sys.exit(0)


def _first_free(service: Service[Any]) -> str:
    try:
        return InstanceName(service.name).name
    except OSError as error:
        fail(f"this worker's name has no place for its lock file: {error}. Give --instance, or set TMPDIR")


def _run(service: Service[Any], settings: Settings, instance: str, telemetry: Telemetry, signals: Signals) -> None:
    if settings.metrics_port is not None:
        _serve(telemetry, settings.metrics_port)
    world, announcement = _world(service, settings, instance, telemetry, signals)
    tuning = Tuning(dead_letters=settings.dead_letter_limit, keys_placed_over=settings.keys_placed_over)
    engine = Engine(service, world, tuning)
    signals.hurry = engine.stop
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    engine.subscribe()
    telemetry.log.info("worker.started", topics=service.topics(), delivery=settings.delivery)
    _loop(engine, world, telemetry, signals, announcement)


def _loop(engine: Engine, world: World, telemetry: Telemetry, signals: Signals, announcement: Announcement) -> None:
    assert isinstance(world.log, KafkaLog)
    lag_at = 0.0
    try:
        while not signals.stop.is_set():
            try:
                engine.turn()
            except AWAY as error:
                telemetry.warn(str(error))
                signals.stop.wait(0.2)
            if time.monotonic() - lag_at > LAG_SECONDS:
                telemetry.lag(world.log.lag())
                announcement.poll()
                lag_at = time.monotonic()
    finally:
        engine.close()
        world.database.close()


def _serve(telemetry: Telemetry, port: int) -> None:
    try:
        server = health.serve(telemetry, port)
    except OSError as error:
        fail(f"--metrics-port {port}: {error.strerror}; choose another one")
    telemetry.log.info("metrics.served", port=server.server_port)


def _world(
    service: Service[Any], settings: Settings, instance: str, telemetry: Telemetry, signals: Signals
) -> tuple[World, Announcement]:
    logger = logging.getLogger(f"rdkafka.{service.name}.{instance}")
    logger.addHandler(StructlogHandler(telemetry))
    logger.propagate = False
    at = failpoint(os.environ.get(VARIABLE), telemetry.log)
    exactly_once = settings.delivery == "exactly-once"
    connection = Connection(
        settings.bootstrap_servers, service.name, instance, exactly_once, settings.kafka_config, logger
    )
    try_out(connection)

    def patiently(call: Callable[[], T]) -> T:
        return _patiently(call, telemetry, signals)

    database = patiently(lambda: _database(service, settings, telemetry))
    codec = patiently(lambda: Codec(registry_at(settings.schema_registry_url, service.events()), service.events()))
    outputs = [event.topic for event in service.publishes()]
    ours = (service.dead_letters(), service.resolutions())
    outputs += [service.progress()] if exactly_once else []
    there = patiently(lambda: check_topics(connection, service.topics(), outputs, *ours))
    announcement = Announcement(type(service), connection, there, telemetry)
    log = KafkaLog(connection, warn=telemetry.warn, at=at, stopping=signals.stop.is_set)
    calls = RemoteCalls(settings.remote_concurrency)
    world = World(log, database, calls, codec, time.monotonic, _now_ms, random.random, telemetry, at, instance)
    return world, announcement


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _database(service: Service[Any], settings: Settings, telemetry: Telemetry) -> Database:
    schema = service.repository.schema
    if settings.upgrade_database:
        for component, steps in upgrade(settings.database, service.name, schema, create=True).items():
            for step in steps:
                telemetry.log.info("database.upgraded", component=component, step=step.name)
    database = connect(settings.database, service=service.name, schema=schema)
    with database.snapshot() as tx:
        quarantine.check(tx)
        return database


def _patiently(call: Callable[[], T], telemetry: Telemetry, signals: Signals) -> T:
    """Call until what is away is back, saying so every few seconds. Raises Stopped when a signal comes first."""
    while not signals.stop.is_set():
        telemetry.alive()
        try:
            return call()
        except AWAY as error:
            telemetry.warn(str(error))
            signals.stop.wait(1.0)
    raise Stopped
