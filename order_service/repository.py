"""Every SQL statement of the order service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec.json import Decoder, Encoder

from eventbus import DueColumn, Event, Row, Table, Transaction, WorkingSet, schema_in
from order_service.domain import STATUSES, Items, Order, Progress, Status

SCHEMA = schema_in(Path(__file__).parent)
ORDERS = Table("orders", Order._fields)
PROGRESS = Table("orders", Progress._fields)
DEADLINE = DueColumn("orders", "order_id", "deadline_at", "deadline_set_at")
PAGE = 1_000

Orders = WorkingSet[Progress]


class OrderRepository:
    """What the engine loads and saves: the progress of the orders of a batch."""

    schema = SCHEMA

    def load(self, tx: Transaction, events: Sequence[Event]) -> Orders:
        """Load and lock the orders that these events are about."""
        return load_orders(tx, (event.key for event in events))

    def save(self, tx: Transaction, work: Orders) -> None:
        """Write back what changed; events never create an order."""
        save_orders(tx, work)


def load_orders(tx: Transaction, order_ids: Iterable[str]) -> Orders:
    """Load and lock the progress of these orders."""
    return WorkingSet({row[0]: Progress(*row) for row in tx.load(PROGRESS, order_ids)})


def save_orders(tx: Transaction, orders: Orders) -> None:
    """Write back what changed of orders that this transaction has loaded."""
    orders.save(tx, PROGRESS, tuple)


def insert_orders(tx: Transaction, orders: Sequence[Order]) -> None:
    """Insert new orders. Raises ConcurrentUpdate when an order id or request id exists already."""
    tx.insert(ORDERS, [_row(order) for order in sorted(orders)])


def orders_by_request(tx: Transaction, request_ids: Sequence[str]) -> dict[str, Order]:
    """Return the orders that these requests have started before.

    Read without locks: what is compared never changes, and a request that is placed twice at once raises
    ConcurrentUpdate.
    """
    if not request_ids:
        return {}
    marks = ", ".join("?" * len(request_ids))
    rows = tx.rows(f"select {', '.join(ORDERS.columns)} from orders where request_id in ({marks})", *request_ids)
    return {row[1]: _order(row) for row in rows}


def set_deadlines(tx: Transaction, after: str, now: int, deadline_ms: int) -> str | None:
    """Set the deadline of pending orders without one, some of those with an id after this one, from now on.

    Returns the last id, or None if there are no more.
    """
    where = "order_id > ? and status = 'pending' and deadline_at is null"
    ids = [
        key for (key,) in tx.rows(f"select order_id from orders where {where} order by order_id limit {PAGE}", after)
    ]
    loaded = (Progress(*row) for row in tx.load(PROGRESS, ids))
    waiting = [order for order in loaded if order.status == "pending" and order.deadline_at is None]
    tx.update(PROGRESS, [each._replace(deadline_at=now + deadline_ms, deadline_set_at=now) for each in waiting])
    return ids[-1] if ids else None


def find_order(tx: Transaction, order_id: str) -> Order | None:
    """Return one order."""
    rows = tx.rows(f"select {', '.join(ORDERS.columns)} from orders where order_id = ?", order_id)
    return _order(rows[0]) if rows else None


def all_orders(tx: Transaction, status: Status | None = None, customer: str | None = None) -> Iterator[Order]:
    """Return every order, or those with one status or of one customer, sorted by id: oldest first."""
    which, values = _which(status, customer)
    sql = f"select {', '.join(ORDERS.columns)} from orders where order_id > ?{which} order by order_id limit {PAGE}"
    last = ""
    while rows := tx.rows(sql, last, *values):
        yield from map(_order, rows)
        last = rows[-1][0]


def newest_orders(
    tx: Transaction, limit: int, status: Status | None = None, customer: str | None = None
) -> list[Order]:
    """Return the newest of these orders, in the same order."""
    which, values = _which(status, customer)
    sql = (
        f"select {', '.join(ORDERS.columns)} from orders where order_id > ?{which} order by order_id desc limit {limit}"
    )
    return [_order(row) for row in reversed(tx.rows(sql, "", *values))]


def count_by_status(tx: Transaction) -> dict[Status, int]:
    """Return how many orders there are in each status."""
    counted: dict[Status, int] = dict(tx.rows("select status, count(*) from orders group by status"))
    return {status: counted.get(status, 0) for status in STATUSES}


def count_refunded(tx: Transaction) -> int:
    """Return how many orders got their money back; all of them are cancelled."""
    [(count,)] = tx.rows("select count(*) from orders where refunded > 0")
    return int(count)


def _which(status: Status | None, customer: str | None) -> tuple[str, list[str]]:
    tests = {"status": status, "customer_id": customer}
    wanted = {column: value for column, value in tests.items() if value is not None}
    return "".join(f" and {column} = ?" for column in wanted), list(wanted.values())


_to_json = Encoder().encode
_items = Decoder(Items).decode


def _row(order: Order) -> Row:
    return (*order[:5], _to_json(order.items).decode(), *order[6:])


def _order(row: Row) -> Order:
    return Order._make((*row[:5], _items(row[5]), *row[6:]))
