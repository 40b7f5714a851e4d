"""Whether a tracker's database equals the log, record by record.

The log is read by another reader than the one that filled the database (`records.records`, not `reader.Reader`), and
every record below the position that the database claims is looked up. A copy made by the same reader proves nothing:
it would have the same gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventbus.log import Partition
from saga.kafka.records import Ends, TopicAndPartition, records
from saga.tracker.intake import Row, TrackerIntake, unreadable
from saga.tracker.store import Store

NAMED = 5


@dataclass
class Comparison:
    """The result for one database: how much was compared, and what differs."""

    records: int = 0
    """Records of the log that the database has unchanged."""
    unread: int = 0
    """Records that the database does not claim to have read."""
    expired: int = 0
    """Rows of records that have expired from the log."""
    different: int = 0
    first: list[str] = field(default_factory=list)
    """The first few differences, with their addresses."""

    def differs(self, address: str, what: str) -> None:
        """Add a difference."""
        self.different += 1
        if len(self.first) < NAMED:
            self.first.append(f"{address}: {what}")


class _Compared:
    """One database while the log is read: for each partition the rows that are ahead of the log's reader."""

    def __init__(self, store: Store, starts: Ends, ends: Ends) -> None:
        self.found = Comparison()
        self._claimed = {tp: offset for tp, (offset, _) in store.positions().items()}
        self._rows: dict[TopicAndPartition, Iterator[Row]] = {}
        self._next: dict[TopicAndPartition, Row | None] = {}
        for tp in sorted({*store.tps(), *ends}):
            start = starts.get(tp, 0)
            self.found.expired += sum(1 for _ in store.rows(tp, 0, start))
            self._rows[tp] = store.rows(tp, start)
            self._advance(tp)
            claimed = self._claimed.get(tp, 0)
            if claimed > ends.get(tp, 0):
                said = (
                    f"read up to {claimed}, but the log ends at {ends.get(tp, 0)}: the topic was recreated or truncated"
                )
                self.found.differs(f"{tp[0]}/{tp[1]}", said)

    def take(self, tp: TopicAndPartition, row: Row) -> None:
        """Look up one record of the log."""
        if row.offset >= self._claimed.get(tp, 0):
            self.found.unread += 1
            return
        self._pass(tp, row.offset)
        ahead = self._next[tp]
        if ahead is None or ahead.offset > row.offset:
            self.found.differs(row.address, "it is in the log, but not in the database")
            return
        if ahead == row:
            self.found.records += 1
        else:
            self.found.differs(row.address, "the database differs from the log")
        self._advance(tp)

    def end(self) -> Comparison:
        """Return the result; rows that were not looked up are not on the log."""
        for tp in self._rows:
            self._pass(tp, None)
        return self.found

    def _pass(self, tp: TopicAndPartition, offset: int | None) -> None:
        while (ahead := self._next[tp]) is not None and (offset is None or ahead.offset < offset):
            self.found.differs(ahead.address, "it is in the database, but not in the log")
            self._advance(tp)

    def _advance(self, tp: TopicAndPartition) -> None:
        self._next[tp] = next(self._rows[tp], None)


def compare(
    config: Mapping[str, object], intake: TrackerIntake, starts: Ends, ends: Ends, stores: list[Store]
) -> list[Comparison]:
    """Compare databases with the log between these offsets, in one reading. Raises LogMoved, Unreachable.

    The rows of orders are compared with the events of the same database, from which they are derived.
    """
    compared = [_Compared(store, starts, ends) for store in stores]

    def pass_by(tp: TopicAndPartition, batch: range) -> None:
        for one in compared:
            one.take(tp, unreadable(Partition(*tp), batch))

    for message in records(config, starts, ends, pass_by):
        row = intake.row(message)
        for one in compared:
            one.take((row.topic, row.partition), row)
    found = [one.end() for one in compared]
    for store, comparison in zip(stores, found, strict=True):
        for order_id in store.misjudged():
            comparison.differs(f"order {order_id}", "its row or its violations do not follow from its events")
    return found
