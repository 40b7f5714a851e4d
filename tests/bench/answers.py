"""Whether a backlog of order.created was answered: what a read_committed consumer finds of payment.charged."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fastavro

from schemas import OrderCreated, PaymentCharged
from tests.support.brokers.admin import Admin

FRAME = 5
Amounts = Mapping[bytes | None, int]


def placed(admin: Admin) -> Amounts:
    """Return the total of each order of the backlog by its key."""
    return {record.key(): _read(record, OrderCreated.schema)["total"] for record in admin.read(OrderCreated.topic)}


def check(admin: Admin, topic: str, orders: Amounts) -> None:
    """Raise RuntimeError unless each order was charged once, in full."""
    answers = [(record.key(), _read(record, PaymentCharged.schema)) for record in admin.read(topic)]
    charged = {key: answer["amount"] for key, answer in answers}
    wrong = sum(charged.get(key) != amount for key, amount in orders.items())
    ids = {answer["payment_id"] for _, answer in answers}
    mixed = sum(key != answer["order_id"].encode() for key, answer in answers)
    if wrong or mixed or not len(answers) == len(charged) == len(ids) == len(orders):
        raise RuntimeError(
            f"{topic}: {len(orders)} orders, {len(answers)} answers to {len(charged)} of them with {len(ids)} payment"
            f" ids, {wrong} missing or with another amount, {mixed} under another key"
        )


def _read(record: Any, schema: Any) -> dict[str, Any]:
    body = io.BytesIO(record.value())
    body.seek(FRAME)
    read: Any = fastavro.schemaless_reader(body, schema, None)
    return read
