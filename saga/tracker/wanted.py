"""A filter of orders, as SQL that finds them with an index, on any page of the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eventbus.database.short_keys import LEAST_END

MOST_FOUND = 10_000
"""The maximum number of orders that a text search examines: one letter must not make the page wait for a million."""
LAST = "\U0010ffff"
"""Sorts after every text with the same prefix."""

ENDS = f"substr(order_id, -{LEAST_END}) = ? and substr(order_id, -?) = ?"
"""Whether an order's id ends with a text of LEAST_END characters or more: these, its length, the text; by an index."""
_FOUND = f"""order_id in (
    select * from (select order_id from orders where order_id >= ? and order_id < ? limit ?)
    union select * from (select order_id from orders where customer_id = ? order by placed_at desc limit ?)
    union select * from (select order_id from orders where {ENDS} limit ?)
    union select * from (select order_id from orders where customer_id >= ? and customer_id < ? limit ?)
)"""


class Wanted(NamedTuple):
    """A filter of orders; None selects all. Times in ms since 1970."""

    status: str | None = None
    stuck_since: int | None = None
    """Only orders that wait for an answer, and had no event since then; longest waiting first."""
    waiting_on: str | None = None
    customer: str | None = None
    failed_at: Sequence[str] | None = None
    """Only orders whose failure one of these events caused."""
    since: int | None = None
    undone: str | None = None
    """Only orders of which this was undone: `refunded`."""
    search: str = ""
    """How the order's or the customer's id begins, or how the order's ends."""
    after: tuple[int, str] | None = None
    """The time and id of the last order of the previous page: `placed_at`, for stuck ones `updated_at`."""
    limit: int = 20


def select_orders(wanted: Wanted, waits_on: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the statement and its values; `waits_on` are the values of the column that name the service."""
    pairs = _conditions(wanted, waits_on)
    where = f"where {' and '.join(condition for condition, _ in pairs)}" if pairs else ""
    by = "updated_at, order_id" if wanted.stuck_since is not None else "placed_at desc, order_id desc"
    values = [value for _, some in pairs for value in some]
    return f"select * from orders {where} order by {by} limit ?", [*values, wanted.limit]


def _conditions(wanted: Wanted, waits_on: Sequence[str]) -> list[tuple[str, Sequence[Any]]]:
    pairs: list[tuple[str, Sequence[Any]]] = []
    if wanted.status is not None:
        pairs.append(("status = ?", [wanted.status]))
    if wanted.stuck_since is not None:
        pairs.append(("waiting_on is not null and updated_at <= ?", [wanted.stuck_since]))
    if wanted.waiting_on is not None:
        pairs.append((f"waiting_on in ({_marks(waits_on)})", waits_on))
    if wanted.customer is not None:
        pairs.append(("customer_id = ?", [wanted.customer]))
    if wanted.failed_at is not None:
        pairs.append((f"failed_at is not null and failed_at in ({_marks(wanted.failed_at)})", wanted.failed_at))
    if wanted.since is not None:
        pairs.append(("placed_at >= ?", [wanted.since]))
    if wanted.undone is not None:
        pairs.append(("undone is not null and ',' || undone || ',' like ?", [f"%,{wanted.undone},%"]))
    if wanted.search:
        begins = (wanted.search, wanted.search + LAST, MOST_FOUND)
        end = wanted.search if len(wanted.search) >= LEAST_END else None
        ends = (end and end[-LEAST_END:], len(end or ""), end, MOST_FOUND)
        pairs.append((_FOUND, [*begins, wanted.search, MOST_FOUND, *ends, *begins]))
    if wanted.after is not None:
        place = "(updated_at, order_id) >" if wanted.stuck_since is not None else "(placed_at, order_id) <"
        pairs.append((f"{place} (?, ?)", wanted.after))
    return pairs


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
