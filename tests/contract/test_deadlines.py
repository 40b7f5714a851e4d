"""The statements about deadlines, on both databases: what they find, and that they read no more rows than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventbus.database import Database, Transaction, connect
from eventbus.store import deadlines
from eventbus.store.blocked_keys import BlockedKey, change
from order_service.repository import DEADLINE, SCHEMA

COLUMNS = "order_id, customer_id, total, currency, items, status, created_at, updated_at, deadline_at, deadline_set_at"
COUNT = 5_000


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Orders with deadlines at 1,000, 1,001 and so on, set at 0, 1 and so on; as many without."""
    opened = connect(database_url, service="order-service", schema=SCHEMA)
    with opened.transaction() as tx:
        plain = [(f"{number:05}", "42", 1, "USD", "[]", "pending", 0, 0) for number in range(2 * COUNT)]
        rows = [(*row, 1_000 + number, number) for number, row in enumerate(plain[:COUNT])]
        rows += [(*row, None, None) for row in plain[COUNT:]]
        tx.executemany(f"insert into orders ({COLUMNS}) values ({', '.join('?' * 10)})", rows)
        tx.execute("analyze orders")
    yield opened
    opened.close()


def seen(tx: Transaction) -> tuple[int | None, int | None]:
    return tx.rows(f"select {deadlines.first(DEADLINE)}, {deadlines.last_set(DEADLINE)}")[0]  # type: ignore[return-value]


def test_the_first_that_is_over_and_the_last_that_was_set(database: Database) -> None:
    """Without the rows whose keys are blocked, and those without a deadline."""
    with database.transaction() as tx:
        assert seen(tx) == (1_000, COUNT - 1)
        assert deadlines.due(tx, DEADLINE, 1_002, 2) == [("00000", 1_000), ("00001", 1_001)]
        blocked = {key: BlockedKey(key, "t", 0, 1, 1, 1, 0, 0, "no") for key in ("00000", "00002")}
        change(tx, {}, blocked)
        assert seen(tx) == (1_001, COUNT - 1)
        assert deadlines.due(tx, DEADLINE, 1_003, 9) == [("00001", 1_001), ("00003", 1_003)]
        assert deadlines.set_after(tx, DEADLINE, COUNT - 3, 9) == ["04998", "04999"]
        tx.execute("update orders set deadline_at = null, deadline_set_at = null")
        assert seen(tx) == (None, None)
        assert not deadlines.is_set(tx, DEADLINE)


@pytest.mark.parametrize(
    ("looked_for", "index"),
    [(deadlines.first(DEADLINE), "orders_deadline_at"), (deadlines.last_set(DEADLINE), "orders_deadline_set_at")],
)
def test_looking_costs_nothing_while_many_are_pending(database: Database, looked_for: str, index: str) -> None:
    """The planner reads the index from its end: however many are pending, it looks at one."""
    with database.snapshot() as tx:
        explain = "explain query plan" if "SQLite" in type(tx).__name__ else "explain"
        plan = "\n".join(str(row) for row in tx.rows(f"{explain} select {looked_for}"))
    assert index in plan, plan
    assert "Seq Scan on orders" not in plan, plan
    assert "SORT" not in plan.upper().replace("PRE-SORTED", ""), plan
