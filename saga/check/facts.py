"""Facts about the orders: small, frozen, independent of the services' classes, so that laws can be tested."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar
from uuid import UUID

T = TypeVar("T", bound=Hashable)
Items = tuple[tuple[str, int], ...]
"""(SKU, quantity) pairs."""


@lru_cache(maxsize=65_536)
def shared(value: T) -> T:
    """Return the same object for equal values, so that memory holds one copy of what many facts have in common."""
    return value


class Address(NamedTuple):
    """The address of a record in the log."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class PlacedOrder(NamedTuple):
    """The content of order.created, apart from the order's id."""

    customer_id: str
    total: int
    currency: str
    items: Items


class Money(NamedTuple):
    """The content of payment.charged and payment.refunded, apart from the order's id; minor units."""

    payment_id: str
    amount: int
    currency: str


class EventFact(NamedTuple):
    """One event on the log. There are many: nothing is stored that can be derived."""

    topic: str
    partition: int
    offset: int
    order_id: str
    cause: Address | None
    event_id: str | None
    """ce_id, or None if it equals the result of `made_id`."""
    early: bool
    """Whether it was visible before the databases were read."""
    timestamp_ms: int
    """0 if the record has none."""
    digest: int
    """Equal for equal bytes."""
    body: PlacedOrder | Money | None
    deadline: str | None = None
    """When the deadline passed that it has instead of a cause."""

    @property
    def address(self) -> Address:
        """The address of its record."""
        return Address(self.topic, self.partition, self.offset)

    @property
    def ce_id(self) -> str:
        """The event's id, as in its header."""
        return made_id(self.topic, self.order_id, self.cause, self.deadline) if self.event_id is None else self.event_id


def made_id(topic: str, order_id: str, cause: Address | None, deadline: str | None = None) -> str:
    """Return the only id that an event with this cause, or of this deadline, may have."""
    if cause is None and deadline is not None:
        return f"{topic}@{deadline}/{order_id}"
    return f"{topic}/{order_id}" if cause is None else f"{topic}<{cause}"


@dataclass(frozen=True, slots=True)
class OrderFact:
    """A row of the order service. `status`: pending, confirmed or cancelled; `refunded`: refunded minor units.

    `placed_ms`: ms since 1970, by the clock of the order service; 0 if unknown. `deadline_ms`: when it cancels itself;
    0: never, or not any more.
    """

    order_id: str
    customer_id: str
    total: int
    currency: str
    items: Items
    status: str
    refunded: int
    placed_ms: int = 0
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """A row of the payment service. `status`: charged, declined, refunded or cancelled."""

    order_id: str
    payment_id: str | None
    amount: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class ReservationFact:
    """A row of inventory. `status`: awaiting_payment, awaiting_items, reserved, failed or cancelled."""

    order_id: str
    status: str
    items: Items


@dataclass(frozen=True, slots=True)
class LedgerFact:
    """An entry of the payment provider's own ledger. `kind`: charge or refund."""

    order_id: str
    kind: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class StockFact:
    """A row of inventory: how many there are, and how many of them are reserved."""

    sku: str
    on_hand: int
    reserved: int


@dataclass(frozen=True, slots=True)
class ParkedFact:
    """An order that a service cannot handle now: it is parked there, and retried."""

    order_id: str
    service: str
    records: int
    error: str


class Oldest(NamedTuple):
    """The first remaining record of a partition whose beginning has expired."""

    timestamp_ms: int
    order_id: str
    """Empty if it is not an event."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What was read from the topics."""

    events: Mapping[str, Sequence[EventFact]]
    """By order id, in the order in which they were read."""
    partitions: Mapping[str, int]
    """The number of partitions of each topic."""
    truncated: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """The first offset of partitions whose beginning has expired."""
    oldest: Mapping[tuple[str, int], Oldest] = field(default_factory=dict)
    """The first record of these that has a timestamp; partitions without any remaining record are not included."""
    undecodable: Sequence[str] = ()
    """The addresses of records that are not events."""
    unreadable: Sequence[str] = ()
    """Where batches that cannot be decompressed begin."""


@dataclass(frozen=True, slots=True)
class Saga:
    """All facts about one order."""

    order_id: str
    order: OrderFact | None
    payment: PaymentFact | None
    reservation: ReservationFact | None
    ledger: tuple[LedgerFact, ...]
    events: Sequence[EventFact]
    topics: frozenset[str]
    """Which events of the order are on the log."""
    parked: tuple[ParkedFact, ...] = ()

    @property
    def placed_ms(self) -> int | None:
        """When the order was placed, by the clock of the order service; None if unknown.

        Without a row it is the time in the id, if that is a UUIDv7 (RFC 9562), which the order service generates.
        """
        if self.order is not None:
            return self.order.placed_ms or None
        try:
            made = UUID(self.order_id)
        except ValueError:
            return None
        return made.int >> 80 if made.version == 7 else None  # noqa: PLR2004 - the version

    def status(self, store: str) -> str | None:
        """Return the status of the order's row in the store `order`, `payment` or `reservation`."""
        row: OrderFact | PaymentFact | ReservationFact | None = getattr(self, store)
        return None if row is None else row.status

    @property
    def charged(self) -> int:
        """What the provider charged, minor units."""
        return sum(entry.amount for entry in self.ledger if entry.kind == "charge")

    @property
    def net(self) -> int:
        """What the provider charged and did not refund, minor units."""
        return 2 * self.charged - sum(entry.amount for entry in self.ledger)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read, by order id."""

    orders: Mapping[str, OrderFact]
    payments: Mapping[str, PaymentFact]
    reservations: Mapping[str, ReservationFact]
    stock: Sequence[StockFact]
    ledger: Mapping[str, tuple[LedgerFact, ...]]
    log: LogFacts
    parked: Mapping[str, tuple[ParkedFact, ...]] = field(default_factory=dict)
    orders_read_ms: int = 0
    """When the orders were read, ms since 1970 by the clock of this host; 0 if unknown."""

    def sagas(self) -> Iterator[Saga]:
        """Collect the facts of each order, one order at a time."""
        stores = (self.orders, self.payments, self.reservations, self.ledger, self.log.events)
        for order_id in dict.fromkeys(key for store in stores for key in store):
            events = self.log.events.get(order_id, ())
            yield Saga(
                order_id,
                self.orders.get(order_id),
                self.payments.get(order_id),
                self.reservations.get(order_id),
                self.ledger.get(order_id, ()),
                events,
                frozenset([event.topic for event in events]),
                self.parked.get(order_id, ()),
            )
