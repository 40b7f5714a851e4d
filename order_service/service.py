"""How the order service accepts orders, and how it handles events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Self

from eventbus import (
    Codec,
    Database,
    Overdue,
    PoisonRecord,
    Service,
    Transaction,
    publish,
    reacts_to,
    retry_on_conflict,
    root_event_check,
    when_due,
)
from order_service.domain import (
    STATUSES,
    Order,
    OrderContradiction,
    OrderRequest,
    Progress,
    cancel,
    cancel_on_request,
    check_repeated,
    confirm,
    expire,
    new_order,
    note_refund,
)
from order_service.door import admit, created
from order_service.repository import (
    DEADLINE,
    OrderRepository,
    Orders,
    find_order,
    insert_orders,
    load_orders,
    orders_by_request,
    save_orders,
    set_deadlines,
)
from schemas import (
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
)

OVERDUE = "deadline"
"""The cause of an order.cancelled that no event caused."""
REQUEST = "request"
"""The cause of an order.cancelled that a person ordered."""


class Placed(NamedTuple):
    """The order of a request; `repeated` when the request had been placed before."""

    order: Order
    repeated: bool


class Cancellation(NamedTuple):
    """The order that a person cancelled; `repeated` when it had been cancelled before, so that nothing was done."""

    order: Order
    repeated: bool


class OrderService(Service[Orders]):
    """Accepts orders, and keeps the outcome of each."""

    name = "order-service"
    initiates = (OrderCreated,)
    on_request = (OrderCancelled,)
    completes = (OrderConfirmed,)
    aborts = (OrderCancelled,)

    def __init__(self, now: Callable[[], int], new_id: Callable[[], str], deadline_ms: int = 0) -> None:
        """`now` returns the time in ms since 1970 UTC; `new_id` returns order ids that sort by time (UUIDv7).

        An order that is neither confirmed nor cancelled after `deadline_ms` cancels itself; 0: it waits indefinitely.
        """
        self.repository = OrderRepository()
        self._now = now
        self._new_id = new_id
        self._deadline_ms = deadline_ms

    @classmethod
    def example_states(cls, key: str) -> Mapping[str, tuple[Self, Orders]]:
        """Return an example of every state."""
        service = cls(lambda: 0, lambda: key)
        known = {status: Progress(key, 1, "ABC", status, None, 0, 0) for status in STATUSES}
        overdue = {
            f"{status}, overdue": order._replace(deadline_at=1, deadline_set_at=0) for status, order in known.items()
        }
        states = {"unknown": Orders()} | {state: Orders({key: order}) for state, order in (known | overdue).items()}
        return {state: (service, orders) for state, orders in states.items()}

    def starting(self, database: Database) -> None:
        """Give the pending orders without a deadline this worker's, from now on."""
        now, deadline_ms = self._now(), self._deadline_ms
        last = "" if deadline_ms else None
        while last is not None:
            last = retry_on_conflict(database, partial(set_deadlines, after=last, now=now, deadline_ms=deadline_ms))

    def create_order(
        self, request: OrderRequest, database: Database, codec: Codec, trace: bytes | None = None
    ) -> Placed:
        """Start the saga: one transaction writes the order and order.created, into the outbox.

        Raises RequestConflict; ValueError for an invalid request (see order_service.door); Unavailable.
        """
        [answer] = self.create_orders([request], database, codec, trace)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def create_orders(
        self, requests: Sequence[OrderRequest], database: Database, codec: Codec, trace: bytes | None = None
    ) -> list[Placed | ValueError]:
        """Do the same for many requests in one transaction; returns their results in order, errors included."""

        def place(tx: Transaction) -> list[Placed | ValueError]:
            check = root_event_check(tx, codec, self.name)
            answers = self._answers(tx, requests, lambda order: check(created(order)))
            placed = [answer.order for answer in answers if isinstance(answer, Placed) and not answer.repeated]
            insert_orders(tx, placed)
            publish(tx, codec, self.name, map(created, placed), trace)
            return answers

        return retry_on_conflict(database, place)

    def _answers(
        self, tx: Transaction, requests: Sequence[OrderRequest], check: Callable[[Order], None]
    ) -> list[Placed | ValueError]:
        known = orders_by_request(tx, [request.request_id for request in requests if request.request_id])
        return [self._answer(request, known, check) for request in requests]

    def _answer(
        self, request: OrderRequest, known: dict[str, Order], check: Callable[[Order], None]
    ) -> Placed | ValueError:
        try:
            before = known.get(request.request_id) if request.request_id else None
            if before is not None:
                check_repeated(before, request)
                return Placed(before, repeated=True)
            order = new_order(self._new_id(), admit(request), self._now(), self._deadline_ms)
            check(order)
        except ValueError as refusal:
            return refusal
        if request.request_id:
            known[request.request_id] = order
        return Placed(order, repeated=False)

    def cancel_order(
        self, order_id: str, reason: str, database: Database, codec: Codec, trace: bytes | None = None
    ) -> Cancellation:
        """Cancel an order that a person does not want any more: one transaction writes it and order.cancelled.

        `reason` as `order_service.door.cancellation_reason` returns it. Raises NoSuchOrder, AlreadyConfirmed,
        Unavailable.
        """

        def decide(tx: Transaction) -> Cancellation:
            orders = load_orders(tx, [order_id])
            before = orders.get(order_id)
            after = cancel_on_request(before, order_id, reason, self._now())
            if after is not before:
                orders.put(order_id, after)
                save_orders(tx, orders)
                publish(tx, codec, self.name, [OrderCancelled(order_id, after.reason or "", cause=REQUEST)], trace)
            order = find_order(tx, order_id)
            assert order is not None
            return Cancellation(order, repeated=after is before)

        return retry_on_conflict(database, decide)

    @reacts_to(InventoryReserved)
    def confirm_order(self, reserved: InventoryReserved, orders: Orders) -> OrderConfirmed | None:
        """Confirm the order: it is paid, and every item is reserved."""
        changed = self._change(orders, reserved.order_id, lambda order: confirm(order, self._now()))
        return OrderConfirmed(reserved.order_id) if changed else None

    @reacts_to(PaymentFailed, compensates=[OrderCreated])
    def cancel_unpaid_order(self, failed: PaymentFailed, orders: Orders) -> OrderCancelled | None:
        """Cancel the order: the charge was refused."""
        code = f" ({failed.code})" if failed.code != "UNSPECIFIED" else ""
        return self._cancel(orders, failed, failed.error + code)

    @reacts_to(InventoryReservationFailed, compensates=[OrderCreated])
    def cancel_unreserved_order(self, failed: InventoryReservationFailed, orders: Orders) -> OrderCancelled | None:
        """Cancel the order: an item is missing."""
        return self._cancel(orders, failed, failed.error)

    @when_due(DEADLINE, compensates=[OrderCreated])
    def cancel_overdue_order(self, overdue: Overdue, orders: Orders) -> OrderCancelled | None:
        """Cancel the order: nobody answered in time."""
        order_id, before = overdue.key, orders.get(overdue.key)
        after = self._change(orders, order_id, lambda order: expire(order, overdue.due_ms, self._now()))
        if before is None or after is None or after.status == before.status:
            return None
        return OrderCancelled(order_id, after.reason or "", cause=OVERDUE)

    @reacts_to(PaymentRefunded)
    def note_refund(self, refunded: PaymentRefunded, orders: Orders) -> None:
        """Store that the charge is refunded."""
        amount, currency = refunded.amount, refunded.currency
        self._change(orders, refunded.order_id, lambda order: note_refund(order, amount, currency, self._now()))

    def _cancel(
        self, orders: Orders, failed: PaymentFailed | InventoryReservationFailed, reason: str
    ) -> OrderCancelled | None:
        order_id = failed.order_id
        changed = self._change(orders, order_id, lambda order: cancel(order, reason, self._now()))
        return OrderCancelled(order_id, changed.reason or "", cause=failed.topic) if changed else None

    def _change(self, orders: Orders, order_id: str, decide: Callable[[Progress | None], Progress]) -> Progress | None:
        before = orders.get(order_id)
        try:
            after = decide(before)
        except OrderContradiction as contradiction:
            raise PoisonRecord("contradiction", f"order {order_id}: {contradiction}") from contradiction
        orders.put(order_id, after)
        return after if after is not before else None
