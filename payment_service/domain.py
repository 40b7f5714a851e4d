"""A payment: charged or declined, perhaps refunded. Every event is handled in every state, late ones too.

The provider is called before the decision, with the state of that time; the decision is made on the current state.
When the answer does not fit it, another worker changed it: `Outdated`, and the call and decision are repeated.

A decision returns the changed payment, or the same object when there is nothing to do.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

MAX_PAYMENT_ID = 200
"""The number of characters that the event's schema allows."""
MAX_REASON = 1_000
"""The number of characters of a provider's message that are stored."""

Status = Literal["charged", "declined", "refunded", "cancelled"]
Refusal = Literal["DECLINED", "LIMIT_EXCEEDED"]
"""`LIMIT_EXCEEDED`: a smaller amount might be accepted. `DECLINED`: the provider gives no machine-readable reason."""
STATUSES: tuple[Status, ...] = ("charged", "declined", "refunded", "cancelled")


class PaymentContradiction(Exception):
    """The event contradicts what is already known of the payment."""


class RefundRefused(Exception):
    """The provider does not refund the charge now.

    That is no answer: the order is parked, and the refund is requested again, with backoff, until it is made.
    """


class Outdated(Exception):
    """The provider was called with a request that no longer matches the payment's state."""


class Payment(NamedTuple):
    """The payment of an order, in minor units of `currency`.

    `cancelled`: the order was cancelled before anything was charged; nothing will be.
    """

    order_id: str
    payment_id: str | None
    amount: int
    currency: str
    status: Status
    error: str | None


class Charge(Struct, frozen=True):
    """The provider charged the amount; `payment_id` is its id of the charge."""

    payment_id: str


class Declined(Struct, frozen=True):
    """The provider declined the charge; `reason` is for people, `code` for programs."""

    reason: str
    code: Refusal = "DECLINED"


class Refund(Struct, frozen=True):
    """The provider refunded this charge."""

    payment_id: str


class NothingTaken(Struct, frozen=True):
    """There was no charge to refund, and there will be none: the provider refuses a late one."""


class Conflict(Struct, frozen=True):
    """The provider has the key with other parameters, or refunded the charge under another key."""

    detail: str


class NotAsked(Struct, frozen=True):
    """The provider was not called: the known state required nothing of it."""


Question = Literal["charge", "refund", "void"] | None
"""`void`: refund what a worker may have charged before it crashed without recording it, and charge nothing later."""
Answer = Charge | Declined | Refund | NothingTaken | Conflict | NotAsked
Found = Charge | Refund | Conflict | None
"""The result of a search for a charge: it was made, it was refunded since, it is another one, or there is none."""


def may_be_forgotten(asked_since_ms: int, now_ms: int, key_lifetime: float | None) -> bool:
    """Return whether the provider may have forgotten what it was asked about an event with this timestamp.

    A timestamp in the future, and one that is missing (0 or less), says nothing of the event's age.
    """
    if key_lifetime is None:
        return False
    return not 0 < asked_since_ms <= now_ms < asked_since_ms + 1_000 * key_lifetime


def known_from(found: Found, question: Question) -> Answer | None:
    """Return the answer to a question that a search gives; None if the provider has to be asked nevertheless."""
    if found is None or isinstance(found, Conflict):
        return found
    if question == "charge":
        return Charge(found.payment_id)
    return found if isinstance(found, Refund) else None


def to_ask_for_order(known: Payment | None) -> Question:
    """Return the provider request that an order needs."""
    if known is None:
        return "charge"
    return "void" if known.status == "cancelled" else None


def to_ask_for_cancellation(known: Payment | None) -> Question:
    """Return the provider request that a cancelled order needs. An order.created that comes later voids its charge."""
    return "refund" if known is not None and known.status == "charged" else None


def free_of_charge(order_id: str, question: Question) -> Answer:
    """Return the answer for a total of 0, for which no provider is called."""
    if question == "void":
        return NothingTaken()
    payment_id = f"free-{order_id}"[:MAX_PAYMENT_ID]
    return Charge(payment_id) if question == "charge" else Refund(payment_id)


def charge(known: Payment | None, order_id: str, total: int, currency: str, answer: Answer) -> Payment:
    """An order was placed. Raises PaymentContradiction, Outdated."""
    if isinstance(answer, Conflict):
        raise PaymentContradiction(answer.detail)
    if known is None:
        if isinstance(answer, Charge):
            return Payment(order_id, answer.payment_id, total, currency, "charged", None)
        if isinstance(answer, Declined):
            return Payment(order_id, None, total, currency, "declined", _for_people(answer.reason))
        raise Outdated("the payment no longer exists")
    if known.status == "cancelled":
        if isinstance(answer, Refund):
            return Payment(order_id, answer.payment_id, total, currency, "refunded", None)
        if isinstance(answer, NothingTaken):
            return known
        raise Outdated("the order was cancelled while its charge was requested")
    if (known.amount, known.currency) != (total, currency):
        raise PaymentContradiction(
            f"{known.status} with {known.amount} {known.currency}, but it was placed again with {total} {currency}"
        )
    return known


def refund(known: Payment | None, order_id: str, answer: Answer) -> Payment:
    """The order was cancelled. Raises PaymentContradiction, Outdated."""
    if isinstance(answer, Conflict):
        raise PaymentContradiction(answer.detail)
    if known is None:
        return Payment(order_id, None, 0, "", "cancelled", None)
    if known.status != "charged":
        return known
    if isinstance(answer, Refund):
        return known._replace(status="refunded")
    if isinstance(answer, NothingTaken):
        raise PaymentContradiction(f"{known.amount} {known.currency} were charged, but the provider has no such charge")
    raise Outdated("the order was charged while its cancellation was handled")


def _for_people(reason: str) -> str:
    """Return a text that every database and terminal accepts: PostgreSQL stores no NUL."""
    shown = reason if reason.isprintable() else "".join(c if c.isprintable() else " " for c in reason)
    return shown[:MAX_REASON]
