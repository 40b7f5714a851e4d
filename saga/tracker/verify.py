"""Whether a tracker's database says what the log says, record by record.

The log is read by another reader than the one that filled the database (`check.records`, not `reader.Reader`), and
every record below the position that the database claims is looked up. A copy that was made by the same rule proves
nothing: it has the same gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventbus.log import Partition
from saga.kafka.records import Ends, Lane, records
from saga.tracker.intake import Row, TrackerIntake, unreadable
from saga.tracker.store import Store

NAMED = 5


@dataclass
class Comparison:
    """What came out for one database: how much was compared, and what differs."""

    records: int = 0
    """Records of the log that are in the database as they stand there."""
    unread: int = 0
    """Records that the database does not claim to have read."""
    expired: int = 0
    """Rows of records that the log does not have any more."""
    different: int = 0
    first: list[str] = field(default_factory=list)
    """What differs, with its address; the first few."""

    def differs(self, address: str, what: str) -> None:
        """Take note of a difference."""
        self.different += 1
        if len(self.first) < NAMED:
            self.first.append(f"{address}: {what}")


class _Compared:
    """One database while the log is read: of each partition the rows that the log has not come to yet."""

    def __init__(self, store: Store, starts: Ends, ends: Ends) -> None:
        self.found = Comparison()
        self._claimed = {lane: offset for lane, (offset, _) in store.positions().items()}
        self._rows: dict[Lane, Iterator[Row]] = {}
        self._next: dict[Lane, Row | None] = {}
        for lane in sorted({*store.lanes(), *ends}):
            start = starts.get(lane, 0)
            self.found.expired += sum(1 for _ in store.rows(lane, 0, start))
            self._rows[lane] = store.rows(lane, start)
            self._advance(lane)
            claimed = self._claimed.get(lane, 0)
            if claimed > ends.get(lane, 0):
                said = (
                    f"read up to {claimed}, but the log ends at {ends.get(lane, 0)}: the topic was made again, or cut"
                )
                self.found.differs(f"{lane[0]}/{lane[1]}", said)

    def take(self, lane: Lane, row: Row) -> None:
        """Look up one record of the log."""
        if row.offset >= self._claimed.get(lane, 0):
            self.found.unread += 1
            return
        self._pass(lane, row.offset)
        ahead = self._next[lane]
        if ahead is None or ahead.offset > row.offset:
            self.found.differs(row.address, "the log has it, the database has not")
            return
        if ahead == row:
            self.found.records += 1
        else:
            self.found.differs(row.address, "the database has something else than the log")
        self._advance(lane)

    def end(self) -> Comparison:
        """Return what came out; whatever was not looked up is not on the log."""
        for lane in self._rows:
            self._pass(lane, None)
        return self.found

    def _pass(self, lane: Lane, offset: int | None) -> None:
        while (ahead := self._next[lane]) is not None and (offset is None or ahead.offset < offset):
            self.found.differs(ahead.address, "the database has it, the log has not")
            self._advance(lane)

    def _advance(self, lane: Lane) -> None:
        self._next[lane] = next(self._rows[lane], None)


def compare(
    config: Mapping[str, object], intake: TrackerIntake, starts: Ends, ends: Ends, stores: list[Store]
) -> list[Comparison]:
    """Hold databases against the log between these offsets, in one reading. Raises LogMoved, Unreachable.

    What an order's row says is compared with the events of the same database: it is made of nothing else.
    """
    compared = [_Compared(store, starts, ends) for store in stores]

    def pass_by(lane: Lane, batch: range) -> None:
        for one in compared:
            one.take(lane, unreadable(Partition(*lane), batch))

    for message in records(config, starts, ends, pass_by):
        row = intake.row(message)
        for one in compared:
            one.take((row.topic, row.partition), row)
    found = [one.end() for one in compared]
    for store, comparison in zip(stores, found, strict=True):
        for order_id in store.misjudged():
            comparison.differs(f"order {order_id}", "its row or its violations are not what its events make")
    return found
