"""How the payment service handles events."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Self, cast

from eventbus import CallStyle, ConcurrentUpdate, PoisonRecord, Service, Unasked, reacts_to
from payment_service.domain import (
    STATUSES,
    Answer,
    Declined,
    NotAsked,
    Outdated,
    Payment,
    PaymentContradiction,
    Question,
    charge,
    free_of_charge,
    refund,
    to_ask_for_cancellation,
    to_ask_for_order,
)
from payment_service.gateway import Gateway
from payment_service.repository import PaymentRepository, Payments
from schemas import OrderCancelled, OrderCreated, PaymentCharged, PaymentFailed, PaymentRefunded

Asked = Answer | Awaitable[Answer] | Unasked


class PaymentService(Service[Payments]):
    """Charges orders, and refunds them when they are cancelled."""

    name = "payment-service"

    def __init__(self, gateway: Gateway) -> None:
        self.repository = PaymentRepository()
        self._gateway = gateway

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

    def request_charge(self, order: OrderCreated, payments: Payments) -> Asked:
        """Ask the provider to charge the order; if it is already cancelled, to refund what may have been charged."""
        question = to_ask_for_order(payments.get(order.order_id))
        return self._ask(question, order.order_id, order.total, order.currency)

    def request_refund(self, cancelled: OrderCancelled, payments: Payments) -> Asked:
        """Ask the provider to refund what is known to be charged."""
        known = payments.get(cancelled.order_id)
        if known is None:
            return Unasked(NotAsked())
        return self._ask(to_ask_for_cancellation(known), known.order_id, known.amount, known.currency)

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

    def _ask(self, question: Question, order_id: str, amount: int, currency: str) -> Asked:
        if question is None:
            return Unasked(NotAsked())
        if amount == 0:
            return Unasked(free_of_charge(order_id, question))
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
