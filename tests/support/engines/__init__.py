"""Engines inside the test's own process, turned by hand, so that a test can stop between any two steps."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Self

from confluent_kafka import Message, Producer

from eventbus.database import Database, connect
from eventbus.engine.calling import RemoteCalls
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.engine import Engine
from eventbus.engine.observer import Handled, Observer
from eventbus.kafka.config import Connection
from eventbus.kafka.log import KafkaLog
from eventbus.log import PROGRESS, RESOLUTIONS
from eventbus.serde.codec import Codec
from eventbus.serde.registry import registry_at
from eventbus.service import Service
from tests.support.brokers.admin import Admin
from tests.support.engines.sample import Pang, Ping, PingService, Pong
from tests.support.saga.processes import PATIENCE

EVENTS = (Ping, Pang, Pong)
CODEC = Codec(registry_at(None, EVENTS), EVENTS)


class Crash(BaseException):
    """Not an accident of the code: the process is gone, at this step."""


class Watch(Observer):
    """Remembers what the engine told."""

    def __init__(self) -> None:
        self.handled = 0
        self.doubts: list[str] = []
        self.waits: list[float] = []
        self.dead: list[str] = []
        self.lost: list[Any] = []
        self.pending = 0
        self.paused_at: list[tuple[str, str]] = []
        self.resumed_at: list[str] = []

    def released(self, partitions: Any, *, lost: bool) -> None:
        if lost:
            self.lost += partitions

    def batch_handled(self, batch: Handled) -> None:
        self.handled += sum(batch.consumed.values())
        self.dead += [poison.reason for _, poison in batch.dead]

    def turned(self, *, ready: int, owned: int, pending: int) -> None:
        self.pending = pending

    def paused(self, partition: Any, reason: str, why: str) -> None:
        self.paused_at.append((str(partition), f"{reason}: {why}"))

    def resumed(self, partition: Any) -> None:
        self.resumed_at.append(str(partition))

    def recovery_scheduled(self, partition: Any, why: str, *, retry_in: float) -> None:
        self.doubts.append(why)
        self.waits.append(retry_in)


class Worker:
    """An engine with its log and database. `steps` maps names of steps to what happens there."""

    def __init__(
        self,
        playground: Playground,
        instance: str,
        service: Service[Any],
        bootstrap: str,
        *,
        joins: bool = True,
        **kafka: str,
    ) -> None:
        self.watch = Watch()
        self.steps: dict[str, Callable[[], None]] = {}
        self.seen: Counter[str] = Counter()
        self.database: Database = connect(playground.url, service=service.name, schema=service.repository.schema)
        logger = logging.getLogger(f"rdkafka.{service.name}.{instance}.{uuid.uuid4().hex[:4]}")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        connection = Connection(bootstrap, service.name, instance, playground.exactly_once, kafka, logger)
        self.log = KafkaLog(connection, warn=lambda _what: None, failpoint=self._at)
        world = Dependencies(
            log=self.log,
            database=self.database,
            calls=RemoteCalls(8),
            codec=playground.codec,
            clock=time.monotonic,
            now_ms=playground.now_ms,
            random=lambda: 0.5,
            observer=self.watch,
            failpoint=self._at,
            instance=instance,
        )
        self.engine = Engine(service, world, playground.tuning)
        if joins:
            self.engine.subscribe()

    def _at(self, step: str) -> None:
        self.seen[step] += 1
        if step in self.steps:
            self.steps[step]()

    def at(self, step: str, action: Callable[[], None]) -> None:
        """Do something once, when this step is reached."""

        def once() -> None:
            del self.steps[step]
            action()

        self.steps[step] = once

    def crash_at(self, step: str) -> None:
        """Let the process be gone when this step is reached: `run_once` raises Crash, and nothing is tidied up."""

        def crash() -> None:
            raise Crash(step)

        self.at(step, crash)

    def owns(self) -> int:
        return len(self.engine._assignment)

    def ready(self) -> int:
        return len(self.engine._assignment.consumed())


class Playground:
    """A broker's ping, pang and pong topics, a service on them, and its database."""

    def __init__(self, bootstrap: str, url: str, partitions: int, service: Callable[[], Service[Any]]) -> None:
        self.bootstrap, self.url, self.partitions = bootstrap, url, partitions
        self.codec = CODEC
        self.redrives = False
        """Whether workers read resolutions too; else what they own is what a test says."""
        self.exactly_once, self.tuning = True, EngineConfig(prune_after=0.2)
        self.group = f"ping-service-{uuid.uuid4().hex[:8]}"
        self.make_service = service
        self.now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
        """The time of day, for all workers."""
        self.admin = Admin(bootstrap)
        self.workers: list[Worker] = []
        self.recreate_topics()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def topics(self) -> list[str]:
        return ["ping", "pang", "pong", *(f"{self.group}{end}" for end in (".dead-letters", RESOLUTIONS, PROGRESS))]

    def recreate_topics(self) -> None:
        self.admin.remove(self.topics)
        self.admin.create(self.topics, self.partitions)

    def service(self) -> Service[Any]:
        service = self.make_service()
        type(service).name = self.group  # of the class, which is asked for it; whoever comes next gives it another one
        if not self.redrives:
            service.subscriptions = service.topics  # type: ignore[method-assign]
        return service

    def worker(self, instance: str = "one", *, bootstrap: str | None = None, **kafka: str) -> Worker:
        properties = {name.replace("_", "."): value for name, value in kafka.items()}
        worker = Worker(self, instance, self.service(), bootstrap or self.bootstrap, **properties)
        self.workers.append(worker)
        return worker

    def looker(self) -> KafkaLog:
        """Return the log of a worker that joins nothing."""
        return Worker(self, "looker", self.service(), self.bootstrap, joins=False).log

    def send(self, numbers: Iterable[int], *, topic: str = "ping", names: int = 7, partition: int = -1) -> None:
        """Send events that each add 1 to one of a few tallies."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random"})
        event = {"ping": Ping, "pang": Pang}[topic]
        for number in numbers:
            name = f"name-{number % names}"
            producer.produce(topic, CODEC.encode(event(name, 1)), name, partition=partition)
        producer.flush()

    def turn_until(
        self, so: Callable[[], bool], seconds: float = PATIENCE, workers: list[Worker] | None = None
    ) -> None:
        """Turn the workers one after another until it is so."""
        deadline = time.monotonic() + seconds
        while not so():
            if time.monotonic() > deadline:
                doubts = [worker.watch.doubts[-3:] for worker in self.workers]
                raise TimeoutError(f"not so within {seconds} s; pongs {len(self.pongs())}; doubts {doubts}")
            for worker in workers if workers is not None else self.workers:
                worker.engine.run_once()

    def settle(self, count: int, seconds: float = PATIENCE) -> None:
        """Turn until the log has as many pongs."""
        self.turn_until(lambda: self.tallied() >= count, seconds)
        self.turn_until(lambda: len(self.pongs()) >= count, seconds)

    def abandon(self, worker: Worker) -> None:
        """Take a worker away as kill -9 would: nothing is published, committed or said any more."""
        self.workers.remove(worker)
        worker.log._listener = None
        worker.database.close()

    def pongs(self) -> list[Message]:
        return self.admin.read("pong")

    def tallied(self) -> int:
        return sum(self.tallies().values())

    def tallies(self) -> dict[str, int]:
        database = connect(self.url, service=self.group, schema=self.service().repository.schema)
        try:
            with database.snapshot() as tx:
                return dict(tx.rows("select name, times from tally"))  # type: ignore[arg-type]
        finally:
            database.close()

    def database(self) -> Database:
        return connect(self.url, service=self.group, schema=self.service().repository.schema)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        database = self.database()
        try:
            with database.transaction() as tx:
                if statement.startswith("select"):
                    return tx.rows(statement, *parameters)
                tx.execute(statement, *parameters)
                return []
        finally:
            database.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.steps.clear()
            worker.engine.close()

    def assert_exactly_once(self, count: int, *, one_source: bool = True) -> None:
        """Every event had its effect once, every answer stands once in the log, in the order of its tally.

        Where a key's events come from several partitions (not `one_source`), no order of the answers is promised.
        """
        assert self.tallied() == count, "each event has its effect once"
        ids = Counter(dict(message.headers())["ce_id"] for message in self.pongs())
        assert len(ids) == count, "each event has its answer"
        assert not [event_id for event_id, times in ids.items() if times > 1], "no answer stands twice"
        counts: dict[bytes, list[int]] = {}
        for message in self.pongs():
            pong = CODEC.decode("pong", message.key(), message.value())
            counts.setdefault(message.key(), []).append(pong.times)
        ordered = all(times == sorted(times) for times in counts.values())
        assert ordered or not one_source, "the answers to one key are in order"
        assert self.sql("select count(*) from outbox") == [(0,)] or self.workers, "nothing is left to publish"


def playground_of(bootstrap: str, url: str, partitions: int = 2) -> Playground:
    class Pings(PingService):
        """A class of its own, so that each test has its own group."""

    return Playground(bootstrap, url, partitions, Pings)
