"""The events, one frozen dataclass each, bound to the .avsc of the same name in this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import category

from eventbus import Event, event

HERE = Path(__file__).parent

MAX_AMOUNT = 10**15
"""Minor units. Far above any order, far below the range of 64 bits, so that sums cannot overflow."""
MAX_QUANTITY = 10_000
MAX_ITEMS = 100
MAX_ID_CHARACTERS = 200
"""Released, like the other limits: they may become wider, never narrower, or old events could not be read any more."""


def _check_id(name: str, value: str) -> None:
    if not value or len(value) > MAX_ID_CHARACTERS or not (value.isprintable() or _may_be_text(value)):
        raise ValueError(f"{name} {value[:80]!r} must be 1 to {MAX_ID_CHARACTERS} printable characters")


def _may_be_text(value: str) -> bool:
    """Return whether every character that is not printable is unassigned in this Python's version of Unicode.

    It may be a letter in a newer one, by which the process that placed the order has validated it.
    """
    return all(character.isprintable() or category(character) == "Cn" for character in value)


def _check_money(amount: int, currency: str) -> None:
    if not 0 <= amount <= MAX_AMOUNT:
        raise ValueError(f"the amount {amount} must be 0 to {MAX_AMOUNT} minor units")
    if len(currency) != 3 or not (currency.isascii() and currency.isupper()):  # noqa: PLR2004
        raise ValueError(f"the currency {currency[:80]!r} must be an ISO 4217 code")


@dataclass(frozen=True, slots=True)
class Item:
    """A quantity of one article; 1 to 10,000."""

    sku: str
    quantity: int

    def __post_init__(self) -> None:
        _check_id("sku", self.sku)
        if not 1 <= self.quantity <= MAX_QUANTITY:
            raise ValueError(f"the quantity {self.quantity} of {self.sku} must be 1 to {MAX_QUANTITY}")


@event(HERE / "order.created.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class OrderCreated(Event):
    """An order was placed. `total` in minor units of `currency` (ISO 4217); 1 to 100 items.

    `request_id` is the customer's own key of the request, empty where there was none (since version 2).
    """

    summary = "customer {customer_id} ordered {items} for {total}"

    order_id: str
    customer_id: str
    total: int
    currency: str
    items: tuple[Item, ...]
    request_id: str = ""

    def __post_init__(self) -> None:
        _check_id("order_id", self.order_id)
        _check_id("customer_id", self.customer_id)
        _check_money(self.total, self.currency)
        if not 1 <= len(self.items) <= MAX_ITEMS:
            raise ValueError(f"an order has 1 to {MAX_ITEMS} items, not {len(self.items)}")
        if self.request_id:
            _check_id("request_id", self.request_id)


@dataclass(frozen=True, slots=True)
class _Payment(Event):
    order_id: str
    payment_id: str
    amount: int
    currency: str

    def __post_init__(self) -> None:
        _check_id("order_id", self.order_id)
        _check_id("payment_id", self.payment_id)
        _check_money(self.amount, self.currency)


@event(HERE / "payment.charged.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class PaymentCharged(_Payment):
    """The customer was charged `amount` minor units."""

    summary = "{amount} was charged"


@event(HERE / "payment.refunded.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class PaymentRefunded(_Payment):
    """The charge was refunded: `amount` minor units, all of it."""

    summary = "the charge of {amount} was given back"


@dataclass(frozen=True, slots=True)
class _Fact(Event):
    order_id: str

    def __post_init__(self) -> None:
        _check_id("order_id", self.order_id)


@event(HERE / "inventory.reserved.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class InventoryReserved(_Fact):
    """Every item of the order is set aside."""

    summary = "every item was set aside"


@event(HERE / "order.confirmed.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class OrderConfirmed(_Fact):
    """The saga ended well."""

    summary = "the order was confirmed"


@dataclass(frozen=True, slots=True)
class _Failure(Event):
    order_id: str
    error: str

    def __post_init__(self) -> None:
        _check_id("order_id", self.order_id)


@event(HERE / "payment.failed.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class PaymentFailed(_Failure):
    """The charge was refused; `error` says why, for people.

    `code` says it for programs (since version 2; LIMIT_EXCEEDED since version 3). UNSPECIFIED means that no code was
    recorded, and is what a reader uses for a symbol newer than its schema.
    """

    summary = "the charge was refused: {error}"

    code: Literal["UNSPECIFIED", "DECLINED", "LIMIT_EXCEEDED"] = "UNSPECIFIED"


@event(HERE / "inventory.reservation.failed.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class InventoryReservationFailed(_Failure):
    """An item is missing; nothing was set aside. `error` says which, for people."""

    summary = "inventory could not reserve: {error}"


@event(HERE / "order.cancelled.avsc", key="order_id")
@dataclass(frozen=True, slots=True)
class OrderCancelled(Event):
    """The saga ended without a sale. Final: each participant undoes its own part when it consumes it.

    `reason` is for people; `cause` is the topic of the event that ended it (since version 2, before that empty).
    """

    summary = "the order was cancelled: {reason}"

    order_id: str
    reason: str
    cause: str = ""

    def __post_init__(self) -> None:
        _check_id("order_id", self.order_id)
        if self.cause:
            _check_id("cause", self.cause)
