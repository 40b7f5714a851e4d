"""The events, one frozen struct each, bound to the .avsc of the same name in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from unicodedata import category

from msgspec import Meta, Struct

from eventbus import Event, Rule, event, to_iso
from schemas.money import to_text

HERE = Path(__file__).parent

MAX_AMOUNT = 10**15
"""Minor units. Far above any order, far below the range of 64 bits, so that sums cannot overflow."""
MAX_QUANTITY = 10_000
MAX_ITEMS = 100
MAX_TIME_MS = 253_402_300_799_999
MAX_ID_CHARACTERS = 200
"""Released, like the other limits: they may become wider, never narrower, or old events could not be read any more."""


def _may_be_text(value: str) -> bool:
    """Return whether every character that is not printable is unassigned in this Python's version of Unicode.

    It may be a letter in a newer one, by which the process that placed the order has validated it.
    """
    return all(character.isprintable() or category(character) == "Cn" for character in value)


PRINTABLE = Rule(str.isprintable, or_else=_may_be_text)
Id = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_ID_CHARACTERS, description=f"1 to {MAX_ID_CHARACTERS} printable characters"),
    PRINTABLE,
]
IdOrNone = Annotated[
    str, Meta(max_length=MAX_ID_CHARACTERS, description=f"at most {MAX_ID_CHARACTERS} printable characters"), PRINTABLE
]
"""Empty where there is none."""
Amount = Annotated[int, Meta(ge=0, le=MAX_AMOUNT, description=f"0 to {MAX_AMOUNT} minor units")]
Currency = Annotated[
    str, Meta(min_length=3, max_length=3, description="an ISO 4217 code"), Rule(str.isascii), Rule(str.isupper)
]
Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
TimeOrZero = Annotated[
    int, Meta(ge=0, le=MAX_TIME_MS, description="ms since 1970 UTC, at most the end of the year 9999; 0: none")
]


def check_id(name: str, value: str) -> None:
    """Raise ValueError unless a value can be an Id of an event."""
    if not 1 <= len(value) <= MAX_ID_CHARACTERS or not PRINTABLE.keeps(value):
        raise ValueError(f"{name} {value[:80]!r} must be 1 to {MAX_ID_CHARACTERS} printable characters")


class Item(Struct, frozen=True, gc=False):
    """A quantity of one article; 1 to 10,000."""

    sku: Id
    quantity: Quantity


Items = Annotated[tuple[Item, ...], Meta(min_length=1, max_length=MAX_ITEMS, description=f"1 to {MAX_ITEMS} items")]


@event(HERE / "order.created.avsc", key="order_id")
class OrderCreated(Event, frozen=True):
    """An order was placed. `total` in minor units of `currency` (ISO 4217); 1 to 100 items.

    `request_id` is the customer's own key of the request, empty where there was none (since version 2). `cancel_at_ms`
    is when the order cancels itself unless it has ended, 0 if never or not known (since version 3).
    """

    summary = "customer {customer_id} ordered {items} for {total}"

    order_id: Id
    customer_id: Id
    total: Amount
    currency: Currency
    items: Items
    request_id: IdOrNone = ""
    cancel_at_ms: TimeOrZero = 0

    def field_text(self, name: str) -> str:
        """See Event: its total with the currency, its items and the time as people write them."""
        if name == "items":
            return ", ".join(f"{item.quantity} x {item.sku}" for item in self.items)
        if name == "cancel_at_ms":
            return to_iso(self.cancel_at_ms) if self.cancel_at_ms else "none"
        return to_text(self.total, self.currency) if name == "total" else super().field_text(name)


class _Payment(Event, frozen=True):
    order_id: Id
    payment_id: Id
    amount: Amount
    currency: Currency

    def field_text(self, name: str) -> str:
        """See Event: its amount with the currency."""
        return to_text(self.amount, self.currency) if name == "amount" else super().field_text(name)


@event(HERE / "payment.charged.avsc", key="order_id")
class PaymentCharged(_Payment, frozen=True):
    """The customer was charged `amount` minor units."""

    summary = "{amount} was charged"


@event(HERE / "payment.refunded.avsc", key="order_id")
class PaymentRefunded(_Payment, frozen=True):
    """The charge was refunded: `amount` minor units, all of it."""

    summary = "the charge of {amount} was refunded"


class _Fact(Event, frozen=True):
    order_id: Id


@event(HERE / "inventory.reserved.avsc", key="order_id")
class InventoryReserved(_Fact, frozen=True):
    """Every item of the order is reserved."""

    summary = "every item was reserved"


@event(HERE / "inventory.released.avsc", key="order_id")
class InventoryReleased(_Fact, frozen=True):
    """Every item that was reserved for the order is in stock again."""

    summary = "every reserved item was returned to stock"


@event(HERE / "order.confirmed.avsc", key="order_id")
class OrderConfirmed(_Fact, frozen=True):
    """The saga ended well."""

    summary = "the order was confirmed"


class _Failure(Event, frozen=True):
    order_id: Id
    error: str


@event(HERE / "payment.failed.avsc", key="order_id")
class PaymentFailed(_Failure, frozen=True):
    """The charge was refused; `error` says why, for people.

    `code` says it for programs (since version 2; LIMIT_EXCEEDED since version 3). UNSPECIFIED means that no code was
    recorded, and is what a reader uses for a symbol newer than its schema.
    """

    summary = "the charge was refused: {error}"

    code: Literal["UNSPECIFIED", "DECLINED", "LIMIT_EXCEEDED"] = "UNSPECIFIED"


@event(HERE / "inventory.reservation.failed.avsc", key="order_id")
class InventoryReservationFailed(_Failure, frozen=True):
    """An item is missing; nothing was reserved. `error` says which, for people."""

    summary = "inventory could not reserve: {error}"


@event(HERE / "order.cancelled.avsc", key="order_id")
class OrderCancelled(Event, frozen=True):
    """The saga ended without a sale. Final: each participant undoes its own part when it consumes it.

    `reason` is for people; `cause` is the topic of the event that ended it, or `request` where a person ordered it
    (since version 2, before that empty).
    """

    summary = "the order was cancelled: {reason}"

    order_id: Id
    reason: str
    cause: IdOrNone = ""
