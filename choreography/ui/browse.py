"""What the page asks the tracker's database, beyond what the commands ask: lists that go on for ever, and changes."""

from __future__ import annotations

from typing import Any, NamedTuple

from choreography.track.fold import OrderRow
from choreography.track.queries import Tracked

MOST_FOUND = 10_000
"""So many orders are looked at for what was typed: one letter must not make the page wait for a million."""
LAST = "\U0010ffff"
"""Behind every text that begins the same way."""

_FOUND = """order_id in (
    select * from (select order_id from orders where order_id >= ? and order_id < ? limit ?)
    union select * from (select order_id from orders where customer_id = ? order by placed_at desc limit ?)
    union select * from (select order_id from orders where customer_id >= ? and customer_id < ? limit ?)
)"""


class Page(NamedTuple):
    """Which orders are wanted, `limit` at most; None is all. Times in ms since 1970."""

    search: str = ""
    """How the id of the order or of the customer begins."""
    status: str | None = None
    stuck_since: int | None = None
    """Only orders that wait for an answer, and had no event since then; the longest waiting first."""
    after: tuple[int, str] | None = None
    """The time and id of the last order of the page before: `placed_at`, of stuck ones `updated_at`."""
    limit: int = 100


class Browsed(Tracked):
    """The tracker's database, open for reading."""

    def page(self, page: Page) -> list[OrderRow]:
        """Return the orders of one page, newest first; found by an index, however far down the page lies."""
        stuck = page.stuck_since is not None
        time, beyond, way = ("updated_at", ">", "") if stuck else ("placed_at", "<", " desc")
        conditions: list[str] = []
        values: list[Any] = []
        if stuck:
            conditions, values = ["waiting_on is not null", "updated_at <= ?"], [page.stuck_since]
        if page.status is not None:
            conditions.append("status = ?")
            values.append(page.status)
        if page.search:
            begins = (page.search, page.search + LAST, MOST_FOUND)
            conditions.append(_FOUND)
            values += [*begins, page.search, MOST_FOUND, *begins]
        if page.after is not None:
            conditions.append(f"({time}, order_id) {beyond} (?, ?)")
            values += page.after
        where = f"where {' and '.join(conditions)}" if conditions else ""
        sql = f"select * from orders {where} order by {time}{way}, order_id{way} limit ?"
        return [OrderRow._make(row) for row in self._db.execute(sql, (*values, page.limit))]

    def writes(self) -> int:
        """Return a number that grows whenever the tracker writes."""
        [(writes,)] = self._db.execute("select value from meta where name = 'writes'")
        return int(writes)
