"""One simulated run of the saga: the three services, a payment provider, some orders; then the laws of `saga check`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from eventbus import Codec
from eventbus.database import ConcurrentUpdate, Unavailable
from eventbus.engine.config import EngineConfig
from eventbus.log import Partition
from eventbus.serde.registry import registry_at
from eventbus.service import Service
from eventbus.simulation import Fault, NoProgress, Setup, Simulation, WorkerStopped, plan
from eventbus.simulation.clients import Message
from eventbus.simulation.faults import beside_deadlines
from eventbus.store.quarantine import Quarantined
from inventory_service.repository import set_on_hand
from inventory_service.service import InventoryService
from order_service.domain import NOBODY_ANSWERED, AlreadyConfirmed, NoSuchOrder, Order, OrderRequest
from order_service.repository import all_orders
from order_service.service import OrderService
from payment_service.gateway import Provider, open_gateway
from payment_service.service import PaymentService
from saga.check.facts import EventFact, Facts, LogFacts
from saga.check.laws import judge
from saga.check.log import fact_of
from saga.check.rules import LawViolation, Rules
from saga.check.stores import inventory_in, movements_of, orders_in, payments_in
from saga.flow.model import Flow
from saga.simulate.letter_laws import judged_letters
from saga.simulate.people import People
from schemas import EVENTS

SERVICES = (OrderService, PaymentService, InventoryService)
STOCK = {"CD-01": 4, "CD-02": 2}
DECLINE_ABOVE = 5_000
TOTALS = (0, 1_250, 2_933, 2_933, 9_900)
"""Minor units: one is free of charge, one above the provider's limit."""
DEAD_LETTERS = (1, 2, 100, 100)
"""The dead-letter limit before a partition is paused; a low one is reached in some runs."""
BATCHES = (1, 3, 1_000)
"""The most records of a batch: with few there is a backlog, and outputs stay pending while more is handled."""
LONG_MS = 600_000
"""A deadline that is over only if nobody answers..."""
OUTLAST_DEADLINES = {"clock", "poison", "trouble", "unreadable"}
"""...or after these faults: a clock jumps over it, a person settles the others and may come later."""
SHORT_MS = (1, 50, 500, 2_000, 10_000, LONG_MS)
WRONG_CLOCKS_MS = (0, 0, 0, 0, 3_600_000, -3_600_000)
"""How far the clock of a customer's host is off."""
SOON = (0.0, 0.0, 0.05, 2.0)
"""The durations within which orders are placed, in seconds."""
CANCELS = 0.4
"""The share of the orders that people cancel..."""
REGRETS = (0.0, 0.1, 0.5, 2.0, 10.0)
"""...within one of these durations in seconds..."""
TWICE = 0.3
"""...and the share of those that two people cancel at about the same time."""

CODEC = Codec(registry_at(None, EVENTS), EVENTS)
RULES = Rules(Flow.of(SERVICES), finished=True)


@dataclass(frozen=True, slots=True)
class Case:
    """The input of a run: a seed, the sizes, and the faults (None: drawn from the seed)."""

    seed: int
    orders: int = 3
    workers: int = 2
    kinds: tuple[str, ...] = ()
    faults: tuple[Fault, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a case. `happened` are the faults that occurred; `planned` those that might have."""

    case: Case
    planned: tuple[Fault, ...]
    happened: list[Fault]
    steps: int
    schedule: int
    """Equal for two runs with the same steps in the same order."""
    violations: list[LawViolation]
    trace: list[str] = field(default_factory=list)


def simulate(case: Case, *, tracing: bool = False) -> Outcome:
    """Run one case to its end and judge it."""
    draw = random.Random(f"faults of {case.seed}")  # noqa: S311 - faults, not secrets
    saga = _Saga(case)
    faults = case.faults
    if faults is None:
        faults = plan(draw, case.kinds)
        faults += beside_deadlines(saga.chance, case.kinds) if saga.in_a_hurry else ()
    limits = random.Random(f"limit of {case.seed}")  # noqa: S311 - faults, not secrets
    few, batch = limits.choice(DEAD_LETTERS), limits.choice(BATCHES)
    if any(fault.kind == "refusal" for fault in faults):
        batch = max(batch, BATCHES[1])  # a batch of one record does not show that the provider answers for others
    config = EngineConfig(prune_after=0.2, attempts=3, dead_letters=few, batch=batch)
    setup = Setup(saga.services, EVENTS, case.workers, 2, config)
    simulation = Simulation(setup, case.seed, faults, tracing=tracing)
    people = People(simulation)
    violations: list[LawViolation] = []
    try:
        saga.open(simulation)
        simulation.run()
        if simulation.damaged:
            violations += [LawViolation("refuses-another-log", "", what) for what in simulation.gone_on()]
        elif draw.random() < 0.25:  # noqa: PLR2004 - every fourth time
            simulation.restart_all()
            simulation.run()
        if not simulation.damaged:
            people.settle()
    except NoProgress as stuck:
        violations.append(LawViolation("everything-ends", "", str(stuck)))
    except WorkerStopped as stopped:
        violations.append(LawViolation("workers-go-on", "", str(stopped)))
    if not violations and not simulation.damaged:
        violations = [*saga.judged(simulation), *judged_letters(simulation, people)]
    steps = sum(simulation.steps.values())
    return Outcome(case, tuple(faults), simulation.happened, steps, simulation.schedule, violations, simulation.trace)


class _Saga:
    """The services of one run, with the provider and the customers."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._provider: Provider = open_gateway(f"simulated://?decline-above={DECLINE_ABOVE}")
        self._ids = 0
        self.chance = random.Random(f"deadlines of {case.seed}")  # noqa: S311 - schedules, not secrets
        self.in_a_hurry = self.chance.random() < 0.5  # noqa: PLR2004 - one run in two
        """Whether orders have short deadlines, and customers wrong clocks."""
        self.services = (self._orders, lambda _: PaymentService(self._provider), lambda _: InventoryService())

    def _orders(self, simulation: Simulation) -> OrderService:
        return self._order_service(simulation, 0, 0)

    def _order_service(self, simulation: Simulation, deadline_ms: int, clock_off_ms: int) -> OrderService:
        def new_id() -> str:
            self._ids += 1
            return f"order-{self._ids}-{simulation.chance.randrange(100)}"

        return OrderService(lambda: round(simulation.now * 1000) + clock_off_ms, new_id, deadline_ms)

    def _customer(self, simulation: Simulation) -> OrderService:
        """Return the order service as one customer uses it, in a process of its own."""
        if not self.in_a_hurry:
            return self._order_service(simulation, LONG_MS, 0)
        return self._order_service(simulation, self.chance.choice(SHORT_MS), self.chance.choice(WRONG_CLOCKS_MS))

    def open(self, simulation: Simulation) -> None:
        """Set the stock, and schedule the orders."""
        inventory = simulation.services[-1]
        with simulation.database(inventory).transaction() as tx:
            set_on_hand(tx, STOCK)
        draw = simulation.chance
        soon = draw.choice(SOON)
        for number in range(self._case.orders):
            skus = draw.sample(sorted(STOCK), draw.choice((1, 2)))
            items = tuple((sku, draw.choice((1, 1, 2, 3))) for sku in skus)
            request = OrderRequest(f"customer-{number}", draw.choice(TOTALS), "USD", items, f"request-{number}")
            regrets = _regrets(random.Random(f"regrets of {self._case.seed}/{number}"))  # noqa: S311 - no secrets
            place = partial(_place, simulation, self._customer(simulation), request, regrets)
            simulation.after(draw.random() * soon, place)

    def judged(self, simulation: Simulation) -> list[LawViolation]:
        """Return the broken laws."""
        orders, payment, inventory = simulation.services
        with simulation.database(inventory).snapshot() as tx:
            reservations, stock = inventory_in(tx)
        with simulation.database(orders).snapshot() as tx:
            placed, given_up = orders_in(tx), [order for order in all_orders(tx) if _is_given_up(order)]
        with simulation.database(payment).snapshot() as tx:
            payments = payments_in(tx)
        log = _log(simulation)
        facts = Facts(placed, payments, reservations, stock, movements_of(self._provider), log)
        violations = judge(facts, RULES).violations
        if len(placed) != self._case.orders:
            violations.append(LawViolation("orders-are-kept", "", f"{len(placed)} orders of {self._case.orders}"))
        violations += [LawViolation("order-is-kept", "", what) for what in simulation.broken]
        violations += [
            LawViolation("no-answer-is-no-refusal", order_id, f"{payment.amount} was not declined by the provider")
            for order_id, payment in payments.items()
            if payment.status == "declined" and payment.amount <= DECLINE_ABOVE
        ]
        if not self.in_a_hurry and OUTLAST_DEADLINES.isdisjoint(fault.kind for fault in simulation.happened):
            violations += [LawViolation("every-order-is-answered", o.order_id, o.reason or "") for o in given_up]
        return violations


def _is_given_up(order: Order) -> bool:
    """Return whether its deadline cancelled it."""
    return (order.reason or "").startswith(NOBODY_ANSWERED)


def _regrets(draw: random.Random) -> Sequence[float]:
    """Return how long after it was placed people cancel an order."""
    if draw.random() >= CANCELS:
        return ()
    longest = draw.choice(REGRETS)
    return [draw.random() * longest for _ in range(2 if draw.random() < TWICE else 1)]


def _place(simulation: Simulation, service: Service[Any], request: OrderRequest, regrets: Sequence[float]) -> None:
    """Place an order, or retry a moment later; then people cancel it."""
    assert isinstance(service, OrderService)
    try:
        order = service.create_order(request, simulation.database(service), CODEC).order
    except (Unavailable, ConcurrentUpdate):
        simulation.after(0.1, lambda: _place(simulation, service, request, regrets))
    except Quarantined:
        if not simulation.damaged:
            raise
        simulation.note(f"turned away: {request}")
    else:
        simulation.note(f"placed: {request}")
        for seconds in regrets:
            simulation.after(seconds, partial(_cancel, simulation, service, order.order_id))


def _cancel(simulation: Simulation, service: OrderService, order_id: str) -> None:
    """Cancel an order as `order-service cancel` does, or retry a moment later."""
    try:
        cancelled = service.cancel_order(order_id, "on request", simulation.database(service), CODEC)
    except (Unavailable, ConcurrentUpdate):
        simulation.after(0.1, partial(_cancel, simulation, service, order_id))
    except AlreadyConfirmed as refusal:
        simulation.note(f"not cancelled: {refusal}")
    except (NoSuchOrder, Quarantined):
        if not simulation.damaged:
            raise
        simulation.note(f"turned away: the cancellation of {order_id}")
    else:
        simulation.note(f"cancelled{' before' if cancelled.repeated else ''}: {order_id}")


def _log(simulation: Simulation) -> LogFacts:
    """Return the events that a read_committed reader sees."""
    cluster = simulation.cluster
    until = {(topic, number): cluster.end(Partition(topic, number)) for topic, number in _tps(simulation)}
    histories: dict[str, list[EventFact]] = {}
    for (topic, number), end in until.items():
        records, _ = cluster.read(Partition(topic, number), 0, end)
        for offset, entry in records:
            if f"{topic}/{number}/{offset}" in simulation.poison:
                continue
            event = CODEC.decode(topic, entry.key, entry.value)
            fact = fact_of(Message(Partition(topic, number), offset, entry), event, until)
            histories.setdefault(event.key, []).append(fact)
    return LogFacts(histories, {event.topic: cluster.topics()[event.topic] for event in EVENTS})


def _tps(simulation: Simulation) -> Sequence[tuple[str, int]]:
    topics = simulation.cluster.topics()
    return [(event.topic, number) for event in EVENTS for number in range(topics[event.topic])]
