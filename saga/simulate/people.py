"""Simulated operators, who run `saga deadletters redrive`, `discard` and `skip`: the same code, on a model.

They act at any time, two concurrently, are paused while they write, lose their connection, or are killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from eventbus.database import ConcurrentUpdate
from eventbus.deadletters.resolutions import DISCARD, REDRIVE, AuditNote
from eventbus.kafka.config import Connection
from eventbus.log import Partition, Record
from eventbus.service import Service
from eventbus.simulation import Fault, Simulation
from eventbus.simulation.clients import ClientFault as Lost
from eventbus.simulation.clients import ClientHost
from eventbus.store import progress
from saga.deadletters.letters import AGAIN_SECONDS, Letter, LetterTarget, open_letters
from saga.deadletters.resolve import ResolveRequest, Unresolved, resolve
from saga.deadletters.selection import LetterSelection, NoSuchLetter
from saga.deadletters.skip import NothingToSkip, skip
from saga.kafka.unreadable import Found, Probe

MOST_ATTEMPTS = 3
"""A permanently bad record is discarded at the latest after this many attempts."""
ROUNDS = 20
IDLE, STALLS, LOSES, LEAVES = 0.80, 0.92, 0.97, 1.0
"""The random outcome of a request of theirs: it succeeds, the process is paused, it is lost, the process is killed."""


class _GivesUp(BaseException):
    """The operator's process was killed in the middle."""


class ModelledTarget(LetterTarget):
    """The simulated brokers, as the commands see them."""

    def __init__(self, simulation: Simulation, host: ClientHost | None = None) -> None:
        super().__init__("simulated", {})
        object.__setattr__(self, "_simulation", simulation)
        object.__setattr__(self, "_host", host or ClientHost())

    _simulation: Simulation
    _host: ClientHost

    def connection(self, group: str, name: str) -> Connection:
        """See KafkaTarget."""
        return self._simulation.connection(group, name, self._host)

    def now_ms(self) -> int:
        """See KafkaTarget."""
        return round(self._simulation.now * 1000)

    def await_decisions(self, topic: str) -> None:
        """See KafkaTarget."""
        cluster = self._simulation.cluster
        written = {tp: cluster.end(tp) for tp in self._partitions(topic)}
        while any(cluster.stable(tp) < end for tp, end in written.items()):
            self._simulation.live_on(AGAIN_SECONDS)
            cluster.tick()

    def probe(self, partition: Partition) -> Probe:
        """See KafkaTarget."""
        return _Probe(self._simulation, self._host, partition)

    def records(self, topic: str) -> Iterator[Record]:
        """See KafkaTarget."""
        cluster = self._simulation.cluster
        for tp in self._partitions(topic):
            for offset, entry in cluster.read(tp, 0, cluster.end(tp))[0]:
                yield Record(tp, offset, entry.key, entry.value, entry.timestamp_ms, entry.headers)

    def _partitions(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in range(self._simulation.cluster.topics()[topic])]


class _Probe(Probe):
    """Reads the simulated log as a consumer would."""

    def __init__(self, simulation: Simulation, host: ClientHost, partition: Partition) -> None:
        self._cluster, self._host, self._partition = simulation.cluster, host, partition

    def first(self, offset: int) -> Found:
        """See Probe."""
        self._host.fault("Fetch")
        found, position = self._cluster.read(self._partition, offset, 1)
        corrupt = self._cluster.unreadable(self._partition, offset, position)
        if corrupt:
            return Found(corrupt.start, "simulated")
        return Found(found[0][0] if found else position)

    def end(self) -> int:
        """See Probe."""
        return self._cluster.end(self._partition)


class _Desk(ClientHost):
    """The faults of the requests of one operator."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation

    def fault(self, request: str) -> Lost:
        simulation, fate = self._simulation, self._simulation.chance.random()
        if fate < IDLE:
            return Lost.NONE
        simulation.note(f"operator, at {request}: {fate:.2f}")
        if fate < STALLS:
            simulation.live_on(simulation.chance.choice((0.1, 1, 6)))
            return Lost.NONE
        if fate < LOSES:
            return simulation.chance.choice((Lost.LOSE_REQUEST, Lost.LOSE_ANSWER))
        raise _GivesUp

    def busy(self) -> None:
        self._simulation.moved()


class People:
    """All operators of one run. `open` and `stopped_at` return what is still unresolved."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        simulation.on_call = self._called

    def settle(self) -> None:
        """Resolve everything that is open, and its consequences; restart workers paused by the dead-letter limit."""
        simulation = self._simulation
        for _ in range(ROUNDS):
            if simulation.held:
                simulation.restart_all()
                simulation.run()
            waiting = [each for each in simulation.services if self.open(each) or self.stopped_at(each)]
            if not waiting and not simulation.held:
                return
            for service in waiting:
                simulation.after(0, partial(self._visit, service))
            simulation.run()

    def stopped_at(self, service: Service[Any]) -> list[tuple[Partition, int]]:
        """Return the partitions in which a service is stopped at an unreadable batch, and the offsets."""
        simulation = self._simulation
        stops = [partition for partition, _ in simulation.unreadable if partition.topic in service.topics()]
        if not stops:
            return []
        with simulation.database(service).snapshot() as tx:
            reached = progress.checkpoints(tx, stops)
        found = {}
        for partition, checkpoint in reached.items():
            end = simulation.cluster.end(partition)
            if batch := simulation.cluster.unreadable(partition, checkpoint.next_offset, end):
                found[partition] = batch.start
        return sorted(found.items())

    def open(self, service: Service[Any]) -> list[Letter]:
        """Return the dead letters of a service without a resolution."""
        simulation = self._simulation
        if not simulation.cluster.end(Partition(service.dead_letters(), 0)):
            return []
        return list(open_letters(ModelledTarget(simulation), service.name))

    def _called(self, fault: Fault) -> None:
        chance = self._simulation.chance
        for service in self._simulation.services:
            for _ in range(chance.choice((0, 1, 2))):  # two of them act independently
                self._simulation.after(fault.seconds + chance.random() * 0.1, partial(self._visit, service))

    def _visit(self, service: Service[Any]) -> None:
        """Look at what is open, decide about most of it, and try to resolve it."""
        for place in self.stopped_at(service):
            self._skip(service, place)
        chance, chosen = self._simulation.chance, dict[str, list[str]]()
        for letter in self.open(service):
            if chance.random() < 0.8:  # noqa: PLR2004 - four in five
                chosen.setdefault(self._decided(letter), []).append(letter.address)
        for action, addresses in chosen.items():
            where = ModelledTarget(self._simulation, _Desk(self._simulation))
            selection = LetterSelection(tuple(addresses), service.name)
            order = ResolveRequest(where, selection, action, by="somebody", why="simulated", limit=None)
            self._simulation.note(f"an operator wants to {action} {', '.join(addresses)}")
            try:
                done = [letter.address for letter in resolve(order, dry_run=False, tell=self._simulation.note)]
                self._simulation.note(f"{action}: {', '.join(done)}")
            except (Unresolved, NoSuchLetter) as error:
                self._simulation.note(f"{action}: {error}")
            except _GivesUp:
                self._simulation.note(f"{action}: the operator's process was killed")

    def _skip(self, service: Service[Any], place: tuple[Partition, int]) -> None:
        """Skip an unreadable batch, if the service has reached it by now."""
        simulation = self._simulation
        where, statement = ModelledTarget(simulation, _Desk(simulation)), AuditNote("somebody", "simulated", 0)
        try:
            next_offset = skip(where, simulation.database(service), service.name, place, statement)
            simulation.note(f"{service.name} skips {place[0]}/{place[1]} to {next_offset}")
            if simulation.chance.random() < 0.5:  # noqa: PLR2004 - one in two
                self._published_slowly(service)
        except (NothingToSkip, ConcurrentUpdate) as error:
            simulation.note(f"skip: {error}")
        except _GivesUp:
            simulation.note("skip: the operator's process was killed")

    def _published_slowly(self, service: Service[Any]) -> None:
        """Let others resolve dead letters while a worker is about to commit what was skipped, on the same topic."""
        simulation = self._simulation
        simulation.stall_soon("before commit", 1.0)
        for _ in range(2):
            simulation.after(simulation.chance.random() * 0.8, partial(self._visit, service))

    def _decided(self, letter: Letter) -> str:
        """Redrive a record that was refused temporarily; discard a permanently bad one sooner or later."""
        if letter.original not in self._simulation.poison:
            return REDRIVE
        spent = int(letter.said["dlq_attempts"]) >= MOST_ATTEMPTS
        return DISCARD if spent else self._simulation.chance.choice((REDRIVE, DISCARD))
