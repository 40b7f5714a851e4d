"""One order at all three services, in every order in which its events can arrive, through the real handlers.

The events: order.created; order.cancelled by a person or by a deadline, at any moment; payment.charged, payment.failed,
inventory.reserved, inventory.reservation.failed, payment.refunded, inventory.released. Each service reads the topics
that it subscribes to in any order relative to each other. At the payment service the call of the provider and the
decision are two steps, so that another worker can decide in between; a call can have its effect and lose its answer.
Root events leave in the order in which they were made, and whenever a worker takes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest

from eventbus import ConcurrentUpdate, Event, WorkingSet
from eventbus.event.overdue import Overdue
from eventbus.service import answer_of
from inventory_service.domain import Reservation, Stock
from inventory_service.repository import Warehouse
from inventory_service.service import InventoryService
from order_service.domain import AlreadyConfirmed, Progress, cancel_on_request
from order_service.service import REQUEST, OrderService
from payment_service.books import LedgerLine
from payment_service.domain import Payment
from payment_service.ledger import MemoryLedger
from payment_service.service import PaymentService
from payment_service.simulated import MemoryProvider
from schemas import Item, OrderCancelled, OrderCreated

ID, SKU, TOTAL, NOW, DUE = "o", "cd-1", 2_933, 10_000, 5_000
CREATED = OrderCreated(ID, "42", TOTAL, "USD", (Item(SKU, 2),))
SERVICES: dict[str, Any] = {"order": OrderService, "payment": PaymentService, "inventory": InventoryService}


class Setting(NamedTuple):
    """What the provider and the shelf say, and who ends the order."""

    causes: tuple[str, ...]
    """Of the cancellations that are tried: `request`, `deadline`, or both, of which one comes first."""
    accepted: bool
    in_stock: bool


class Asked(NamedTuple):
    """The answer of a call that is not decided on yet, by the event that it is about."""

    event: Event
    answer: Any


class State(NamedTuple):
    """Everything, at one moment; equal moments have the same future."""

    order: Progress
    payment: Payment | None
    reservation: Reservation | None
    stock: Stock
    ledger: tuple[tuple[str, LedgerLine], ...]
    to_publish: tuple[Event, ...]
    log: tuple[Event, ...]
    heard: frozenset[tuple[str, str]]
    """Services and topics: an order has each event once."""
    asked: tuple[Asked, ...] = ()
    lost: int = 0
    """How many answers of the provider were lost; one at most."""


START = State(
    Progress(ID, TOTAL, "USD", "pending", None, 0, 0), None, None, Stock(SKU, 5), (), (CREATED,), (), frozenset()
)


class Steps:
    """The steps that can follow a state, each by the real handlers."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._order = OrderService(lambda: NOW, lambda: ID)
        self._inventory = InventoryService()

    def after(self, state: State) -> Iterator[State]:
        if state.to_publish:
            first, *rest = state.to_publish
            yield state._replace(to_publish=tuple(rest), log=(*state.log, first))
        if "request" in self._setting.causes and state.order.status == "pending":
            yield self._requested(state)
        if state.order.deadline_at is not None:
            yield self._overdue(state)
        for event in state.log:
            for service, kind in SERVICES.items():
                if type(event) in kind.reactions and (service, event.topic) not in state.heard:
                    yield from self._heard(state, service, event)

    def _requested(self, state: State) -> State:
        order = cancel_on_request(state.order, ID, "on request", NOW)
        event = OrderCancelled(ID, order.reason or "", cause=REQUEST)
        return state._replace(order=order, to_publish=(*state.to_publish, event))

    def _overdue(self, state: State) -> State:
        orders = WorkingSet({ID: state.order})
        event = self._order.cancel_overdue_order(Overdue(ID, DUE), orders)
        assert event is not None
        return state._replace(order=orders.get(ID), to_publish=(*state.to_publish, event))  # type: ignore[arg-type]

    def _heard(self, state: State, service: str, event: Event) -> Iterator[State]:
        if service == "order":
            orders = WorkingSet({ID: state.order})
            answer = self._order.reactions[type(event)].answer(self._order, event, work=orders)
            yield _published(state._replace(order=orders.get(ID)), service, event, answer)  # type: ignore[arg-type]
        elif service == "inventory":
            rows = WorkingSet({ID: state.reservation} if state.reservation else {})
            work = Warehouse(rows, WorkingSet({SKU: state.stock}))
            answer = self._inventory.reactions[type(event)].answer(self._inventory, event, work=work)
            after = state._replace(reservation=rows.get(ID), stock=work.stock.get(SKU))  # type: ignore[arg-type]
            yield _published(after, service, event, answer)
        else:
            yield from self._paid(state, event)

    def _paid(self, state: State, event: Event) -> Iterator[State]:
        asked = next((each for each in state.asked if each.event is event), None)
        if asked is None:
            yield from self._asks(state, event)
            return
        state = state._replace(asked=tuple(each for each in state.asked if each is not asked))
        service, payments = PaymentService(_no_gateway(), lambda: NOW), _payments(state)
        try:
            answer = service.reactions[type(event)].answer(service, event, asked.answer, work=payments)
        except ConcurrentUpdate:
            yield state  # it asks again
        else:
            yield _published(state._replace(payment=payments.get(ID)), "payment", event, answer)

    def _asks(self, state: State, event: Event) -> Iterator[State]:
        ledger = MemoryLedger(None if self._setting.accepted else 1)
        ledger._lines.update(state.ledger)
        service = PaymentService(MemoryProvider(ledger), lambda: NOW)
        answer = answer_of(service.reactions[type(event)].call_remote(service, event, _payments(state), NOW))
        after = state._replace(ledger=tuple(sorted(ledger._lines.items())))
        yield after._replace(asked=(*after.asked, Asked(event, answer)))
        if after.ledger != state.ledger and not state.lost:
            yield after._replace(lost=1)  # the answer is lost, or the worker dies before it decides


def _no_gateway() -> MemoryProvider:
    return MemoryProvider(MemoryLedger(None))


def _payments(state: State) -> WorkingSet[Payment]:
    return WorkingSet({ID: state.payment} if state.payment else {})


def _published(state: State, service: str, event: Event, answer: Event | None) -> State:
    log = state.log if answer is None else (*state.log, answer)
    return state._replace(log=log, heard=state.heard | {(service, event.topic)})


class Enumeration:
    """Walks every state once, and counts the ways through them."""

    def __init__(self, setting: Setting) -> None:
        self.steps, self.ends = Steps(setting), dict[State, None]()
        self.ways = cache(self._ways)

    def _ways(self, state: State) -> int:
        _always(state)
        following = list(dict.fromkeys(_ordered(each) for each in self.steps.after(state)))
        if not following:
            self.ends[state] = None
            return 1
        return sum(self.ways(each) for each in following)


def _ordered(state: State) -> State:
    """Return the state without the order in which topics were written: a reader cannot tell."""
    log = sorted(state.log, key=lambda event: event.topic)
    return state._replace(log=tuple(log), asked=tuple(sorted(state.asked, key=lambda each: each.event.topic)))


def _always(state: State) -> None:
    """Hold what must be so at any moment."""
    topics = Counter(event.topic for event in state.log)
    assert max(topics.values(), default=0) <= 1, topics
    assert not {"order.confirmed", "order.cancelled"} <= set(topics)
    assert not {"payment.charged", "payment.failed"} <= set(topics)
    kinds = Counter(line.request.kind for _, line in state.ledger if line.outcome == "done")
    assert kinds["charge"] <= 1
    assert kinds["refund"] <= kinds["charge"]
    assert 0 <= state.stock.reserved <= state.stock.on_hand


def _ends_lawfully(state: State, setting: Setting) -> None:
    topics = {event.topic for event in state.log}
    kinds = Counter(line.request.kind for _, line in state.ledger if line.outcome == "done")
    assert state.order.status != "pending"
    assert state.order.deadline_at is None
    if state.order.status == "confirmed":
        assert setting.accepted
        assert setting.in_stock
        assert (kinds["charge"], kinds["refund"], state.stock.reserved) == (1, 0, 2)
        return
    assert kinds["charge"] == kinds["refund"], "the customer has paid nothing"
    assert state.stock.reserved == 0
    assert ("payment.refunded" in topics) == (kinds["refund"] == 1)
    assert state.order.refunded == (TOTAL if kinds["refund"] else 0)
    assert ("inventory.released" in topics) == ("inventory.reserved" in topics)
    assert state.payment is not None
    assert state.payment.status in ("refunded", "declined", "cancelled")


NOBODY, PERSON, DEADLINE, BOTH = (), ("request",), ("deadline",), ("request", "deadline")
SETTINGS = {
    Setting(NOBODY, True, True): 9,
    Setting(NOBODY, True, False): 56,
    Setting(NOBODY, False, True): 45,
    Setting(PERSON, True, True): 59_462,
    Setting(PERSON, True, False): 59_509,
    Setting(PERSON, False, True): 8_780,
    Setting(DEADLINE, True, True): 59_462,
    Setting(DEADLINE, True, False): 59_509,
    Setting(DEADLINE, False, True): 8_780,
    Setting(BOTH, True, True): 118_915,
    Setting(BOTH, True, False): 118_962,
    Setting(BOTH, False, True): 17_515,
}
"""Each with the number of its interleavings: more, or fewer, are a change of what can happen."""


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_order_ends_lawfully_in_every_order_in_which_its_events_can_arrive(setting: Setting) -> None:
    """At most one charge and one refund at every moment; at the end money and goods are where the order says."""
    walked = Enumeration(setting)
    start = START if setting.in_stock else START._replace(stock=Stock(SKU, 1))
    if "deadline" in setting.causes:
        start = start._replace(order=start.order._replace(deadline_at=DUE, deadline_set_at=DUE - 1_000))
    ways = walked.ways(start)
    for end in walked.ends:
        _ends_lawfully(end, setting)
    assert ways == SETTINGS[setting]


def test_every_end_is_among_them() -> None:
    """Charged, declined, refunded, released, and cancelled before anything was charged."""
    ends = {}
    for setting in (Setting(PERSON, True, True), Setting(PERSON, False, True)):
        walked = Enumeration(setting)
        walked.ways(START)
        ends |= walked.ends
    statuses = {(end.order.status, end.payment and end.payment.status) for end in ends}
    assert statuses == {
        ("confirmed", "charged"),
        ("cancelled", "refunded"),
        ("cancelled", "declined"),
        ("cancelled", "cancelled"),
    }
    assert any(event.topic == "inventory.released" for end in ends for event in end.log)


def test_a_confirmed_order_is_not_cancelled() -> None:
    """The choice is made under the lock of the order's row: once confirmed, a cancellation is refused."""
    with pytest.raises(AlreadyConfirmed, match="Take the goods back"):
        cancel_on_request(START.order._replace(status="confirmed"), ID, "on request", NOW)
