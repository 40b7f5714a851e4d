"""The tracker's own database: written by one `saga track` at a time, read by all the other commands."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from saga.tracker.fold import VERSION, Fold, OrderRow, TrackedEvent, TrackedViolation
from saga.tracker.intake import Batch, Row
from saga.tracker.model import TrackerModel

SCHEMA = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
CACHE_KIB = 65_536
PAGE_BYTES, CHECKPOINT_PAGES = 16_384, 4_000
"""Measured: a batch takes a quarter less time than with SQLite's defaults of 4,096 and 1,000."""
BUSY_SECONDS = 30.0

_COLUMNS = OrderRow._fields
INSERT = f"insert into orders values ({', '.join('?' * len(_COLUMNS))})"
UPDATE = f"update orders set {', '.join(f'{name} = ?' for name in _COLUMNS[1:])} where order_id = ?"

Position = tuple[int, int]
"""The progress in a partition: the next offset, and the end of the log."""
Positions = Mapping[tuple[str, int], Position]
NO_EVENT = "kind in ('undecodable', 'unreadable')"
"""Violations for records that are not events; the others follow from the events."""
TAKEN_OVER_AT_ONCE = 10_000
NO_END = 2**63 - 1


class Lost(NamedTuple):
    """Rows of a partition that another database has and this one does not, although they have not expired."""

    partition: str
    rows: int
    made_again: bool
    """Whether the log has other records in their place."""


class NotATracker(RuntimeError):
    """The file is not a tracker's database."""


class AnotherTracker(RuntimeError):
    """Another process writes to the same file."""


class Store:
    """The database, open for writing. `renewed` is the reason why its old content was dropped, if it was."""

    def __init__(self, path: Path, model: TrackerModel, *, cluster: str = "") -> None:
        """Open or create it. Raises NotATracker for another kind of file."""
        self.path, self.renewed = path, ""
        self.kept: Path | None = None
        """The file that keeps the old content, if it was `renewed`."""
        self._model, self._fold = model, Fold(model)
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._prepare(cluster)
        except sqlite3.DatabaseError as error:
            raise NotATracker(f"{path} cannot be used as the tracker's database: {error}") from error
        self._writes = int(self._meta("writes"))

    def close(self) -> None:
        """Close it, with everything in the one file."""
        self._db.execute("pragma optimize")
        self._db.close()

    def positions(self) -> dict[tuple[str, int], Position]:
        """Return the progress of every partition."""
        rows = self._db.execute("select topic, partition, next_offset, log_end from progress")
        return {(topic, number): (offset, end) for topic, number, offset, end in rows}

    def topic_ids(self) -> dict[str, str]:
        """Return the ids of the topics it was filled from, by name; empty if an older release filled it."""
        ids: dict[str, str] = json.loads(self._meta("topic_ids") or "{}")
        return ids

    def note_topic_ids(self, ids: Mapping[str, str]) -> None:
        """Store the ids of the topics it is filled from."""
        self._db.execute("insert or replace into meta values ('topic_ids', ?)", (json.dumps(dict(ids)),))

    def write(self, batch: Batch, positions: Positions) -> bool:
        """Store a batch and the new positions in one transaction. Raises AnotherTracker.

        Returns whether it changed the violations.
        """
        db = self._db
        with self._transaction():
            db.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?)", batch.events)
            db.executemany("insert or replace into violations values (?, ?, ?, ?, ?, ?, ?)", batch.undecodable)
            judged = self._merge(batch.events)
            moved = [(topic, number, *at) for (topic, number), at in positions.items()]
            db.executemany("insert or replace into progress values (?, ?, ?, ?)", moved)
        return judged or bool(batch.undecodable)

    def replace_with(self, other: Store) -> None:
        """Replace everything with the content of another store, atomically; concurrent readers see the old rows."""
        other._db.backup(self._db)
        self._writes = int(self._meta("writes"))

    def keep(self) -> Path:
        """Copy everything into a file of another name, and return its path."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        kept, number = self.path.with_name(f"{self.path.name}.kept-{stamp}"), 1
        while kept.exists():
            kept, number = self.path.with_name(f"{self.path.name}.kept-{stamp}-{number}"), number + 1
        unfinished = kept.with_name(f"{kept.name}.incomplete")
        unfinished.unlink(missing_ok=True)
        with closing(sqlite3.connect(unfinished)) as copy:
            self._db.backup(copy)
        return unfinished.rename(kept)

    def tps(self) -> set[tuple[str, int]]:
        """Return the partitions that have a row."""
        sql = f"select topic, partition from events union select topic, partition from violations where {NO_EVENT}"
        return {(topic, number) for topic, number in self._db.execute(sql)}

    def note_ends(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Store where the partitions end, also of those that have not been read yet."""
        known = self.positions()
        moved = [(*tp, end) for tp, end in ends.items() if tp not in known or end > known[tp][1]]
        if not moved:
            return
        with self._transaction():
            self._db.executemany(
                "insert into progress (topic, partition, next_offset, log_end) values (?, ?, 0, ?)"
                " on conflict do update set log_end = excluded.log_end",
                moved,
            )

    def rows(self, tp: tuple[str, int], start: int, end: int = NO_END) -> Iterator[Row]:
        """Return its rows of a partition between two offsets, in order."""
        place, values = "(topic, partition) = (?, ?) and offset >= ? and offset < ?", (*tp, start, end)
        events = self._db.execute(f"select * from events where {place} order by offset", values)
        others = self._db.execute(f"select * from violations where {place} and {NO_EVENT} order by offset", values)
        rows: list[Iterator[Row]] = [map(TrackedEvent._make, events), map(TrackedViolation._make, others)]
        return merge(*rows, key=attrgetter("offset"))

    def misjudged(self) -> Iterator[str]:
        """Return the orders whose row or violations do not follow from their events."""
        orders = map(OrderRow._make, self._db.execute("select * from orders order by order_id"))
        stored = next(orders, None)
        for order_id, rows in groupby(self._db.execute("select * from events order by order_id"), itemgetter(0)):
            order, violations = self._fold.again(map(TrackedEvent._make, rows))
            while stored is not None and stored.order_id < order_id:
                yield stored.order_id
                stored = next(orders, None)
            if stored != order or self._violations(order_id) != set(violations):
                yield order_id
            if stored is not None and stored.order_id == order_id:
                stored = next(orders, None)
        yield from (order.order_id for order in (stored, *orders) if order is not None)

    def take_over(self, other: Store, starts: Mapping[tuple[str, int], int]) -> list[Lost]:
        """Copy another store's rows of records before `starts`, which expired from the log; return its other rows."""
        lost = [self._lost(other, tp, starts.get(tp, 0)) for tp in sorted(other.tps())]
        for tp, start in starts.items():
            known = {row.offset for row in self.rows(tp, 0, start)}
            rows = (row for row in other.rows(tp, 0, start) if row.offset not in known)
            while some := list(islice(rows, TAKEN_OVER_AT_ONCE)):
                events = [row for row in some if isinstance(row, TrackedEvent)]
                self.write(Batch(events, [row for row in some if isinstance(row, TrackedViolation)]), {})
        return [each for each in lost if each.rows]

    def _lost(self, other: Store, tp: tuple[str, int], start: int) -> Lost:
        ours = self.rows(tp, start)
        missing = changed = 0
        own = next(ours, None)
        for row in other.rows(tp, start):
            while own is not None and own.offset < row.offset:
                own = next(ours, None)
            found = own is not None and own.offset == row.offset
            changed += found and own != row
            missing += not found
        read = self.positions().get(tp, (0, 0))[0]
        made_again = changed > 0 or read < other.positions().get(tp, (0, 0))[0]
        return Lost(f"{tp[0]}/{tp[1]}", missing + changed, made_again)

    def _violations(self, order_id: str) -> set[TrackedViolation]:
        sql = f"select * from violations where order_id = ? and not ({NO_EVENT})"
        return set(map(TrackedViolation._make, self._db.execute(sql, (order_id,))))

    def counts(self) -> dict[str, int]:
        """Return how many violations there are of each kind."""
        return dict(self._db.execute("select kind, count(*) from violations group by kind"))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a transaction. Raises AnotherTracker."""
        self._db.execute("begin immediate")
        try:
            self._still_alone()
            yield
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            raise

    def _merge(self, events: Iterable[TrackedEvent]) -> bool:
        known = self._orders({event.order_id for event in events})
        orders = dict(known)
        suspects: set[str] = set()
        merge = self._fold.merge
        for event in events:
            orders[event.order_id], suspect = merge(orders.get(event.order_id), event)
            if suspect:
                suspects.add(event.order_id)
        for order_id in suspects:
            orders[order_id] = self._judge(order_id)
        self._save(known, orders)
        self._count(known, orders)
        return bool(suspects)

    def _save(self, known: Mapping[str, OrderRow], orders: Mapping[str, OrderRow]) -> None:
        self._db.executemany(INSERT, (row for order_id, row in orders.items() if order_id not in known))
        self._db.executemany(UPDATE, ((*orders[order_id][1:], order_id) for order_id in known))

    def _count(self, known: Mapping[str, OrderRow], orders: Mapping[str, OrderRow]) -> None:
        """Move the orders from their old kind to their new one."""
        moved = Counter(map(_kind, orders.values()))
        moved.subtract(map(_kind, known.values()))
        self._db.executemany(
            "insert into kinds values (?, ?, ?, ?) on conflict do update set orders = orders + excluded.orders",
            ((*kind, count) for kind, count in moved.items()),
        )
        self._db.execute("delete from kinds where orders = 0")

    def _orders(self, order_ids: Iterable[str]) -> dict[str, OrderRow]:
        asked = json.dumps(list(order_ids))
        rows = self._db.execute("select * from orders where order_id in (select value from json_each(?))", (asked,))
        return {row[0]: OrderRow._make(row) for row in rows}

    def _judge(self, order_id: str) -> OrderRow:
        rows = self._db.execute("select * from events where order_id = ?", (order_id,))
        order, violations = self._fold.again(map(TrackedEvent._make, rows))
        self._db.execute(f"delete from violations where order_id = ? and not ({NO_EVENT})", (order_id,))
        self._db.executemany("insert into violations values (?, ?, ?, ?, ?, ?, ?)", violations)
        return order

    def _still_alone(self) -> None:
        mine = self._db.execute(
            "update meta set value = ? where name = 'writes' and value = ?", (str(self._writes + 1), str(self._writes))
        )
        if mine.rowcount != 1:
            raise AnotherTracker(f"another `saga track` writes to {self.path}: give each its own --tracker")
        self._db.execute("insert or replace into meta values ('written_at', ?)", (str(time.time_ns() // 1_000_000),))
        self._writes += 1

    def _prepare(self, cluster: str) -> None:
        db = self._db
        version = db.execute("pragma user_version").fetchone()[0]
        tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
        if tables and "progress" not in tables:
            raise NotATracker(f"{self.path} is a database of another application: give another file with --tracker")
        db.execute(f"pragma page_size = {PAGE_BYTES}")
        db.execute("pragma journal_mode = wal")
        db.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        # Everything can be read again from the log: a power failure may lose the last transactions, but never the file.
        db.execute("pragma synchronous = normal")
        db.execute(f"pragma cache_size = -{CACHE_KIB}")
        found = (
            {"version": str(version), "flow": self._meta("flow"), "cluster": self._meta("cluster")} if tables else {}
        )
        wanted = {"version": str(VERSION), "flow": self._model.fingerprint, "cluster": cluster}
        differs = [name for name in found if found[name] != wanted[name]]
        if differs:
            self.renewed, self.kept = _WHY[differs[0]], self.keep()
        if differs or not tables:
            self._make(wanted)

    def _make(self, wanted: Mapping[str, str]) -> None:
        db = self._db
        for kind in ("view", "table"):
            for (name,) in db.execute("select name from sqlite_master where type = ?", (kind,)).fetchall():
                db.execute(f'drop {kind} "{name}"')
        db.executescript(f"begin immediate; {SCHEMA} pragma user_version = {VERSION}; commit;")
        facts = {"writes": "0", "written_at": "0", "flow": wanted["flow"], "cluster": wanted["cluster"]}
        db.executemany("insert into meta values (?, ?)", facts.items())

    def _meta(self, name: str) -> str:
        row = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return row[0] if row else ""


def _kind(order: OrderRow) -> tuple[int, str, str]:
    return order.seen, order.ending or "", order.ended_by or ""


_WHY = {
    "version": "it was written by another version of this program",
    "flow": "the declared choreography has changed since",
    "cluster": "it was read from another Kafka cluster",
}
