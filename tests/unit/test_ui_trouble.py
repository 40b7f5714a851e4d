"""What the page says of orders in trouble, where there is no broker to ask."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from choreography.ui.trouble import parked_orders
from eventbus import fence
from eventbus.database import connect
from eventbus.fence import Fence


def database(path: Path, *statements: str) -> str:
    with closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)
    return f"sqlite:///{path}"


def test_parked_orders_are_read_and_what_cannot_be_read_is_said(tmp_path):
    """A service that parks nothing is no error; a database that is not there is, and is not made."""
    parking = f"sqlite:///{tmp_path / 'payment.db'}"
    with closing(connect(parking, service="payment-service", schema="")) as opened, opened.transaction() as tx:
        fence.change(tx, {}, {"o": Fence("o", "order.created", 3, 1, 4, 7, 0, 90000, "IntegrityError")})
    older = database(tmp_path / "order.db", "create table orders (id text)")
    missing = tmp_path / "inventory.db"
    databases = {"payment-service": parking, "order-service": older, "inventory-service": f"sqlite:///{missing}"}
    parked, errors = parked_orders(databases)
    assert parked == [
        {
            "service": "payment-service",
            "order_id": "o",
            "partition": "order.created/3",
            "records": 4,
            "attempts": 7,
            "since": "1970-01-01T00:00:00.000Z",
            "retry_at": "1970-01-01T00:01:30.000Z",
            "error": "IntegrityError",
        }
    ]
    [away] = errors
    assert str(missing) in away
    assert not missing.exists()
