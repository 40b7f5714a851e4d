"""Every SQL statement of the payment service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eventbus import Event, Table, Transaction, WorkingSet, schema_in
from payment_service.domain import Payment

SCHEMA = schema_in(Path(__file__).parent)
PAYMENT = Table("payment", Payment._fields)
PAGE = 1_000

Payments = WorkingSet[Payment]


class PaymentRepository:
    """What the engine loads and saves: the payments of a batch."""

    schema = SCHEMA

    def load(self, tx: Transaction, events: Sequence[Event]) -> Payments:
        """Load and lock the payments of the orders that these events are about."""
        rows = tx.load(PAYMENT, (event.key for event in events))
        return WorkingSet({row[0]: Payment(*row) for row in rows})

    def save(self, tx: Transaction, work: Payments) -> None:
        """Insert new rows, update existing ones."""
        work.save(tx, PAYMENT, tuple)


def find_payment(tx: Transaction, order_id: str) -> Payment | None:
    """Return the payment of one order."""
    rows = tx.rows(f"select {', '.join(PAYMENT.columns)} from payment where order_id = ?", order_id)
    return Payment(*rows[0]) if rows else None


def all_payments(tx: Transaction) -> Iterator[Payment]:
    """Return every payment, sorted by order id."""
    columns = ", ".join(PAYMENT.columns)
    sql = f"select {columns} from payment where order_id > ? order by order_id limit {PAGE}"
    last = ""
    while rows := tx.rows(sql, last):
        yield from (Payment(*row) for row in rows)
        last = rows[-1][0]


def totals(tx: Transaction) -> dict[str, tuple[int, int]]:
    """Return what was charged and what was refunded, in minor units, by currency; orders free of charge add nothing."""
    rows = tx.rows(
        "select currency, sum(amount), sum(case when status = 'refunded' then amount else 0 end) from payment"
        " where status in ('charged', 'refunded') and amount > 0 group by currency order by currency"
    )
    return {currency: (int(charged), int(refunded)) for currency, charged, refunded in rows}
