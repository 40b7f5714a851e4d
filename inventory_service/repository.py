"""Every SQL statement of the inventory service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.json import Decoder, Encoder

from eventbus import Event, Row, Table, Transaction, WorkingSet, schema_in
from inventory_service.domain import Items, Reservation, Stock
from schemas import OrderCancelled, OrderCreated, PaymentCharged

SCHEMA = schema_in(Path(__file__).parent)
RESERVATION = Table("reservation", Reservation._fields)
STOCK = Table("stock", Stock._fields)
PAGE = 1_000


class Warehouse(NamedTuple):
    """The reservations of a batch, and the stock of every article that may change with them."""

    reservations: WorkingSet[Reservation]
    stock: WorkingSet[Stock]


class InventoryRepository:
    """What the engine loads and saves; reservations are always locked before stock."""

    schema = SCHEMA

    def load(self, tx: Transaction, events: Sequence[Event]) -> Warehouse:
        """Load and lock the reservations of these orders, and the stock that handling them can change."""
        rows = tx.load(RESERVATION, (event.key for event in events))
        reservations: dict[str, Reservation] = {}
        while rows:  # each row is freed when it is read: items are large as JSON, and read
            reservation = _reservation(rows.pop())
            reservations[reservation.order_id] = reservation
        stock = tx.load(STOCK, _moving(events, reservations))
        return Warehouse(WorkingSet(reservations), WorkingSet({row[0]: Stock(*row) for row in stock}))

    def save(self, tx: Transaction, work: Warehouse) -> None:
        """Insert new rows, update existing ones."""
        work.reservations.save(tx, RESERVATION, _row)
        work.stock.save(tx, STOCK, tuple)


def set_on_hand(tx: Transaction, counts: Mapping[str, int]) -> None:
    """Store how many of these articles are on hand, all or none. Raises BelowReserved for less than is reserved."""
    known = {row[0]: Stock(*row) for row in tx.load(STOCK, counts)}
    stock = WorkingSet(known)
    for sku, on_hand in counts.items():
        stock.put(sku, known.get(sku, Stock(sku, 0)).counted(on_hand))
    stock.save(tx, STOCK, tuple)


def find_reservation(tx: Transaction, order_id: str) -> Reservation | None:
    """Return the reservation of one order."""
    rows = tx.rows(f"select {', '.join(RESERVATION.columns)} from reservation where order_id = ?", order_id)
    return _reservation(rows[0]) if rows else None


def all_reservations(tx: Transaction) -> Iterator[Reservation]:
    """Return every reservation, sorted by order id."""
    return map(_reservation, _all(tx, RESERVATION))


def all_stock(tx: Transaction) -> Iterator[Stock]:
    """Return the stock of every article, by SKU."""
    return (Stock(*row) for row in _all(tx, STOCK))


def _all(tx: Transaction, table: Table) -> Iterator[Row]:
    columns = ", ".join(table.columns)
    sql = f"select {columns} from {table.name} where {table.key} > ? order by {table.key} limit {PAGE}"
    last = ""
    while rows := tx.rows(sql, last):
        yield from rows
        last = rows[-1][0]


def _moving(events: Sequence[Event], known: Mapping[str, Reservation]) -> set[str]:
    """Return the SKUs of the orders in these events that can be reserved or released now.

    An order whose items are only stored changes no stock: it is neither loaded nor locked.
    """
    paid_or_cancelled = {event.key for event in events if isinstance(event, (PaymentCharged, OrderCancelled))}
    skus = {sku for order_id in paid_or_cancelled if order_id in known for sku, _ in known[order_id].items}
    for event in events:
        if isinstance(event, OrderCreated) and (event.key in paid_or_cancelled or event.key in known):
            skus.update(item.sku for item in event.items)
    return skus


_to_json = Encoder().encode
_items = Decoder(Items).decode


def _row(reservation: Reservation) -> Row:
    order_id, status, items, error = reservation
    return order_id, status, _to_json(items).decode(), error


def _reservation(row: Row) -> Reservation:
    order_id, status, items, error = row
    return Reservation(order_id, status, _items(items), error)
