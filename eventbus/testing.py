"""For the tests of services: one handler (`scenario(…).when(…).then(…)`), or a saga under drawn faults (`seeded`).

pytest finds both as fixtures of these names wherever eventbus is installed. Nothing here needs a broker: handlers and
SQL are the real ones, on SQLite in memory; the broker is the simulator's model of one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import pytest

from eventbus.database import ConcurrentUpdate, connect
from eventbus.event import Event
from eventbus.event.overdue import Overdue
from eventbus.serde.codec import PoisonRecord
from eventbus.service import Service, answer_of, check_declared, finished
from eventbus.store import deadlines

if TYPE_CHECKING:
    from eventbus.simulation import Simulation

MakeScenario = Callable[..., "Scenario"]
Seeded = Callable[..., "Simulation"]


class Scenario:
    """One service that has handled some events. `when` has it handle one more; `then` asserts its answer.

    ValueError for an event or an answer with a value that its field does not allow: it could not be published.
    """

    def __init__(self, service: Service[Any], *events: Event) -> None:
        check_declared(service)
        self._service = service
        self._database = connect("sqlite:///:memory:", service=service.name, schema=service.repository.schema)
        self._answer: Event | None = None
        self._refusal: PoisonRecord | ConcurrentUpdate | None = None
        for event in events:
            self._handle(event)

    def when(self, event: Event) -> Self:
        """Have the service handle this event: the remote call, if there is one, then the decision."""
        try:
            self._answer, self._refusal = self._handle(event), None
        except (PoisonRecord, ConcurrentUpdate) as refusal:
            self._answer, self._refusal = None, refusal
        return self

    def then(self, *answers: Event) -> Self:
        """Assert that the service answered with exactly this; without arguments, with nothing."""
        assert self._refusal is None, f"the event was rejected: {self._refusal}"
        given = () if self._answer is None else (self._answer,)
        assert given == answers, f"the service answered {given or 'nothing'}, not {answers or 'nothing'}"
        return self

    def then_poison(self, reason: str) -> Self:
        """Assert that the event is dead-lettered for this reason."""
        assert isinstance(self._refusal, PoisonRecord), f"not dead-lettered: the service answered {self._answer}"
        assert self._refusal.reason == reason, f"dead-lettered for {self._refusal.reason}, not {reason}"
        return self

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a select in the service's database."""
        with self._database.snapshot() as tx:
            return tx.rows(sql, *parameters)

    def _handle(self, event: Event) -> Event | None:
        service = self._service
        if isinstance(event, Overdue):
            return self._fire(event)
        event.check()
        reaction = service.reactions[type(event)]
        outcome: tuple[Any, ...] = ()
        if reaction.remote is not None:
            with self._database.snapshot() as tx:
                known = service.repository.load(tx, [event]) if reaction.remote_takes_state else None
            outcome = (answer_of(finished(reaction.call_remote(service, event, known, _now_ms()))),)
        with self._database.transaction() as tx:
            work = service.repository.load(tx, [event])
            answer = reaction.answer(service, event, *outcome, work=work)
            service.repository.save(tx, work)
        return answer and answer.check()

    def _fire(self, over: Overdue) -> Event | None:
        """Call the handler of the deadline that the row with this key has. LookupError if it has none at that time."""
        service = self._service
        with self._database.transaction() as tx:
            work = service.repository.load(tx, [over])
            for deadline in service.deadlines.values():
                rows = deadlines.load(tx, deadline.column, [over.key])
                if over.key in rows and rows[over.key][1] == over.due_ms:
                    answer = deadline.reaction.answer(service, over, work=work)
                    service.repository.save(tx, work)
                    return answer and answer.check()
        raise LookupError(f"no deadline of {over.key} is over at {over.due_ms}")


def run_seeded(
    services: Sequence[Callable[[], Service[Any]]],
    events: Iterable[Event],
    seed: int,
    *,
    workers: int = 2,
    faults: Sequence[str] | None = None,
) -> Simulation:
    """Run services under random faults derived from `seed`, and publish these events to them.

    Returns when nothing moves any more; what is on the log then is `published(EventClass)`. The same seed is the
    same run. Raises NoProgress when something waits indefinitely, WorkerStopped when a worker ends by itself.
    `faults` are kinds of eventbus.simulation.KINDS; by default all but those that need people (`poison`,
    `unreadable`): here nobody redrives anything, or skips what cannot be read.
    """
    # Every test run of everybody loads this module: the simulator only where it is used.
    from eventbus.simulation import KINDS, NEEDS_PEOPLE, Setup, Simulation, plan  # noqa: PLC0415

    kinds = tuple(kind for kind in KINDS if kind not in NEEDS_PEOPLE) if faults is None else tuple(faults)
    coming = list(events)
    known = [event for make in services for event in make().events()]
    classes = list(dict.fromkeys([*known, *map(type, coming)]))
    setup = Setup([_ignoring(make) for make in services], classes, workers)
    chance = random.Random(f"faults of {seed}")  # noqa: S311 - faults, not secrets
    simulation = Simulation(setup, seed, plan(chance, kinds))
    for event in coming:
        simulation.after(chance.random(), lambda event=event: simulation.publish(event))  # type: ignore[misc]
    simulation.run()
    return simulation


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _ignoring(make: Callable[[], Service[Any]]) -> Callable[[Simulation], Service[Any]]:
    return lambda _simulation: make()


@pytest.fixture
def scenario() -> MakeScenario:
    """Return Scenario: `scenario(MyService(), Happened(…)).when(AnotherThing(…)).then(Answer(…))`."""
    return Scenario


@pytest.fixture
def seeded() -> Seeded:
    """Return `run_seeded`: `seeded([MyService], [Happened(…)], seed=7).published(Answer)`."""
    return run_seeded
