"""The shipping service: books one parcel for every confirmed order.

| consumes        | does           | produces      |
|-----------------|----------------|---------------|
| order.confirmed | books a parcel | order.shipped |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from eventbus import Event, Service, Table, Transaction, WorkingSet, event, reacts_to, service_cli
from schemas import OrderConfirmed

HERE = Path(__file__).parent


@event(HERE / "order.shipped.avsc", key="order_id")
class OrderShipped(Event, frozen=True):
    """A parcel with the order's items was booked; `parcel` is its number."""

    order_id: str
    parcel: str


class Parcel(NamedTuple):
    """A row for each shipped order."""

    order_id: str
    parcel: str


PARCEL = Table("parcel", Parcel._fields)
Parcels = WorkingSet[Parcel]


class ParcelRepository:
    """Every SQL statement of the shipping service."""

    schema = "create table parcel (order_id text primary key, parcel text not null);"

    def load(self, tx: Transaction, events: Sequence[Event]) -> Parcels:
        """Load and lock the parcels of the orders that these events are about."""
        rows = tx.load(PARCEL, (event.key for event in events))
        return WorkingSet({row[0]: Parcel(*row) for row in rows})

    def save(self, tx: Transaction, work: Parcels) -> None:
        """Insert the new parcels."""
        work.save(tx, PARCEL, tuple)


class ShippingService(Service[Parcels]):
    """Books parcels for confirmed orders."""

    name = "shipping-service"
    completes = (OrderShipped,)
    owns = (OrderShipped,)

    def __init__(self) -> None:
        self.repository = ParcelRepository()

    @classmethod
    def example_states(cls, key: str) -> Mapping[str, tuple[Self, Parcels]]:
        """Return an example of every state: nothing booked, and booked."""
        booked = Parcels({key: Parcel(key, f"parcel-{key}")})
        return {"unknown": (cls(), Parcels()), "booked": (cls(), booked)}

    @reacts_to(OrderConfirmed)
    def ship_order(self, confirmed: OrderConfirmed, parcels: Parcels) -> OrderShipped | None:
        """Book one parcel for the order, unless it has one."""
        order_id = confirmed.order_id
        if parcels.get(order_id) is not None:
            return None
        parcels.put(order_id, Parcel(order_id, f"parcel-{order_id}"))
        return OrderShipped(order_id, f"parcel-{order_id}")


main = service_cli(ShippingService, ParcelRepository.schema)

if __name__ == "__main__":
    main(prog_name="shipping-service")
