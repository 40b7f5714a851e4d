"""Laws about money and goods: how an order ended, in all three services and at the payment provider.

The databases are read last effect first: orders, then inventory, then payments, then the provider. So for an order that
has ended, the sources that are read later are at least as new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from saga.check.facts import EventFact, Items, LedgerFact, Saga
from saga.check.rules import LawFinding, Rules, finding
from schemas import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
)
from schemas.money import to_text

LAST_EVENTS = {"confirmed": OrderConfirmed.topic, "cancelled": OrderCancelled.topic}
NOTHING_RESERVED_AFTER = (PaymentFailed.topic, InventoryReservationFailed.topic)


def confirmed_is_charged_once(saga: Saga, _rules: Rules) -> Iterator[LawFinding]:
    """A confirmed order is charged exactly its total, in its currency, and nothing was refunded."""
    order, payment = saga.order, saga.payment
    if order is None or order.status != "confirmed":
        return
    due = to_text(order.total, order.currency)
    if payment is None or payment.status != "charged":
        yield LawFinding(f"confirmed, but its payment is {saga.status('payment') or 'unknown'}")
    elif (payment.amount, payment.currency) != (order.total, order.currency):
        yield LawFinding(f"confirmed with a total of {due}, but charged {to_text(payment.amount, payment.currency)}")
    if saga.net != order.total or any(entry.currency != order.currency for entry in saga.ledger):
        yield LawFinding(f"confirmed with a total of {due}, but the provider has {_shown(saga.ledger)}")


def confirmed_is_reserved_once(saga: Saga, _rules: Rules) -> Iterator[LawFinding]:
    """Exactly the items of a confirmed order are reserved."""
    order, reservation = saga.order, saga.reservation
    if order is None or order.status != "confirmed":
        return
    if reservation is None or reservation.status != "reserved":
        yield LawFinding(f"confirmed, but its reservation is {saga.status('reservation') or 'unknown'}")
    elif _quantities(reservation.items) != _quantities(order.items):
        yield LawFinding(f"confirmed with {_listed(order.items)}, but {_listed(reservation.items)} are reserved")


def cancelled_nets_to_zero(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """A cancelled order costs nothing: what was charged was refunded."""
    if saga.order is None or saga.order.status != "cancelled":
        return
    if saga.net != 0 and (rules.finished or _money_is_settled(saga)):
        yield finding(f"cancelled, but the provider has {_shown(saga.ledger)}", *_of(saga, PaymentRefunded.topic))
    if saga.order.refunded and (saga.order.refunded != saga.order.total or saga.status("payment") != "refunded"):
        refunded, total = (to_text(each, saga.order.currency) for each in (saga.order.refunded, saga.order.total))
        yield LawFinding(f"the order has a refund of {refunded} of {total}, but the payment is {_payment(saga)}")
    if rules.finished and saga.order.refunded != saga.charged:
        refunded, charged = (to_text(each, saga.order.currency) for each in (saga.order.refunded, saga.charged))
        yield LawFinding(f"the order has a refund of {refunded}, but the provider charged {charged}")


def cancelled_holds_nothing(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """Nothing is reserved for a cancelled order."""
    if saga.order is None or saga.order.status != "cancelled" or saga.status("reservation") != "reserved":
        return
    refusals = [event for event in saga.events if event.topic in NOTHING_RESERVED_AFTER]
    if rules.finished or refusals:
        yield finding("cancelled, but its items are still reserved", *refusals)


def released_is_reserved_and_cancelled(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """When nothing is in flight, every order that was reserved and cancelled has its inventory.released."""
    # A worker of a release that did not know the event releases what it cancels, and publishes nothing.
    given_back = {InventoryReserved.topic, OrderCancelled.topic} <= saga.topics
    if rules.finished and given_back and rules.lacks(saga, InventoryReleased.topic):
        what = f"reserved and cancelled, but {InventoryReleased.topic} is not on the log"
        yield finding(what, *_of(saga, InventoryReserved.topic), *_of(saga, OrderCancelled.topic))


def payment_is_what_the_provider_says(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """Charges and refunds in payment's database are those in the provider's ledger, each once."""
    charges = [entry for entry in saga.ledger if entry.kind == "charge"]
    refunds = [entry for entry in saga.ledger if entry.kind == "refund"]
    if len(charges) > 1 or len(refunds) > 1:
        yield LawFinding(f"the provider has {_shown(saga.ledger)}")
    elif refunds and (not charges or _money(refunds) != _money(charges)):
        yield LawFinding(f"the provider refunded something else than it charged: {_shown(saga.ledger)}")
    if saga.ledger and rules.lacks(saga, OrderCreated.topic):
        yield LawFinding(f"the provider has {_shown(saga.ledger)}, but order.created is not on the log")
    status, possible = saga.status("payment"), _possible(saga, rules)
    if possible is not None and (_money(charges), _money(refunds)) not in possible:
        yield LawFinding(f"the payment is {_payment(saga)}, but the provider has {_shown(saga.ledger)}")
    elif refunds and status in (None, "charged") and rules.lacks(saga, OrderCancelled.topic):
        yield LawFinding(f"the provider has {_shown(saga.ledger)}, but order.cancelled is not on the log")


def no_order_is_overdue(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """No order is pending long after its deadline: by then it has cancelled itself.

    One that is parked in the order service is not lost: it is retried, and counts as open.
    """
    order = saga.order
    if order is None or order.status != "pending" or not order.deadline_ms or saga.parked:
        return
    late = rules.now_ms - order.deadline_ms
    if late > rules.deadline_margin_ms + rules.clock_skew_ms:
        yield LawFinding(f"pending {late / 1000:.0f} s after its deadline: is an order-service worker running?")


def all_is_finished(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """When nothing is in flight, no order is open."""
    why = open_because(saga, rules) if rules.finished else None
    if why is not None:
        yield finding(f"the order is open: {why}", *saga.events[-1:])


def nothing_is_parked(saga: Saga, rules: Rules) -> Iterator[LawFinding]:
    """When nothing is in flight, no order is parked; a parked one is not lost: the other laws treat it as open."""
    if rules.finished:
        for parked in saga.parked:
            look = f"{parked.service} parked show {saga.order_id}"
            yield finding(f"{parked.records} events are parked in {parked.service}: {parked.error}; see {look}")


def open_because(saga: Saga, rules: Rules) -> str | None:
    """Return what an order still waits for; None if its saga has ended."""
    if saga.order is None:
        return "its row does not exist yet" if OrderCreated.topic in saga.topics else None
    if saga.order.status == "pending":
        return "it is pending"
    if rules.lacks(saga, LAST_EVENTS[saga.order.status]):
        return f"{LAST_EVENTS[saga.order.status]} is not published yet"
    return "its refund is outstanding" if _refund_is_outstanding(saga, rules) else None


def _refund_is_outstanding(saga: Saga, rules: Rules) -> bool:
    if saga.status("order") != "cancelled" or (saga.order is not None and saga.order.refunded):
        return False
    payment = saga.status("payment")
    unannounced = payment == "refunded" and rules.lacks(saga, PaymentRefunded.topic)
    return payment == "charged" or saga.charged > 0 or unannounced


def _money_is_settled(saga: Saga) -> bool:
    """Whether nothing was ever charged, or it was refunded before the provider's ledger was read."""
    refunded = any(event.early for event in _of(saga, PaymentRefunded.topic))
    return refunded or saga.status("payment") == "refunded" or PaymentFailed.topic in saga.topics


def _possible(saga: Saga, rules: Rules) -> list[tuple[list[tuple[int, str]], list[tuple[int, str]]]] | None:
    """Return the (charges, refunds) that the provider may have; None if any are allowed for the moment."""
    payment = saga.payment
    if payment is None or payment.status == "cancelled":
        return [([], [])] if payment is None and rules.finished else None
    amount = [(payment.amount, payment.currency)] if payment.amount else []
    if payment.status == "charged":
        return [(amount, [])] if rules.finished else [(amount, []), (amount, amount)]
    return [(amount, amount)] if payment.status == "refunded" else [([], [])]


def _of(saga: Saga, topic: str) -> list[EventFact]:
    return [event for event in saga.events if event.topic == topic]


def _money(entries: Sequence[LedgerFact]) -> list[tuple[int, str]]:
    return [(entry.amount, entry.currency) for entry in entries]


def _quantities(items: Items) -> Counter[str]:
    total: Counter[str] = Counter()
    for sku, quantity in items:
        total[sku] += quantity
    return total


def _listed(items: Items) -> str:
    return " and ".join(f"{quantity} of {sku}" for sku, quantity in items) or "nothing"


def _payment(saga: Saga) -> str:
    payment = saga.payment
    return "unknown" if payment is None else f"{payment.status} ({to_text(payment.amount, payment.currency)})"


def _shown(ledger: Sequence[LedgerFact]) -> str:
    return " and ".join(f"a {entry.kind} of {to_text(entry.amount, entry.currency)}" for entry in ledger) or "nothing"
