"""How the payment service handles events."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Self, cast

from eventbus import CallStyle, ConcurrentUpdate, PoisonRecord, Service, Unasked, reacts_to
from payment_service.domain import (
    STATUSES,
    Answer,
    Declined,
    Found,
    NotAsked,
    Outdated,
    Payment,
    PaymentContradiction,
    Question,
    charge,
    free_of_charge,
    known_from,
    may_be_forgotten,
    refund,
    to_ask_for_cancellation,
    to_ask_for_order,
)
from payment_service.gateway import Gateway
from payment_service.repository import PaymentRepository, Payments
from schemas import OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed, PaymentRefunded

Asked = Answer | Awaitable[Answer] | Unasked


class Terms(NamedTuple):
    """What the provider is asked about: the order and its total, in minor units of the currency."""

    order_id: str
    amount: int
    currency: str


class PaymentService(Service[Payments]):
    """Charges orders, and refunds them when they are cancelled."""

    name = "payment-service"

    def __init__(self, gateway: Gateway, now: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        """`now` returns the time in ms since 1970 UTC: a question that is older than the provider's memory is known."""
        self.repository = PaymentRepository()
        self._gateway = gateway
        self._now = now

    @property
    def call_style(self) -> CallStyle:
        """As the gateway is called."""
        return self._gateway.call_style

    @classmethod
    def example_states(cls, key: str) -> Mapping[str, tuple[Self, Payments]]:
        """Return an example of every state; no gateway is called."""
        service = cls(cast("Gateway", None))
        known = {status: Payment(key, "p-1", 1, "ABC", status, None) for status in STATUSES}
        states = {"unknown": Payments()} | {status: Payments({key: payment}) for status, payment in known.items()}
        return {state: (service, payments) for state, payments in states.items()}

    def request_charge(self, order: OrderCreated, payments: Payments, at_ms: int) -> Asked:
        """Ask the provider to charge the order; if it is already cancelled, to refund what may have been charged."""
        question = to_ask_for_order(payments.get(order.order_id))
        return self._ask(question, Terms(order.order_id, order.total, order.currency), at_ms)

    def request_refund(self, cancelled: OrderCancelled, payments: Payments, at_ms: int) -> Asked:
        """Ask the provider to refund what is known to be charged."""
        known = payments.get(cancelled.order_id)
        if known is None:
            return Unasked(NotAsked())
        return self._ask(to_ask_for_cancellation(known), Terms(known.order_id, known.amount, known.currency), at_ms)

    @reacts_to(OrderCreated, remote=request_charge)
    def charge_payment(
        self, order: OrderCreated, answer: Answer, payments: Payments
    ) -> PaymentCharged | PaymentFailed | PaymentRefunded | None:
        """Charge the customer once, or publish why not; nothing if the order was cancelled before."""
        known = payments.get(order.order_id)
        try:
            payment = charge(known, order.order_id, order.total, order.currency, answer)
        except PaymentContradiction as contradiction:
            raise PoisonRecord("contradiction", f"order {order.order_id}: {contradiction}") from contradiction
        except Outdated as outdated:
            raise ConcurrentUpdate(f"order {order.order_id}: {outdated}") from outdated
        payments.put(order.order_id, payment)
        return _news(payment, answer) if payment is not known else None

    @reacts_to(OrderCancelled, remote=request_refund, compensates=[PaymentCharged])
    def refund_payment(self, cancelled: OrderCancelled, answer: Answer, payments: Payments) -> PaymentRefunded | None:
        """Refund what was charged; if nothing was, make sure that nothing will be."""
        known = payments.get(cancelled.order_id)
        try:
            payment = refund(known, cancelled.order_id, answer)
        except PaymentContradiction as contradiction:
            raise PoisonRecord("contradiction", f"order {cancelled.order_id}: {contradiction}") from contradiction
        except Outdated as outdated:
            raise ConcurrentUpdate(f"order {cancelled.order_id}: {outdated}") from outdated
        payments.put(cancelled.order_id, payment)
        changed = payment is not known and payment.status == "refunded"
        return _refunded(payment) if changed else None

    def _ask(self, question: Question, terms: Terms, at_ms: int) -> Asked:
        if question is None:
            return Unasked(NotAsked())
        if terms.amount == 0:
            return Unasked(free_of_charge(terms.order_id, question))
        if may_be_forgotten(at_ms, self._now(), self._gateway.key_lifetime):
            return self._search_first(question, terms)
        return self._request(question, terms)

    def _search_first(self, question: Question, terms: Terms) -> Asked:
        """Ask only if the provider does not have what is asked for: it would do it again under a key that it forgot."""
        found = self._gateway.find_charge(*terms)
        if isinstance(found, Awaitable):
            return self._found_or_asked(found, question, terms)
        return known_from(found, question) or self._request(question, terms)

    async def _found_or_asked(self, search: Awaitable[Found], question: Question, terms: Terms) -> Answer:
        known = known_from(await search, question)
        if known is not None:
            return known
        answer = self._request(question, terms)
        return await answer if isinstance(answer, Awaitable) else answer

    def _request(self, question: Question, terms: Terms) -> Answer | Awaitable[Answer]:
        order_id, amount, currency = terms
        if question == "charge":
            return self._gateway.charge(order_id, amount, currency)
        return self._gateway.refund(f"refund/{order_id}", order_id, amount, currency)


def _news(payment: Payment, answer: Answer) -> PaymentCharged | PaymentFailed | PaymentRefunded:
    if payment.status == "charged":
        return PaymentCharged(payment.order_id, payment.payment_id or "", payment.amount, payment.currency)
    if isinstance(answer, Declined):
        return PaymentFailed(payment.order_id, payment.error or "", answer.code)
    return _refunded(payment)


def _refunded(payment: Payment) -> PaymentRefunded:
    return PaymentRefunded(payment.order_id, payment.payment_id or "", payment.amount, payment.currency)
