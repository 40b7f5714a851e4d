"""A payment: charged or declined, perhaps refunded. Every event is decided in every state, late ones too.

The provider is asked before the decision, with what was known then, and the decision is made on what is known now. When
the answer does not fit, somebody else was faster: `Outdated`, to be asked and decided again.

A decision returns the changed payment, or the very same one when there is nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

MAX_PAYMENT_ID = 200
"""Characters that the published language takes."""
MAX_REASON = 1_000
"""Characters of what a provider says that are kept."""

Status = Literal["charged", "declined", "refunded", "cancelled"]
Refusal = Literal["DECLINED", "LIMIT_EXCEEDED"]
"""`LIMIT_EXCEEDED`: a smaller amount might be taken. `DECLINED`: the provider says nothing that a program could use."""
STATUSES: tuple[Status, ...] = ("charged", "declined", "refunded", "cancelled")


class PaymentContradiction(Exception):
    """An event that cannot be true beside what is known of the payment."""


class Outdated(Exception):
    """The provider was asked for something else than what is needed now."""


class Payment(NamedTuple):
    """What is known of an order's money, in minor units of `currency`.

    `cancelled`: the order was cancelled before anything was charged; nothing will be.
    """

    order_id: str
    payment_id: str | None
    amount: int
    currency: str
    status: Status
    error: str | None


@dataclass(frozen=True, slots=True)
class Charge:
    """The provider took the money; `payment_id` is its name for that."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider will not take the money; `reason` is for people, `code` for programs."""

    reason: str
    code: Refusal = "DECLINED"


@dataclass(frozen=True, slots=True)
class Refund:
    """The provider gave the money of this charge back."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class NothingTaken:
    """There was no charge to give back, and there will be none: the provider refuses a late one."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The provider knows the order's key with other parameters."""

    detail: str


@dataclass(frozen=True, slots=True)
class NotAsked:
    """From what was known, there was nothing to ask the provider for."""


Question = Literal["charge", "refund", "void"] | None
"""`void`: give back what may have been charged by a worker that did not live to note it, and take nothing later."""
Answer = Charge | Declined | Refund | NothingTaken | Conflict | NotAsked


def to_ask_for_order(known: Payment | None) -> Question:
    """Return what an order needs of the provider."""
    if known is None:
        return "charge"
    return "void" if known.status == "cancelled" else None


def to_ask_for_cancellation(known: Payment | None) -> Question:
    """Return what a cancelled order needs of the provider. An order that comes later sees to its own charge."""
    return "refund" if known is not None and known.status == "charged" else None


def free_of_charge(order_id: str, question: Question) -> Answer:
    """Return the answer about a total of 0, which no provider need be asked for."""
    if question == "void":
        return NothingTaken()
    payment_id = f"free-{order_id}"[:MAX_PAYMENT_ID]
    return Charge(payment_id) if question == "charge" else Refund(payment_id)


def charge(known: Payment | None, order_id: str, total: int, currency: str, answer: Answer) -> Payment:
    """An order was placed. Raises PaymentContradiction, Outdated."""
    _check_conflict(answer)
    if known is None:
        if isinstance(answer, Charge):
            return Payment(order_id, answer.payment_id, total, currency, "charged", None)
        if isinstance(answer, Declined):
            return Payment(order_id, None, total, currency, "declined", _for_people(answer.reason))
        raise Outdated("no payment is known any more")
    if known.status == "cancelled":
        if isinstance(answer, Refund):
            return Payment(order_id, answer.payment_id, total, currency, "refunded", None)
        if isinstance(answer, NothingTaken):
            return known
        raise Outdated("the order was cancelled while its charge was asked for")
    if (known.amount, known.currency) != (total, currency):
        raise PaymentContradiction(
            f"{known.status} with {known.amount} {known.currency}, but it was placed again with {total} {currency}"
        )
    return known


def refund(known: Payment | None, order_id: str, answer: Answer) -> Payment:
    """The order was cancelled. Raises PaymentContradiction, Outdated."""
    _check_conflict(answer)
    if known is None:
        return Payment(order_id, None, 0, "", "cancelled", None)
    if known.status != "charged":
        return known
    if isinstance(answer, Refund):
        return known._replace(status="refunded")
    if isinstance(answer, NothingTaken):
        raise PaymentContradiction(
            f"{known.amount} {known.currency} were charged, but the provider knows no such charge"
        )
    raise Outdated("the order was charged while its cancellation was looked at")


def _check_conflict(answer: Answer) -> None:
    if isinstance(answer, Conflict):
        raise PaymentContradiction(answer.detail)


def _for_people(reason: str) -> str:
    """Return a text that every database and terminal takes: PostgreSQL keeps no NUL."""
    shown = reason if reason.isprintable() else "".join(c if c.isprintable() else " " for c in reason)
    return shown[:MAX_REASON]
