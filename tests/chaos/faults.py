"""Makes faults happen, and notes what happened when."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from eventbus.database import Unavailable
from eventbus.log import Partition
from order_service.repository import all_orders
from saga.kafka.cluster import Cluster
from tests.chaos.brokers import Brokers
from tests.chaos.customers import open_orders
from tests.chaos.databases import Databases
from tests.chaos.fleet import Fleet
from tests.chaos.poison import TOPICS, Poison
from tests.chaos.proxy import LATE_COPY, LOSE_RESPONSE, Api, Proxy
from tests.chaos.recreated import Recreation
from tests.chaos.refusals import refusing
from tests.chaos.restored import NothingHappened, Restoring
from tests.chaos.shifted import set_clock
from tests.chaos.timeline import BEHAVIOURS, EVER, JUMPS, NUMBERS, PlannedFault
from tests.chaos.unreadable import Unreadable

BETWEEN_SECONDS = 3.0
"""Between the workers of a rolling restart."""
ENDS_OF_TRANSACTIONS = 3
BAD_RECORDS = 6
AWAY = 2
"""So many brokers of three, and what is left may not write."""
LATEST_SECONDS = 1.0
"""By so much a held end-of-transaction is late, at most."""


class Happened(NamedTuple):
    """A fault as it happened, in seconds since 1970."""

    fault: PlannedFault
    began: float
    ended: float


@dataclass(slots=True)
class World:
    """Everything that faults are done to."""

    fleet: Fleet
    databases: Databases
    cluster: Cluster
    brokers: Brokers | None
    proxy: Proxy | None
    poison: Poison
    unreadable: Unreadable
    behaviour: str = ""
    """How the payment provider behaves to workers that are started from now on: parameters of its URL."""


class Faults:
    """Makes faults happen. `failures` are those that could not be done, `in_vain` those that were pointless."""

    def __init__(self, world: World, seed: int, say: Callable[[str], None]) -> None:
        self.happened: list[Happened] = []
        self.failures: list[str] = []
        self.in_vain: list[str] = []
        self._world, self._say = world, say
        self._chance = Random(seed)
        self._one_outage, self._one_behaviour, self._one_trouble = (threading.Lock() for _ in range(3))
        self._one_database = threading.Lock()
        self.when_recreated: Callable[[], None] = lambda: None
        """Called as soon as a topic that was deleted is there again."""

    def make(self, fault: PlannedFault) -> None:
        """Let one fault happen, now; return when it is over."""
        deed: Callable[[PlannedFault], float] = getattr(self, "_" + fault.kind.replace("-", "_"))
        try:
            began = deed(fault)
        except NothingHappened as why:
            self.in_vain.append(f"{fault.kind} of {fault.target} at {fault.at} s: {why}")
            return
        except Exception as error:  # noqa: BLE001 - reported, and the run fails
            self.failures.append(f"{fault.kind} of {fault.target} at {fault.at} s: {type(error).__name__}: {error}")
            return
        self.happened.append(Happened(fault, began, time.time()))

    def _now(self, fault: PlannedFault) -> float:
        self._say(f"{fault.kind} {fault.target} {fault.how} {fault.seconds:.1f} s".replace("  ", " "))
        return time.time()

    def _kill(self, fault: PlannedFault) -> float:
        worker = self._world.fleet.named(fault.target)
        with worker.lock:
            began = self._now(fault)
            worker.kill()
            time.sleep(fault.seconds)
            worker.start()
        return began

    _kill_long = _kill

    def _stop(self, fault: PlannedFault) -> float:
        worker = self._world.fleet.named(fault.target)
        with worker.lock:
            began = self._now(fault)
            worker.signal(signal.SIGSTOP)
            time.sleep(fault.seconds)
            worker.signal(signal.SIGCONT)
        return began

    def _term(self, fault: PlannedFault) -> float:
        began = self._now(fault)
        self._roll(fault.target)
        return began

    def _roll(self, service: str) -> None:
        for number in NUMBERS:
            worker = self._world.fleet.worker(service, number)
            with worker.lock:
                self._world.fleet.terminate(worker)
                worker.start()
            time.sleep(BETWEEN_SECONDS)

    def _scale(self, fault: PlannedFault) -> float:
        fleet = self._world.fleet
        second, third = (fleet.worker(fault.target, number) for number in (2, 3))
        with second.lock, third.lock:
            began = self._now(fault)
            fleet.terminate(second)
            time.sleep(fault.seconds)
            second.start()
            third.start()
            time.sleep(fault.seconds)
            fleet.terminate(third)
            fleet.terminate(second)
            time.sleep(fault.seconds)
            second.start()
        return began

    def _broker(self, fault: PlannedFault) -> float:
        number = int(fault.target.partition("/")[2])
        with self._outage(fault) as (brokers, began):
            brokers.kill([number], fault.seconds)
        return began

    def _brokers_away(self, fault: PlannedFault) -> float:
        with self._outage(fault) as (brokers, began):
            brokers.kill(self._chance.sample(range(1, len(brokers.nodes) + 1), AWAY), fault.seconds)
        return began

    def _broker_roll(self, fault: PlannedFault) -> float:
        with self._outage(fault) as (brokers, began):
            brokers.roll(fault.seconds)
        return began

    def _leaders(self, fault: PlannedFault) -> float:
        with self._outage(fault) as (brokers, began):
            brokers.move_leaders()
        return began

    def _reassign(self, fault: PlannedFault) -> float:
        with self._outage(fault) as (brokers, began):
            brokers.reassign_some()
        return began

    @contextmanager
    def _outage(self, fault: PlannedFault) -> Iterator[tuple[Brokers, float]]:
        """Keep other faults of the brokers out; begin when every replica has got over the last one."""
        assert self._world.brokers is not None
        with self._one_outage:
            self._world.brokers.wait_until_in_sync()
            yield self._world.brokers, self._now(fault)

    def _clock(self, fault: PlannedFault) -> float:
        worker = self._world.fleet.named(fault.target)
        with worker.lock, ExitStack() as healed:
            began = self._now(fault)
            healed.callback(set_clock, worker.clock, 0)
            set_clock(worker.clock, JUMPS[fault.how])
            time.sleep(fault.seconds)
        return began

    def _latency(self, fault: PlannedFault) -> float:
        began = self._now(fault)
        self._proxy.latency = 0.02 + 0.2 * self._chance.random()
        time.sleep(fault.seconds)
        self._proxy.latency = 0.0
        return began

    def _cut(self, fault: PlannedFault) -> float:
        began = self._now(fault)
        self._proxy.cut()
        return began

    def _half_open(self, fault: PlannedFault) -> float:
        began = self._now(fault)
        self._proxy.half_open()
        time.sleep(fault.seconds)
        self._proxy.cut_half_open()
        return began

    def _end_txn(self, fault: PlannedFault) -> float:
        began = self._now(fault)
        for _ in range(ENDS_OF_TRANSACTIONS):
            self._proxy.next(Api.END_TXN, self._chance.choice((LATE_COPY, LOSE_RESPONSE)))
            time.sleep(fault.seconds / ENDS_OF_TRANSACTIONS)
            threading.Timer(LATEST_SECONDS * self._chance.random(), self._arrive).start()
        time.sleep(LATEST_SECONDS)
        return began

    def _arrive(self) -> None:
        while self._proxy.holds:
            with contextlib.suppress(OSError, AssertionError):  # a broker that is down hears of nothing
                self._proxy.send_held()

    def _database(self, fault: PlannedFault) -> float:
        with self._one_database:
            began = self._now(fault)
            self._world.databases.take_away(fault.target, fault.seconds)
        return began

    def _restore(self, fault: PlannedFault) -> float:
        fleet = self._world.fleet
        restoring = Restoring(self._world.databases, self._world.cluster, fleet, fault.target)
        with ExitStack() as held:
            for number in EVER:
                held.enter_context(fleet.worker(fault.target, number).lock)
            held.enter_context(self._one_database)
            held.enter_context(self._one_trouble)
            restoring.back_up(fault.seconds)
            return restoring.restore([fleet.worker(fault.target, n) for n in NUMBERS], lambda: self._now(fault))

    def _recreate(self, fault: PlannedFault) -> float:
        """Only when all is quiet: see `Chaos`. Orders come as soon as the new topic is there."""
        world = self._world
        recreation = Recreation(world.cluster, world.databases, world.fleet, fault.target)
        return recreation.make(lambda: self._now(fault), self.when_recreated)

    def _trouble(self, fault: PlannedFault) -> float:
        with self._one_trouble:
            began = self._now(fault)
            with refusing(self._world.databases.url(fault.target), fault.target):
                time.sleep(fault.seconds)
        return began

    def _poison(self, fault: PlannedFault) -> float:
        began, keys = self._now(fault), self._order_ids()
        for _ in range(BAD_RECORDS):
            topic = self._chance.choice(TOPICS[fault.target])
            self._world.poison.write(topic, [self._chance.choice(keys or ["nobody"])])
            time.sleep(fault.seconds / BAD_RECORDS)
        return began

    def _order_ids(self) -> list[str]:
        databases = self._world.databases
        opening, orders = databases.opening["order-service"], open_orders(databases.url("order-service"))
        with contextlib.suppress(Unavailable), opening, closing(orders), orders.snapshot() as tx:
            return [order.order_id for order in all_orders(tx)]
        return []

    def _unreadable(self, fault: PlannedFault) -> float:
        began = self._now(fault)
        partition = Partition(self._chance.choice(TOPICS[fault.target]), 0)
        batch = self._world.unreadable.write(partition)
        time.sleep(fault.seconds)
        self._world.unreadable.let_past(partition, batch)
        return began

    def _provider(self, fault: PlannedFault) -> float:
        with self._one_behaviour, ExitStack() as healed:
            began = self._now(fault)
            self._world.behaviour = BEHAVIOURS[fault.how]
            healed.callback(self._roll, fault.target)
            healed.callback(setattr, self._world, "behaviour", "")
            self._roll(fault.target)
            time.sleep(fault.seconds)
        return began

    @property
    def _proxy(self) -> Proxy:
        assert self._world.proxy is not None
        return self._world.proxy
