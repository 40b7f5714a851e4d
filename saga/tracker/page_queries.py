"""The queries of the page that no command has: reasons of many orders, waits, how far each service has read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from saga.tracker.fold import OrderRow
from saga.tracker.live import LiveTracked

MOST_LAG = 100_000
"""The maximum number of events of a partition that are counted as lag."""


class Waiting(NamedTuple):
    """The orders that wait for a service, and since when the first of them does (ms since 1970)."""

    orders: int
    since: int


class Lag(NamedTuple):
    """The events that a service has not handled yet, and the time of the first of them (ms since 1970)."""

    events: int
    since: int | None


class PageTracked(LiveTracked):
    """The tracker's database, with the queries of the page."""

    def reasons(self, orders: Iterable[OrderRow]) -> dict[str, str]:
        """Return why orders failed, by their ids: what the event that ended it says, else the one that led to it.

        The fields `reason` and `error` say it, for people.
        """
        failed = {
            order.order_id: (order.ending, order.failed_at) for order in orders if order.failed_at or order.ending
        }
        rows = self._db.execute(
            "select order_id, topic, coalesce(json_extract(fields, '$.reason'), json_extract(fields, '$.error')) as why"
            " from events where order_id in (select value from json_each(?)) and why is not null order by at desc",
            (json.dumps(list(failed)),),
        )
        found: dict[str, dict[str, str]] = {}
        for order_id, topic, why in rows:
            found.setdefault(order_id, {})[topic] = str(why)
        reasons = {}
        for order_id, said in found.items():
            ending, failed_at = failed[order_id]
            if why := said.get(ending or "") or said.get(failed_at or ""):
                reasons[order_id] = why
        return reasons

    def waits(self, waiting_on: Mapping[str, int]) -> dict[str, Waiting]:
        """Return since when orders wait, by service; `waiting_on` is how many do."""
        found = {}
        for service, orders in waiting_on.items():
            [(since,)] = self._db.execute(
                "select min(updated_at) from (select updated_at from orders where waiting_on is not null"
                " and waiting_on in (select value from json_each(?)) order by updated_at limit 1)",
                (json.dumps(self._waits_on(service)),),
            )
            if since is not None:
                found[service] = Waiting(orders, since)
        return found

    def overdue(self, at: int) -> int:
        """Return how many orders are pending although their deadline had passed at this time (ms since 1970)."""
        where = "cancel_at is not null and cancel_at <= ?"
        [(orders,)] = self._db.execute(f"select count(*) from orders where {where}", (at,))
        return int(orders)

    def lag(self, topics: Iterable[str], handled: Mapping[tuple[str, int], int]) -> Lag:
        """Return the events on these topics from the next offsets on that the service `handled` up to."""
        places = [(topic, number) for topic, number in self._partitions() if topic in set(topics)]
        events, first = 0, list[int]()
        for topic, number in places:
            [(count, since)] = self._db.execute(
                "select count(*), min(at) from (select at from events"
                " where topic = ? and partition = ? and offset >= ? limit ?)",
                (topic, number, handled.get((topic, number), 0), MOST_LAG),
            )
            events += count
            first += [since] if since is not None else []
        return Lag(events, min(first, default=None))

    def last_event(self, topics: Sequence[str]) -> int | None:
        """Return the time of the newest event on these topics (ms since 1970)."""
        times = [
            at
            for topic, number in self._partitions()
            if topic in topics
            for (at,) in self._db.execute(
                "select at from events where topic = ? and partition = ? order by offset desc limit 1", (topic, number)
            )
        ]
        return max(times, default=None)

    def _partitions(self) -> list[tuple[str, int]]:
        return [(topic, number) for topic, number in self._db.execute("select topic, partition from progress")]
