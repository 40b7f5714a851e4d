"""One simulated run: services, workers, time and faults, all drawn from a seed; the same seed is the same run.

The engine, the handlers, the SQL and the Kafka adapter are the real ones; the brokers, the network, the clock, and the
processes are models. One process runs at a time; while it is stalled, the others continue.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

from eventbus.database import ConcurrentUpdate, Unavailable, connect
from eventbus.database.schema_version import Schema
from eventbus.database.sqlite import SQLite
from eventbus.engine import schema_waits
from eventbus.engine.calls import Call
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.engine import Engine
from eventbus.engine.observer import Observer
from eventbus.event import Event
from eventbus.kafka.config import Connection
from eventbus.kafka.log import KafkaLog
from eventbus.log import LogUnavailable, Partition, TopicMissing, UnsafeToContinue
from eventbus.serde.codec import Codec
from eventbus.serde.registry import registry_at
from eventbus.service import Service, finished
from eventbus.simulation import clients, faults, poison
from eventbus.simulation.clocks import JUMPS, Clocks
from eventbus.simulation.cluster import AMONG_THE_RECORDS, SimulatedCluster, Written
from eventbus.simulation.damage import Damage, damaged, filled
from eventbus.simulation.faults import Planned
from eventbus.simulation.old_databases import OldDatabases
from eventbus.simulation.refusals import ONE_ORDER, Refusals
from eventbus.simulation.surroundings import (
    AskingCodec,
    InMemory,
    Shared,
    SimulatedCalls,
    SimulatedDatabase,
    Trouble,
    TroubledHost,
)
from eventbus.simulation.troubles import HANDLER_RAISES, WatchedService
from eventbus.store import deadlines
from eventbus.store.blocked_keys import BlockedKey

E = TypeVar("E", bound=Event)
AWAY = (Unavailable, LogUnavailable, ConcurrentUpdate)
DOZES, SLEEPS = 0.5, 0.85
"""The probability that a process that was idle in its last turn keeps waiting: with new records; without any."""
PATIENCE = 0.1
"""The longest time in seconds that a poll waits for records, as in a worker."""
DEEPEST = 3
"""The most processes that are stalled in the middle of a step at once."""
MOST_TURNS = 6_000
START = 1_767_225_600.0
"""2026-01-01, in seconds since 1970: a clock of long ago would be a wrong one."""
MOST_SECONDS = 1_800.0
"""Every run is over by then, whatever happens: a longer wait is one for a wrong clock (they jump an hour)."""
DAMAGED_SECONDS = 60.0
"""How long a run continues after a log was damaged: stalled and killed workers are running again by then."""
FIRST_JUMP, LONGEST_JUMP = 0.05, 3.0
"""Seconds by which time advances when there is no progress: three times as far each time."""


class Crashed(BaseException):
    """The process is killed at this step, without any cleanup."""


class NoProgress(Exception):
    """The run does not end: something waits indefinitely."""


class WorkerStopped(Exception):
    """A worker ended by itself although no fault required an operator."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated. `services` creates each service for a run, given its clock and a source of randomness."""

    services: Sequence[Callable[[Simulation], Service[Any]]]
    events: Sequence[type[Event]]
    workers: int = 2
    partitions: int = 2
    tuning: EngineConfig = field(default_factory=EngineConfig)


class Simulation:
    """One run. `after` schedules an action from outside (publish an event); `run` runs until all work is done."""

    def __init__(self, setup: Setup, seed: object, plan: Iterable[faults.Fault] = (), *, tracing: bool = False) -> None:
        self.setup, self.now = setup, START
        self.chance = random.Random(f"{seed}")  # noqa: S311 - schedules, not secrets
        self.trace: list[str] = []
        self.steps: Counter[str] = Counter()
        self.happened: list[faults.Fault] = []
        self.turns = 0
        self.schedule = 0
        self._tracing = tracing
        self._planned = Planned(plan)
        self._reached: Counter[str] = Counter()
        """How often a service whose group is hasty reached each step."""
        self._jump = FIRST_JUMP
        self._moved = True
        self._depth = 0
        self._hasty: set[str] = set()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.cluster = SimulatedCluster(lambda: self.now)
        self.cluster.marker_delay = self._marker_delay
        self.cluster.create_topics([event.topic for event in setup.events], setup.partitions)
        self.services = [make(self) for make in setup.services]
        self.broken: list[str] = []
        self.poison: set[str] = set()
        """The places of records that cannot be handled: `topic/partition/offset`."""
        self.unreadable: list[tuple[Partition, range]] = []
        """Batches that cannot be decompressed."""
        self.on_call: Callable[[faults.Fault], None] = lambda _fault: None
        """Called when a fault will cause a dead letter or a paused partition: the operator on call."""
        self.damage: Damage | None = None
        """The damage to a log that its readers must detect."""
        self.refused: set[str] = set()
        """The services of which a worker has stopped with UnsafeToContinue."""
        self._must_refuse: set[str] = set()
        self._ends_at = math.inf
        self._handled_before: dict[str, dict[Partition, int]] = {}
        """Every service's checkpoints when a log was damaged; a partition without one cannot skip records."""
        self.registry_back_at = 0.0
        self.refusals = Refusals(lambda: self.now)
        self.clocks = Clocks(self)
        self._troubles: dict[tuple[str, Event], tuple[float, str]] = {}
        self._followers: dict[tuple[str, str], float] = {}
        """Until when a service that has rejected an event fails on the next event of the same key."""
        apart = random.Random(f"shares of {seed}").random() < 0.5  # noqa: S311, PLR2004 - schedules; one run in two
        for service in self.services:
            WatchedService(service, _codec(*service.events()), self)
            self.cluster.create_topics([service.dead_letters(), service.resolutions(), service.progress()], 1)
            self.cluster.group(service.name).hasty = partial(self._is_hasty, service.name)
            self.cluster.group(service.name).apart = apart
        self.databases = {service.name: Shared(InMemory(_made(service))) for service in self.services}
        self.old_databases = OldDatabases(self)
        self.processes: list[SimulatedProcess] = []
        for service in self.services:
            for number in range(1, setup.workers + 1):
                self._start(service, str(number))

    def database(self, service: Service[Any]) -> SimulatedDatabase:
        """Return a service's database for use from outside, without faults."""
        return SimulatedDatabase(self.databases[service.name], TroubledHost())

    def connection(self, group: str, instance: str, host: clients.ClientHost) -> Connection:
        """Return how a process reaches the simulated brokers."""
        made = clients.clients(self.cluster, host)
        return Connection("simulated", group, instance, logger=_Logger("rdkafka"), clients=made)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Schedule an action from outside, in this number of seconds."""
        self._later.append((self.now + seconds, act))
        self._later.sort(key=lambda entry: entry[0])

    def publish(self, event: Event) -> None:
        """Write an event to its topic, as a producer without a transaction does."""
        key = event.key.encode()
        self.note(f"from outside: {event}")
        record = Written(event.topic, key, _codec(type(event)).encode(event), [])
        self.cluster.append(self.cluster.partition_of(event.topic, key), record)

    def published(self, kind: type[E]) -> list[E]:
        """Return the events of a kind that a read_committed consumer sees, partition by partition; no poison."""
        codec = _codec(kind)
        partitions = [Partition(kind.topic, number) for number in range(self.cluster.topics()[kind.topic])]
        found = [(tp, *each) for tp in partitions for each in self.cluster.read(tp, 0, self.cluster.end(tp))[0]]
        good = [entry for tp, offset, entry in found if f"{tp}/{offset}" not in self.poison]
        events = [codec.decode(kind.topic, entry.key, entry.value) for entry in good]
        return cast("list[E]", events)

    def run(self) -> None:
        """Run until all work is done, or, after damage, until every worker had time to stop.

        Raises NoProgress, WorkerStopped.
        """
        while True:
            self._step()
            if self.now > self._ends_at:
                return
            if self._ends_at == math.inf and not self._moved and not self._later and self._quiet():
                return

    def restart_all(self) -> None:
        """Kill every process and restart all of them under their names: what they left behind must do no harm."""
        self.note("every worker is killed and restarted")
        for process in self.processes:
            process.die()
        names = list(dict.fromkeys((p.service.name, p.instance) for p in self.processes))
        services = {service.name: service for service in self.services}
        self.processes = []
        for name, instance in names:
            self._start(services[name], instance)

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        if self._tracing:
            self.trace.append(f"{self.now - START:9.3f} {what}")

    # One step after another.

    def _step(self) -> None:
        """Advance time, and run every process that is able to, in random order."""
        self.turns += 1
        if self.turns > MOST_TURNS or self.now > START + MOST_SECONDS:
            raise NoProgress(f"after {self.turns} turns and {self.now - START:.0f} s some work is not done")
        while self._later and self._later[0][0] <= self.now:
            self._moved = True
            self._later.pop(0)[1]()
        able = [p for p in self.processes if p.able]
        if not able or not self._moved:
            self.now += self._jump
            self._jump = min(self._jump * 3, LONGEST_JUMP)
        else:
            self.now += self.chance.random() * 0.01
        self._moved = False
        self.chance.shuffle(able)
        moved = False
        for process in able:
            if process.able and not process.sleeps():
                self._moved = False
                process.run_once()
                process.rest(idle=not self._moved)
                moved = moved or self._moved
        self._moved = moved
        if moved:
            self._jump = FIRST_JUMP

    def _quiet(self) -> bool:
        """Return whether everything was consumed, decided and published."""
        if any(not process.able for process in self.processes):
            return False
        if self.cluster.undecided():
            return False
        for service in self.services:
            shared = self.databases[service.name]
            with shared.database.snapshot() as tx:
                if any(tx.rows(f"select 1 from {table} limit 1") for table in ("outbox", "uncaused", "parked")):
                    return False
                if any(deadlines.is_set(tx, each.column) for each in service.deadlines.values()):
                    return False
            committed = self.cluster.group(service.name).offsets
            for topic in service.subscriptions():
                for number in range(self.cluster.topics()[topic]):
                    partition = Partition(topic, number)
                    reached = committed.get(partition, (0, ""))[0]
                    unread, _ = self.cluster.read(partition, reached, 1)
                    unreadable = self.cluster.unreadable(partition, reached, self.cluster.end(partition))
                    if (unread or unreadable) and not self._waits_for_people(service, partition):
                        return False
        return True

    def _waits_for_people(self, service: Service[Any], partition: Partition) -> bool:
        """Return whether its owner has paused the partition: a batch is unreadable, or too many records are bad."""
        return any(partition in process.paused for process in self.processes if process.service is service)

    @property
    def held(self) -> bool:
        """Whether a worker has paused a partition because too many of its records are bad."""
        return any("dead_letter_limit" in process.paused.values() for process in self.processes)

    def turned(self, process: SimulatedProcess, consumed: dict[str, int]) -> None:
        """A batch was handled: add it to the checksum of the schedule."""
        did = f"{self.schedule} {process} {consumed} {self.turns}"
        self.schedule = zlib.crc32(did.encode())

    def moved(self) -> None:
        """There was progress: time need not jump ahead."""
        self._moved = True

    # Faults.

    def due(self, where: str) -> faults.Fault | None:
        """Return the fault that happens now."""
        nth = self.steps[where] = self.steps[where] + 1
        fault = self._planned.due(where, nth)
        return fault and self._happens(fault)

    def trouble_of(self, service: str, event: Event) -> str:
        """Return what goes wrong with an event in a service; see FaultInjector. Later events of its key succeed."""
        if (fault := self.due("handling")) is not None:
            self._troubles[service, event] = (self.now + fault.seconds, fault.detail)
            if fault.kind == "poison":
                self._refused(service, event, fault)
        elif self._followers and (service, event) not in self._troubles:
            until = self._followers.pop((service, event.key), 0.0)
            self._troubles[service, event] = (until, HANDLER_RAISES)
        until, what = self._troubles.get((service, event), (0.0, ""))
        return what if until > self.now else ""

    def _refused(self, service: str, event: Event, fault: faults.Fault) -> None:
        if self.chance.random() < 0.5:  # noqa: PLR2004 - one in two
            self._followers[service, event.key] = self.now + fault.seconds + 5
        self.on_call(fault)

    def refuse(self, fault: faults.Fault, call: Call) -> None:
        """Have the provider refuse one key, or all; shortly before the end, check which keys have waited meanwhile."""
        self.refusals.begin(fault.detail, call, fault.seconds)
        if fault.detail == ONE_ORDER:
            self.after(fault.seconds - 0.1, self._judge_refusal)

    def _judge_refusal(self) -> None:
        if all(fault.detail == ONE_ORDER for fault in self.happened):
            self.broken += self.refusals.kept_waiting(self._unread())

    def _unread(self) -> dict[Partition, list[str]]:
        """Return the keys of the unhandled records of services that call the provider."""
        unread: dict[Partition, list[str]] = {}
        for service in self.services:
            if not any(reaction.remote for reaction in service.reactions.values()):
                continue
            with self.databases[service.name].database.snapshot() as tx:
                rows = tx.rows("select topic, partition, next_offset from checkpoint")
            for topic, number, next_offset in rows:
                tp = Partition(topic, number)
                entries, _ = self.cluster.read(tp, next_offset, self.cluster.end(tp))
                unread[tp] = [(entry.key or b"").decode("utf-8", "replace") for _, entry in entries]
        return unread

    def parked(self, block: BlockedKey) -> None:
        """Check whether a key may be parked now."""
        only_refusals = all(fault.kind == "refusal" for fault in self.happened)
        if only_refusals and self.refusals.parked_in_vain(block.key) and "simulated: the provider" in block.error:
            self.broken.append(f"{block.key} is parked while the provider is down for all: {block.error}")

    def out_of_order(self, what: str) -> None:
        """See FaultInjector."""
        self.broken.append(what)

    def due_of(self, service: str, step: str) -> faults.Fault | None:
        """Return the fault that another one causes at this step of this service: only with a hasty group."""
        if service not in self._hasty:
            return None
        where = f"{step} of {service}"
        self._reached[where] += 1
        fault = self._planned.due(where, self._reached[where])
        return fault and self._happens(fault)

    def _happens(self, fault: faults.Fault) -> faults.Fault:
        if not fault.brought:
            self.happened.append(fault)
        self.note(f"fault: {fault}")
        self._moved = True
        return fault

    def _cause(self, kind: str, step: str, service: str, after: int, **how: Any) -> None:
        """Have a fault cause another one, when this service reaches this step for the `after`-th time from now on."""
        where = f"{step} of {service}"
        self._planned.add(faults.Fault(kind, where, self._reached[where] + after, brought=True, **how))

    def stall_soon(self, step: str, seconds: float) -> None:
        """Stall the next process that reaches this step, or the one after it."""
        nth, how = self.steps[step] + self.chance.randint(1, 2), faults.ITS_HEARTBEATS_GO_ON
        self._planned.add(faults.Fault("stall", step, nth, how, seconds, brought=True))

    def _is_hasty(self, service: str) -> bool:
        """Return whether the group is hasty; once it is, it remains so."""
        if service not in self._hasty and (fault := self.due("assignment")) is not None:
            self._hasty.add(service)
            after, how = self.chance.randint(1, 3), faults.ITS_HEARTBEATS_GO_ON
            self._cause("stall", fault.detail, service, after, detail=how, seconds=fault.seconds)
        return service in self._hasty

    def _marker_delay(self) -> float:
        return self.chance.choice((0, 0, 0.002, 0.02))

    def suffer(self, process: SimulatedProcess, fault: faults.Fault) -> None:  # noqa: C901 - one branch a kind
        """Apply a fault of the processes at this step of one of them."""
        if fault.kind in ("crash", "lost cursors"):
            self._kill(process, fault)
            raise Crashed
        if fault.kind == "old database":
            self.old_databases.copy(process.service.name, fault)
        elif fault.kind in faults.DAMAGES:
            self._damage(fault)
        elif fault.kind == "takeover":
            self._take_over(process, fault)
        elif fault.kind == "recovery":
            self._cause("crash", fault.detail, process.service.name, self.chance.randint(1, 2), seconds=60)
        elif fault.kind == "stall" and fault.detail == faults.ITS_HEARTBEATS_GO_ON:
            self.live_on(fault.seconds)
            self.note(f"{process} continues")
        elif fault.kind == "stall":
            self.stand_still(process, fault.seconds)
        elif fault.kind in faults.NEEDS_PEOPLE:
            self._write_bad(fault)
        elif fault.kind == "registry":
            self.registry_back_at = self.now + fault.seconds
        elif fault.kind == "clock":
            self.clocks.jump(f"{process}", JUMPS[fault.detail])
            self.after(fault.seconds, lambda: self.clocks.jump(f"{process}", 0))
        elif fault.detail == faults.ADD_A_WORKER:
            # 0 first: it sorts before the others, so that partitions move even if there are few.
            names = {p.instance for p in self.processes if p.service is process.service}
            self._start(
                process.service, next(name for number in itertools.count() if (name := str(number)) not in names)
            )
        else:
            self._stop_one()

    def _write_bad(self, fault: faults.Fault) -> None:
        if fault.kind == "poison":
            self.poison.add(poison.written(self.cluster, self.services, fault.detail, self.chance))
        else:
            self.unreadable.append(poison.corrupted(self.cluster, self.services, self.chance))
        self.on_call(fault)

    def _kill(self, process: SimulatedProcess, fault: faults.Fault) -> None:
        """Kill one; or all of its service, and delete the group's offsets, which requires that it has no members."""
        service = process.service
        if fault.kind == "crash":
            process.die()
            self._restart_later(process, fault.seconds)
        else:
            self.kill_all(service.name, fault.seconds)
            self._lose_cursors(service, fault)

    def kill_all(self, service: str, seconds: float) -> None:
        """Kill all workers of a service, and restart them later."""
        for each in [p for p in self.processes if p.service.name == service and not p.dead]:
            each.die()
            self._restart_later(each, seconds)

    def _lose_cursors(self, service: Service[Any], fault: faults.Fault) -> None:
        offsets = self.cluster.group(service.name).offsets
        known = list(offsets)
        offsets.clear()
        if fault.detail == faults.OFFSETS_RESET:
            offsets.update(dict.fromkeys(known, (0, "")))

    def _damage(self, fault: faults.Fault) -> None:
        if self.damage is not None:
            return
        next_offsets = {service.name: self._next_offsets(service) for service in self.services}
        handled: dict[Partition, int] = {}
        for offsets in next_offsets.values():
            handled |= {tp: max(offset, handled.get(tp, 0)) for tp, offset in offsets.items()}
        damage = self.damage = damaged(self.cluster, self.services, handled, fault.kind, self.chance)
        if damage is None:
            return
        self.note(f"{damage.topic} {'is created again' if damage.recreated else f'loses its end: {damage.cut}'}")
        self.after(fault.seconds, lambda: filled(self.cluster, damage))
        self._must_refuse = {name for name, offsets in next_offsets.items() if damage.readers(offsets)}
        self._handled_before = next_offsets
        if damage.recreated:
            self._must_refuse |= {s.name for s in self.services if damage.topic in self._published_to(s)}
        self.ends_soon()

    def ends_soon(self) -> None:
        """Continue only as long as the workers that must stop need to do so."""
        self._ends_at = self.now + DAMAGED_SECONDS

    @property
    def damaged(self) -> bool:
        """Whether a log or a database was damaged: workers may stop, and sagas need not end."""
        return self.damage is not None or bool(self.old_databases.exchanged)

    def _next_offsets(self, service: Service[Any]) -> dict[Partition, int]:
        with self.databases[service.name].database.snapshot() as tx:
            rows = tx.rows("select topic, partition, next_offset from checkpoint")
        return {Partition(topic, number): offset for topic, number, offset in rows}

    def _published_to(self, service: Service[Any]) -> set[str]:
        with self.databases[service.name].database.snapshot() as tx:
            return {topic for (topic,) in tx.rows("select topic from output_topic")}

    def gone_on(self) -> list[str]:
        """Return the services that continued with a damaged log or database, or did not stop because of it."""
        broken = self.old_databases.gone_on()
        if self.damage is None:
            return broken
        broken += [f"{name} did not stop" for name in sorted(self._must_refuse - self.refused)]
        for service in self.services:
            if service.name in self._must_refuse:
                before = self._handled_before[service.name]
                now = {tp: at for tp, at in self._next_offsets(service).items() if tp in before}
                passed = self.damage.passed_over(now)
                broken += [f"{service.name} has skipped the new records of {_listed(passed)}"] if passed else []
        return broken

    def refuses(self, process: SimulatedProcess, why: str) -> None:
        """A worker ends with code 3; its supervisor restarts it."""
        self.note(f"{process} stops with code 3: {why}")
        self.refused.add(process.service.name)
        self.old_databases.refused.add(str(process))
        process.die()
        self._restart_later(process, 1.0)

    def _take_over(self, process: SimulatedProcess, fault: faults.Fault) -> None:
        service = process.service.name
        self._hasty.add(service)
        self._cause("recovery", "recovered", service, 1, detail=fault.detail)
        self.stand_still(process, fault.seconds)

    def stand_still(self, process: SimulatedProcess, seconds: float) -> None:
        """Stall a process in the middle of a step while the others continue."""
        if self._depth >= DEEPEST:
            return
        process.host.silent_since = self.now
        try:
            self.live_on(seconds)
        finally:
            process.host.silent_since = None
        self.note(f"{process} resumes")
        self._moved = True

    def live_on(self, seconds: float) -> None:
        """Let time pass for all processes while one waits."""
        until = self.now + seconds
        if self._depth >= DEEPEST:
            self.now = until
            return
        self._depth += 1
        try:
            while self.now < until:
                self._step()
        finally:
            self._depth -= 1

    def leave(self, call: Call) -> None:
        """Have a remote call of a process that died arrive later, or not."""
        if self.chance.random() < 0.5:  # noqa: PLR2004 - one in two
            self.after(self.chance.random() * 5, lambda: _ignored(call))

    def _start(self, service: Service[Any], instance: str) -> None:
        process = SimulatedProcess(self, service, instance)
        self.processes.append(process)
        self.note(f"{process} starts")

    def _restart_later(self, process: SimulatedProcess, seconds: float) -> None:
        def restart() -> None:
            if process in self.processes:
                self.processes.remove(process)
                self._start(process.service, process.instance)

        self.after(seconds, restart)

    def _stop_one(self) -> None:
        """Stop a worker as SIGTERM does; it is restarted if it was the last of its service."""
        able = [process for process in self.processes if process.able]
        if not able:
            return
        process = self.chance.choice(able)
        self.note(f"{process} receives SIGTERM")
        process.stop()
        if process not in self.processes:  # it stood still while it stopped, and was killed and replaced meanwhile
            return
        if any(p.able for p in self.processes if p.service is process.service):
            self.processes.remove(process)
        else:
            self._restart_later(process, 1.0)


class SimulatedProcess:
    """A worker: its engine, its clients, and whether it is alive."""

    def __init__(self, simulation: Simulation, service: Service[Any], instance: str) -> None:
        self.service, self.instance = service, instance
        self.turning = self.dead = False
        self._idle_until = 0.0
        """Until when it waits in a poll that found no records; 0 if it has work to do."""
        self.paused: dict[Partition, str] = {}
        """The paused partitions, and why."""
        self._simulation = simulation
        self.host = _ProcessHost(simulation, self)
        connection = simulation.connection(service.name, instance, self.host)
        self._log = KafkaLog(
            connection, warn=lambda _what: None, failpoint=self.host.reach, clock=lambda: simulation.now
        )
        chance = simulation.chance
        dependencies = Dependencies(
            log=self._log,
            database=SimulatedDatabase(simulation.databases[service.name], self.host),
            calls=SimulatedCalls(self.host, chance, simulation.leave),
            codec=AskingCodec(_codec(*service.events()), lambda: simulation.now < simulation.registry_back_at),
            clock=lambda: simulation.now,
            now_ms=lambda: simulation.clocks.now_ms(f"{self}"),
            random=chance.random,
            observer=_Told(simulation, self),
            failpoint=self.host.reach,
            instance=instance,
        )
        config = replace(simulation.setup.tuning, keys_placed_over=simulation.setup.partitions)
        self._engine = Engine(service, dependencies, config)
        self._engine.subscribe()

    def __str__(self) -> str:
        return f"{self.service.name}-{self.instance}"

    @property
    def able(self) -> bool:
        """Whether it is running, and neither stalled nor inside a step."""
        return not self.dead and not self.turning and self.host.silent_since is None

    def sleeps(self) -> bool:
        """Return whether it keeps waiting inside its poll."""
        if not self._idle_until:
            return False
        simulation = self._simulation
        if self.host.something_to_read():
            return simulation.chance.random() < DOZES
        return simulation.now < self._idle_until or simulation.chance.random() < SLEEPS

    def rest(self, *, idle: bool) -> None:
        """Record whether it had anything to do in this turn."""
        simulation = self._simulation
        self._idle_until = simulation.now + simulation.chance.random() * PATIENCE if idle else 0.0

    def run_once(self) -> None:
        """Run its engine once, as a worker's loop does. Raises WorkerStopped if the worker would end."""
        self._guarded(self._engine.run_once)

    def stop(self) -> None:
        """End as after SIGTERM."""
        self._guarded(self._engine.close)
        if not self.dead:
            self.die()

    def die(self) -> None:
        """End as after SIGKILL."""
        self.dead = True
        self.host.silent_since = self._simulation.now
        self._simulation.note(f"{self} has ended")

    def _guarded(self, act: Callable[[], None]) -> None:
        self.turning = True
        try:
            act()
        except AWAY:
            pass
        except Crashed:
            if not self.dead:
                raise
        except (NoProgress, WorkerStopped):
            raise
        except (UnsafeToContinue, TopicMissing) as error:
            if not self._simulation.damaged:
                raise WorkerStopped(f"{self}: {type(error).__name__}: {error}") from error
            self._simulation.refuses(self, str(error))
        except Exception as error:
            raise WorkerStopped(f"{self}: {type(error).__name__}: {error}") from error
        finally:
            self.turning = False


class _ProcessHost(TroubledHost):
    """What happens to one process in the middle of a step."""

    def __init__(self, simulation: Simulation, process: SimulatedProcess) -> None:
        super().__init__()
        self._simulation, self._process = simulation, process

    def reach(self, step: str) -> None:
        simulation, process = self._simulation, self._process
        if process.dead:
            raise Crashed
        if step == "quarantined":
            simulation.old_databases.in_quarantine(process.service.name)
        fault = simulation.due(step) or simulation.due_of(process.service.name, step)
        if fault is not None:
            simulation.note(f"{process} at: {step}")
            simulation.suffer(process, fault)
        if process.dead:
            raise Crashed

    def fault(self, request: str) -> clients.ClientFault:
        fault = self._simulation.due(request)
        if fault is None:
            return clients.ClientFault.NONE
        self._late_by = fault.seconds or AMONG_THE_RECORDS
        return clients.ClientFault.LATE_COPY if fault.kind == "late copy" else clients.ClientFault(fault.detail)

    def lateness(self) -> float:
        return self._late_by

    def slow(self, _partition: Partition) -> bool:
        return self._simulation.chance.random() < 0.2  # noqa: PLR2004 - one in five

    def busy(self) -> None:
        self._simulation.moved()

    def trouble(self, what: str) -> Trouble:
        fault = self._simulation.due(what)
        return Trouble.NONE if fault is None else Trouble(fault.detail)

    def pause(self) -> None:
        self._simulation.live_on(1.0)

    def refused(self, call: Call) -> Exception | None:
        simulation = self._simulation
        if (fault := simulation.due("asking")) is not None:
            simulation.refuse(fault, call)
        return simulation.refusals.outcome(call)

    def answered(self, call: Call, answer: object) -> None:
        self._simulation.refusals.answered(call, answer)

    def clock(self) -> float:
        return self._simulation.now

    def call_lasts(self) -> int:
        fault = self._simulation.due("calls")
        return 0 if fault is None else int(fault.seconds)


class _Told(Observer):
    """Writes the engine's reports to the trace."""

    def __init__(self, simulation: Simulation, process: SimulatedProcess) -> None:
        self._simulation, self._process = simulation, process

    def batch_handled(self, batch: Any) -> None:
        self._simulation.moved()
        self._simulation.turned(self._process, batch.consumed)
        self._simulation.note(f"{self._process} handled {batch.consumed}, decided {batch.published}")
        for what in ("blocked", "retried", "unblocked"):
            for block in getattr(batch.parking, what):
                self._simulation.note(f"{self._process}: {what} {block}")
        for block in batch.parking.blocked:
            self._simulation.parked(block)

    def transaction(self, outcome: str, outputs: int, seconds: float) -> None:  # noqa: ARG002 - time is simulated
        self._simulation.note(f"{self._process} published {outputs}: {outcome}")

    def assigned(self, partitions: Iterable[Partition]) -> None:
        self._simulation.note(f"{self._process} is assigned {_listed(partitions)}")

    def released(self, partitions: Iterable[Partition], *, lost: bool) -> None:
        gone = list(partitions)
        for partition in gone:
            self._process.paused.pop(partition, None)
        self._simulation.note(f"{self._process} {'has lost' if lost else 'has revoked'} {_listed(gone)}")

    def recovered(self, partition: Partition, *, entries: int, next_offset: int) -> None:
        self._simulation.moved()
        self._process.paused.pop(partition, None)
        self._simulation.note(f"{self._process} recovered {partition}: {entries} entries, resumes at {next_offset}")

    def recovery_scheduled(self, partition: Partition, why: str, *, retry_in: float) -> None:  # noqa: ARG002 - seen in the trace
        self._simulation.moved()
        self._process.paused.pop(partition, None)
        self._simulation.note(f"{self._process} will recover {partition}: {why}")

    def paused(self, partition: Partition, reason: str, why: str) -> None:
        if reason != schema_waits.REASON:  # that is resumed without an operator
            self._process.paused[partition] = reason
        self._simulation.note(f"{self._process} pauses {partition}: {why}")

    def resumed(self, partition: Partition) -> None:
        self._simulation.moved()
        self._simulation.note(f"{self._process} resumes {partition}")


class _Logger(logging.Logger):
    """A logger outside logging's registry, which would keep one for each worker of each run."""

    def getChild(self, suffix: str) -> _Logger:  # noqa: N802 - logging's name
        return _Logger(f"{self.name}.{suffix}")


_CODECS: dict[tuple[type[Event], ...], Codec] = {}


def _codec(*events: type[Event]) -> Codec:
    if events not in _CODECS:
        _CODECS[events] = Codec(registry_at(None, events), events)
    return _CODECS[events]


_MADE: dict[tuple[str, Schema | str], sqlite3.Connection] = {}


def _made(service: Service[Any]) -> sqlite3.Connection:
    """Return a new database of a service; every run uses a copy of it."""
    kind = (service.name, service.repository.schema)
    if kind not in _MADE:
        database = connect("sqlite:///:memory:", service=service.name, schema=service.repository.schema)
        assert isinstance(database, SQLite)
        _MADE[kind] = database.connected()
    return _MADE[kind]


def _ignored(call: Call) -> None:
    with suppress(Exception):  # the process that made it is dead
        finished(call())


def _listed(partitions: Iterable[Partition]) -> str:
    return ", ".join(map(str, sorted(partitions)))
