"""An event topic is deleted and created again under running workers, and mended as docs/operating.md says.

What the old topic held is gone from the log, so it is done when all is quiet: every event was handled. To judge the
orders of before by the same laws, what was read of the old topic just before stands in for it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException

from eventbus.database import connect
from saga.check.facts import EventFact, LogFacts
from saga.demo.place import described, wait_for
from saga.kafka.cluster import ANSWER_SECONDS, ASK_AGAIN_SECONDS, Cluster
from saga.services import SERVICES
from tests.chaos.databases import Databases
from tests.chaos.fleet import Fleet, Worker
from tests.chaos.halted import Halt
from tests.chaos.timeline import NUMBERS

MISSING = 5
"""A worker that looks just while there is no such topic ends so; started again, it refuses."""
STATEMENT = re.compile(
    r"update checkpoint set topic_id = '[^']+', next_offset = 0, leader_epoch = null where topic = '[^']+'"
)


class KeptEvents:
    """What topics held that were deleted since."""

    def __init__(self) -> None:
        self._events: dict[str, list[EventFact]] = {}
        self._undecodable: Sequence[str] = ()
        self._unreadable: set[str] = set()

    def keep(self, log: LogFacts, topic: str) -> None:
        """Keep what was read of a topic that is to be deleted; `log` may be joined with what is kept already.

        Nothing that cannot be read is written after that.
        """
        self._undecodable = max(self._undecodable, log.undecodable, key=len)
        self._unreadable.update(log.unreadable)
        for order_id, events in log.events.items():
            others = [event for event in self._events.get(order_id, ()) if event.topic != topic]
            self._events[order_id] = [*others, *(event for event in events if event.topic == topic)]

    def joined(self, log: LogFacts) -> LogFacts:
        """Return what was read of the log, and what is kept."""
        orders = {*log.events, *self._events}
        events = {each: [*self._events.get(each, ()), *log.events.get(each, ())] for each in orders}
        unreadable = {*self._unreadable, *log.unreadable}
        undecodable = max(self._undecodable, log.undecodable, key=len)
        return replace(log, events=events, undecodable=undecodable, unreadable=sorted(unreadable))


class Recreation:
    """One event topic, and the services that read it and write to it."""

    def __init__(self, cluster: Cluster, databases: Databases, fleet: Fleet, topic: str) -> None:
        self._cluster, self._databases, self._fleet, self.topic = cluster, databases, fleet, topic
        self._readers = [s.name for s in SERVICES if topic in s.topics()]
        self._writers = [s.name for s in SERVICES if topic in {event.topic for event in s.publishes()}]

    def make(self, begun: Callable[[], float], meanwhile: Callable[[], None]) -> float:
        """Make the mistake, see that everybody refuses, and mend it; return when it was made.

        `meanwhile` is called as soon as the new topic is there.
        """
        services = [*self._readers, *self._writers]
        workers = [self._fleet.worker(service, number) for service in services for number in NUMBERS]
        with ExitStack() as held:
            for worker in workers:
                held.enter_context(worker.lock)
            held.callback(_start, workers)
            self._exchange()
            began = begun()
            halt = Halt(self._fleet, workers, "recreate", passing=(MISSING,))
            meanwhile()
            halt.wait()
            for service in services:
                halt.again(self._fleet.worker(service, NUMBERS[0]))
            self._mend(halt.said())
        return began

    def _exchange(self) -> None:
        new = described(self._cluster, [self.topic])
        wait_for(self._cluster.admin.delete_topics([self.topic], operation_timeout=ANSWER_SECONDS))
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                wait_for(self._cluster.admin.create_topics(new, operation_timeout=ANSWER_SECONDS))
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or time.monotonic() > until:
                    raise
                time.sleep(ASK_AGAIN_SECONDS)
            else:
                return

    def _mend(self, said: str) -> None:
        """Do what the workers' last lines say: every old event was handled, and nobody reads the old topic any more."""
        statements = {found for found in STATEMENT.findall(said) if found.endswith(f"'{self.topic}'")}
        if self._readers and len(statements) != 1:
            raise AssertionError(f"the workers say {len(statements)} ways to read {self.topic} from its start")
        for reader in self._readers:
            self._execute(reader, *statements)
        for writer in self._writers:
            self._execute(writer, f"delete from output_topic where topic = '{self.topic}'")

    def _execute(self, service: str, statement: str) -> None:
        connected = closing(connect(self._databases.url(service), service=service, schema=None))
        with connected as database, database.transaction() as tx:
            if not tx.execute(statement):
                raise AssertionError(f"{service}: no row was changed by {statement}")


def _start(workers: Iterable[Worker]) -> None:
    for worker in workers:
        worker.kill()
        worker.start()
