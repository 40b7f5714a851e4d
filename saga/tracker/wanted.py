"""A filter of orders, as SQL that finds them with an index, on any page of the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.json import encode

from eventbus.database.short_keys import LEAST_END

MOST_FOUND = 10_000
"""The maximum number of orders that a text search examines: one letter must not make the page wait for a million."""
LAST = "\U0010ffff"
"""Sorts after every text with the same prefix."""

ENDS = f"substr(order_id, -{LEAST_END}) = ? and substr(order_id, -?) = ?"
"""Whether an order's id ends with a text of LEAST_END characters or more: these, its length, the text; by an index."""
LEAST_TEXT = 3
"""The least number of characters of a text in an event that is searched for."""
_FOUND = f"""order_id in (
    select * from (select order_id from orders where order_id >= :text and order_id < :last limit :most)
    union select * from (select order_id from orders where customer_id = :text order by placed_at desc limit :most)
    union select * from (select order_id from orders where customer_id >= :text and customer_id < :last limit :most)
    union select * from (
        select order_id from orders where length(:text) >= {LEAST_END} and substr(order_id, -{LEAST_END}) = :end
        and substr(order_id, -length(:text)) = :text limit :most)
    union select e.order_id from (select order_id from orders order by placed_at desc limit :most) as latest
        cross join events as e using (order_id)
        where length(:text) >= {LEAST_TEXT} and instr(lower(e.fields), lower(:json)) and exists (
            select 1 from json_tree(e.fields) as field where field.type = 'text'
            and field.value <> e.order_id and instr(lower(field.value), lower(:text)))
)"""
"""By the beginning or the end of its id, by its customer, by the texts of its events: a request id, an SKU, a reason.

The texts are those of the latest orders only: they have no index. JSON's own words must not match, hence `json_tree`.
"""


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
    ended_by: str | None = None
    """Only orders that this made fail, see OrderRow."""
    overdue_since: int | None = None
    """Only pending orders whose deadline had passed by then."""
    search: str = ""
    """The beginning or end of the order's id, the customer's id, or a text in one of its events."""
    seen: int = 0
    """Only orders that have all of these events (a bit set, see TrackerModel.bits)."""
    after: tuple[int, str] | None = None
    """The time and id of the last order of the previous page: `placed_at`, for stuck ones `updated_at`."""
    limit: int = 20


def select_orders(wanted: Wanted, waits_on: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the statement and its values; `waits_on` are the values of the column that name the service."""
    conditions, values = _conditions(wanted, waits_on)
    where = f"where {' and '.join(conditions)}" if conditions else ""
    by = "updated_at, order_id" if wanted.stuck_since is not None else "placed_at desc, order_id desc"
    return f"select * from orders {where} order by {by} limit :limit", {**values, "limit": wanted.limit}


def _conditions(wanted: Wanted, waits_on: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    simple = {
        "status": ("status = :status", wanted.status),
        "stuck_since": ("waiting_on is not null and updated_at <= :stuck_since", wanted.stuck_since),
        "customer": ("customer_id = :customer", wanted.customer),
        "ended_by": ("ended_by = :ended_by", wanted.ended_by),
        "overdue_since": ("cancel_at is not null and cancel_at <= :overdue_since", wanted.overdue_since),
        "since": ("placed_at >= :since", wanted.since),
        "seen": ("seen & :seen = :seen", wanted.seen or None),
        "undone": ("undone is not null and instr(',' || undone || ',', ',' || :undone || ',')", wanted.undone),
    }
    for name, (condition, value) in simple.items():
        if value is not None:
            conditions.append(condition)
            values[name] = value
    lists = {"waiting_on": waits_on if wanted.waiting_on is not None else None, "failed_at": wanted.failed_at}
    for name, some in lists.items():
        if some is not None:
            conditions.append(f"{name} is not null and {name} in (select value from json_each(:{name}))")
            values[name] = _json(list(some))
    if wanted.search:
        conditions.append(_FOUND)
        values |= {"text": wanted.search, "last": wanted.search + LAST, "json": _json(wanted.search)[1:-1]}
        values |= {"most": MOST_FOUND, "end": wanted.search[-LEAST_END:]}
    if wanted.after is not None:
        place = "(updated_at, order_id) >" if wanted.stuck_since is not None else "(placed_at, order_id) <"
        conditions.append(f"{place} (:after_at, :after_id)")
        values |= dict(zip(("after_at", "after_id"), wanted.after, strict=True))
    return conditions, values


def _json(value: Any) -> str:
    return encode(value).decode()
