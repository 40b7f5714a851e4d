"""A small model of the saga for the laws' tests: it moves by single steps, and can be read between any two of them.

Each service hears one record at a time, commits its row together with its answer, and publishes the answer later; the
provider is asked before the commit. What is read is read in the order that `saga.check.laws` states.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from random import Random

from saga.check.facts import (
    EventFact,
    Facts,
    LedgerFact,
    LogFacts,
    Money,
    OrderFact,
    PaymentFact,
    PlacedOrder,
    ReservationFact,
    StockFact,
)
from saga.flow.model import Flow
from tests.support.saga.declarations import declared, reaction

CREATED, CHARGED, FAILED = "order.created", "payment.charged", "payment.failed"
RESERVED, SHORT = "inventory.reserved", "inventory.reservation.failed"
CONFIRMED, CANCELLED, REFUNDED = "order.confirmed", "order.cancelled", "payment.refunded"
RELEASED = "inventory.released"
PARTITIONS = 2
FLOW = Flow(
    [
        declared(
            "order-service",
            initiates=(CREATED,),
            on_request=(CANCELLED,),
            heard={RESERVED: (CONFIRMED,), FAILED: (CANCELLED,), SHORT: (CANCELLED,), REFUNDED: ()},
        ),
        declared("payment-service", heard={CREATED: (CHARGED, FAILED, REFUNDED), CANCELLED: (REFUNDED,)}),
        declared(
            "inventory-service",
            reaction(CANCELLED, RELEASED, service="inventory-service", compensates=(RESERVED,)),
            heard={CREATED: (RESERVED, SHORT), CHARGED: (RESERVED, SHORT)},
        ),
    ]
)
LISTENS = {
    "order": (RESERVED, FAILED, SHORT, REFUNDED),
    "payment": (CREATED, CANCELLED),
    "inventory": (CREATED, CHARGED, CANCELLED),
}
LIMIT = 10_000
"""Larger totals are declined."""
Step = Callable[[], None]


class World:
    """Some orders, and everything that is known of them in four places and on the log."""

    def __init__(self, random: Random, orders: int, *, cancels: bool = False) -> None:
        """`cancels`: people cancel orders, at any moment."""
        self.random = random
        self.cancels = cancels
        self.clock = 1_000_000
        self.to_place = deque(f"order-{n}" for n in range(orders))
        self.orders: dict[str, OrderFact] = {}
        self.payments: dict[str, PaymentFact] = {}
        self.reservations: dict[str, ReservationFact] = {}
        self.stock = {"cd-1": StockFact("cd-1", 5, 0), "cd-2": StockFact("cd-2", 20, 0)}
        self.ledger: dict[str, list[LedgerFact]] = {}
        self.log: dict[tuple[str, int], list[EventFact]] = {(t, p): [] for t in FLOW.causes for p in range(PARTITIONS)}
        self.outbox: dict[tuple[str, str, int], deque[EventFact]] = defaultdict(deque)
        self.heard = {(s, t, p): 0 for s, topics in LISTENS.items() for t in topics for p in range(PARTITIONS)}

    def steps(self) -> list[Step]:
        """Return everything that can happen next."""
        steps: list[Step] = [self._place] if self.to_place else []
        if self.cancels:
            pending = [order.order_id for order in self.orders.values() if order.status == "pending"]
            steps += [partial(self._cancel, order_id) for order_id in pending[:1]]
        for key, pending in self.outbox.items():
            if pending:
                steps.append(lambda key=key: self._publish(key))
        for (service, topic, partition), position in self.heard.items():
            if position < len(self.log[topic, partition]):
                steps.append(lambda s=service, t=topic, p=partition: self._hear(s, t, p))
        return steps

    def finish(self) -> None:
        """Go on until nothing can happen any more."""
        while steps := self.steps():
            self.random.choice(steps)()

    def _place(self) -> None:
        order_id = self.to_place.popleft()
        items = tuple(
            (sku, self.random.randint(1, 4)) for sku in self.random.choice([("cd-1",), ("cd-2",), ("cd-1", "cd-2")])
        )
        total = self.random.choice([0, 500, 2933, LIMIT + 1])
        self.orders[order_id] = OrderFact(order_id, "anna", total, "USD", items, "pending", 0, self.clock)
        self._later("order", CREATED, order_id, None, PlacedOrder("anna", total, "USD", items))

    def _cancel(self, order_id: str) -> None:
        self.orders[order_id] = replace(self.orders[order_id], status="cancelled")
        self._later("order", CANCELLED, order_id, None, None)

    def _later(
        self, service: str, topic: str, order_id: str, cause: EventFact | None, body: PlacedOrder | Money | None
    ) -> None:
        partition = int(order_id.partition("-")[2]) % PARTITIONS
        address = None if cause is None else cause.address
        event = EventFact(topic, partition, 0, order_id, address, None, True, 0, hash((topic, order_id)), body)
        self.outbox[service, "" if cause is None else cause.topic, partition].append(event)

    def _publish(self, key: tuple[str, str, int]) -> None:
        event = self.outbox[key].popleft()
        self.clock += 1
        tp = self.log[event.topic, event.partition]
        tp.append(event._replace(offset=len(tp), timestamp_ms=self.clock))

    def _hear(self, service: str, topic: str, partition: int) -> None:
        position = self.heard[service, topic, partition]
        event = self.log[topic, partition][position]
        asked = service == "payment" and self._ask(event)
        if asked and self.random.random() < 0.5:
            return  # the worker died after the provider was asked
        self.heard[service, topic, partition] = position + 1
        {"order": self._order, "payment": self._payment, "inventory": self._inventory}[service](event)

    def _ask(self, event: EventFact) -> bool:
        order, entries = self.orders[event.order_id], self.ledger.setdefault(event.order_id, [])
        payment, made = self.payments.get(event.order_id), [entry.kind for entry in entries]
        kind = "charge" if event.topic == CREATED and payment is None else "refund"
        nothing_to_do = kind in made or (kind == "refund" and "charge" not in made)
        if nothing_to_do or order.total in (0, LIMIT + 1):
            return False
        entries.append(LedgerFact(order.order_id, kind, order.total, order.currency))
        return True

    def _payment(self, event: EventFact) -> None:
        order_id = event.order_id
        known = self.payments.get(order_id)
        if known is None and event.topic == CANCELLED:
            self.payments[order_id] = PaymentFact(order_id, None, 0, "", "cancelled")
        elif event.topic == CREATED and known is None:
            status = "declined" if event.body.total > LIMIT else "charged"
            self.payments[order_id] = PaymentFact(order_id, f"pay-{order_id}", event.body.total, "USD", status)
            money = Money(f"pay-{order_id}", event.body.total, "USD")
            self._later(
                "payment",
                *((CHARGED, order_id, event, money) if status == "charged" else (FAILED, order_id, event, None)),
            )
        elif known is not None and (known.status == "charged" or self.ledger[order_id]):
            amount = self.orders[order_id].total
            self.payments[order_id] = PaymentFact(order_id, f"pay-{order_id}", amount, "USD", "refunded")
            self._later("payment", REFUNDED, order_id, event, Money(f"pay-{order_id}", amount, "USD"))

    def _inventory(self, event: EventFact) -> None:
        order_id, known = event.order_id, self.reservations.get(event.order_id)
        if event.topic == CANCELLED:
            if known is None or known.status.startswith("awaiting"):
                self.reservations[order_id] = ReservationFact(order_id, "cancelled", ())
            elif known.status == "reserved":
                self._release(event, known)
        elif known is None:
            waits = "awaiting_payment" if event.topic == CREATED else "awaiting_items"
            items = event.body.items if event.topic == CREATED else ()
            self.reservations[order_id] = ReservationFact(order_id, waits, items)
        elif known.status.startswith("awaiting"):
            self._reserve(event, event.body.items if event.topic == CREATED else known.items)

    def _reserve(self, event: EventFact, items: tuple[tuple[str, int], ...]) -> None:
        enough = all(self.stock[sku].on_hand - self.stock[sku].reserved >= quantity for sku, quantity in items)
        for sku, quantity in items if enough else ():
            self.stock[sku] = replace(self.stock[sku], reserved=self.stock[sku].reserved + quantity)
        self.reservations[event.order_id] = ReservationFact(event.order_id, "reserved" if enough else "failed", items)
        self._later("inventory", RESERVED if enough else SHORT, event.order_id, event, None)

    def _release(self, event: EventFact, known: ReservationFact) -> None:
        for sku, quantity in known.items:
            self.stock[sku] = replace(self.stock[sku], reserved=self.stock[sku].reserved - quantity)
        self.reservations[event.order_id] = replace(known, status="cancelled")
        self._later("inventory", RELEASED, event.order_id, event, None)

    def _order(self, event: EventFact) -> None:
        order = self.orders[event.order_id]
        if order.status == "cancelled" and event.topic != REFUNDED:
            return
        if event.topic == REFUNDED:
            self.orders[order.order_id] = replace(order, refunded=event.body.amount)
        else:
            confirmed = event.topic == RESERVED
            self.orders[order.order_id] = replace(order, status="confirmed" if confirmed else "cancelled")
            self._later("order", CONFIRMED if confirmed else CANCELLED, order.order_id, event, None)


def read(world: World, between: Step = lambda: None) -> Facts:
    """Read everything in the stated order; `between` is called before each single reading."""
    before = dict(_ends(world, between))
    between()
    orders = dict(world.orders)
    between()
    reservations, stock = dict(world.reservations), list(world.stock.values())
    between()
    payments = dict(world.payments)
    between()
    ledger = {order_id: tuple(entries) for order_id, entries in world.ledger.items()}
    events = defaultdict(list)
    for tp, end in _ends(world, between):
        for event in world.log[tp][:end]:
            events[event.order_id].append(event._replace(early=event.offset < before[tp]))
    return Facts(
        orders, payments, reservations, stock, ledger, LogFacts(dict(events), dict.fromkeys(FLOW.causes, PARTITIONS))
    )


def read_causes_first(world: World, between: Step) -> Facts:
    """Read everything in the opposite order, as one should not."""
    log = read(world, between).log
    between()
    ledger = {order_id: tuple(entries) for order_id, entries in world.ledger.items()}
    between()
    payments = dict(world.payments)
    between()
    reservations, stock = dict(world.reservations), list(world.stock.values())
    between()
    return Facts(dict(world.orders), payments, reservations, stock, ledger, log)


def _ends(world: World, between: Step) -> Iterator[tuple[tuple[str, int], int]]:
    for topic in FLOW.reverse_topological():
        between()
        yield from (((topic, partition), len(world.log[topic, partition])) for partition in range(PARTITIONS))


def finished(seed: int, orders: int = 12, *, cancels: bool = False) -> Facts:
    """Return what is known of orders whose sagas have all ended."""
    world = World(Random(seed), orders, cancels=cancels)
    world.finish()
    return read(world)
