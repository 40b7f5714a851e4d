"""All queries of the tracker's database. Read only; nothing here prints."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from eventbus.database.short_keys import LEAST_END, MOST_OFFERED, MOST_SHOWN, only
from saga.tracker.fold import VERSION, OrderRow, TrackedEvent, TrackedViolation
from saga.tracker.model import PENDING, TrackerModel, last_word
from saga.tracker.wanted import ENDS, LAST, Wanted, select_orders

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""The actions that a statement may use; in particular not ATTACH, which opens and creates other files."""


class NotTracked(LookupError):
    """The tracker's database does not exist, or this version cannot read it."""


class BadStatement(ValueError):
    """The SQL is invalid, or does more than read."""


class Behind(NamedTuple):
    """How many offsets the tracker is behind the log, as of `written_at` (ms since 1970)."""

    written_at: int
    offsets: int
    partitions: dict[str, int]
    """The offsets by partition, for those that are behind; also those that have not been read at all."""


class Kind(NamedTuple):
    """Orders that have the same events (a bit set, see Model.bits) and ended the same way."""

    seen: int
    ending: str | None
    orders: int
    ended_by: str | None = None


class StepTime(NamedTuple):
    """How long one answer of an order took, from its cause's record to its own, in ms."""

    order_id: str
    cause: str
    event: str
    service: str
    milliseconds: int


class Latest(NamedTuple):
    """The newest orders: their events (a bit set per order, see Model.bits), and the steps of their services."""

    seen: list[int]
    ended: list[tuple[str, str]]
    """The ending and what caused it, of those that did not end well; see OrderRow.ended_by."""
    steps: list[StepTime]


class Tracked:
    """The database, open for reading."""

    def __init__(self, path: Path, model: TrackerModel) -> None:
        """Raises NotTracked."""
        self.path, self.model = path, model
        if not path.is_file():
            raise NotTracked(f"the tracker's database {path} does not exist: `saga track` creates it (see --tracker)")
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)
        try:
            self._check()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise NotTracked(f"{path} cannot be read as the tracker's database: {error}") from error
        except NotTracked:
            self._db.close()
            raise

    @classmethod
    @contextmanager
    def at(cls, path: Path, model: TrackerModel) -> Iterator[Self]:
        """Open it, and close it at the end."""
        with closing(cls(path, model)) as tracked:
            yield tracked

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def behind(self) -> Behind:
        """Return how far the tracker was behind when it last wrote."""
        [(written_at,)] = self._db.execute("select value from meta where name = 'written_at'")
        rows = self._db.execute(
            "select topic || '/' || partition, log_end - next_offset from progress"
            " where log_end > next_offset order by topic, partition"
        )
        partitions = dict(rows)
        return Behind(int(written_at), sum(partitions.values()), partitions)

    def writes(self) -> str:
        """Return a text that changes with every write of the tracker, rebuilds included."""
        rows = self._db.execute("select value from meta where name in ('writes', 'written_at') order by name")
        return "/".join(value for (value,) in rows)

    def orders(self, wanted: Wanted) -> list[OrderRow]:
        """Return orders, newest first; stuck ones by how long they have been waiting, longest first."""
        statement, values = select_orders(wanted, self._waits_on(wanted.waiting_on))
        return [OrderRow._make(row) for row in self._db.execute(statement, values)]

    def order(self, order_id: str) -> OrderRow | None:
        """Return an order."""
        row = self._db.execute("select * from orders where order_id = ?", (order_id,)).fetchone()
        return OrderRow._make(row) if row else None

    def whole_id(self, given: str) -> str:
        """Return the only id that begins or ends with `given`, or `given` if there is none. Raises AmbiguousKey."""
        if self.order(given) is not None:
            return given
        values = [given, given + LAST, *([given[-LEAST_END:], len(given), given] if len(given) >= LEAST_END else [])]
        ends = f" union select order_id from orders where {ENDS}" if len(given) >= LEAST_END else ""
        sql = f"select order_id from orders where order_id >= ? and order_id < ?{ends} order by order_id limit ?"
        return only(given, [order_id for (order_id,) in self._db.execute(sql, [*values, MOST_SHOWN + 1])])

    def beginning_with(self, given: str) -> list[str]:
        """Return ids that begin so, in order, at most MOST_OFFERED."""
        sql = "select order_id from orders where order_id >= ? and order_id < ? order by order_id limit ?"
        return [order_id for (order_id,) in self._db.execute(sql, (given, given + LAST, MOST_OFFERED))]

    def events(self, order_id: str) -> list[TrackedEvent]:
        """Return the events of an order, by time."""
        rows = self._db.execute(
            "select * from events where order_id = ? order by at, topic, partition, offset", (order_id,)
        )
        return [TrackedEvent._make(row) for row in rows]

    def backwards(self, event: TrackedEvent) -> Iterator[tuple[int, int]]:
        """Return (offset, time) of the records before an event in its partition, the nearest first."""
        return self._db.execute(
            "select offset, at from events where topic = ? and partition = ? and offset < ? order by offset desc",
            (event.topic, event.partition, event.offset),
        )

    def last_before(self, topic: str, partition: int, at: int) -> int | None:
        """Return the time of a partition's last record that is earlier than `at`; times grow with the offsets."""
        place = "from events where topic = ? and partition = ?"
        # Two selects: SQLite looks one of them up in the index, but scans it for both in one select.
        [(low,)] = self._db.execute(f"select min(offset) {place}", (topic, partition))
        [(high,)] = self._db.execute(f"select max(offset) {place}", (topic, partition))
        found = None
        while low is not None and low <= high:
            middle = (low + high) // 2
            offset, time_there = self._db.execute(
                f"select offset, at {place} and offset <= ? order by offset desc limit 1", (topic, partition, middle)
            ).fetchone()
            if time_there < at:
                found, low = time_there, middle + 1
            else:
                high = offset - 1
        return found

    def violations(
        self, kind: str | None = None, order_id: str | None = None, limit: int = 1_000_000
    ) -> list[TrackedViolation]:
        """Return violations, newest first."""
        rows = self._db.execute(
            "select * from violations where (?1 is null or kind = ?1) and (?2 is null or order_id = ?2)"
            " order by at desc, topic, partition, offset limit ?3",
            (kind, order_id, limit),
        )
        return [TrackedViolation._make(row) for row in rows]

    def violation_counts(self) -> dict[str, int]:
        """Return the number of violations of each kind."""
        return dict(self._db.execute("select kind, count(*) from violations group by kind order by kind"))

    def kinds(self) -> list[Kind]:
        """Return the number of orders of each kind."""
        rows = self._db.execute("select seen, nullif(ending, ''), orders, nullif(ended_by, '') from kinds")
        return [Kind(*row) for row in rows]

    def latest(self, orders: int) -> Latest:
        """Return the given number of latest orders, and their steps in the same snapshot."""
        self._db.execute("begin")
        try:
            newest = "select seen, ending, ended_by from orders order by placed_at desc, order_id desc limit ?"
            rows = self._db.execute(newest, (orders,)).fetchall()
            ended = [(ending, ended_by) for _, ending, ended_by in rows if ended_by]
            return Latest([seen for seen, *_ in rows], ended, self.step_times(orders))
        finally:
            self._db.execute("rollback")

    def step_times(self, latest: int, since: int = 0) -> list[StepTime]:
        """Return the times of the answers of the given number of latest orders since then (ms since 1970).

        Only answers of the publisher that declares the event count.
        """
        rows = self._db.execute(
            "select order_id, cause, event, service, milliseconds from"
            " (select order_id, updated_at from orders order by placed_at desc, order_id desc limit ?) as latest"
            " cross join steps using (order_id) where latest.updated_at >= ? and ended_at >= ?",
            (latest, since, since),
        )
        steps = (StepTime(*row) for row in rows)
        return [step for step in steps if step.service == self.model.publisher[step.event]]

    def select(self, statement: str) -> tuple[list[str], sqlite3.Cursor]:
        """Run a statement of the user; return the column names and the rows. Raises BadStatement."""
        self._db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY)
        try:
            cursor = self._db.execute(statement)
        except (sqlite3.Error, sqlite3.Warning) as error:
            reading = "; only read access is allowed" if "not authorized" in str(error) else ""
            raise BadStatement(f"{error}{reading}") from error
        return [column[0] for column in cursor.description or ()], cursor

    def _waits_on(self, service: str | None) -> list[str]:
        """Return every value of the column `waiting_on` that names this service."""
        found = {self.model.summary(kind.seen, kind.ending).waiting_on or "" for kind in self.kinds()}
        return sorted(services for services in found if service in services.split(","))

    def _check(self) -> None:
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version != VERSION:
            made = f"{self.path} was written by another version of this program, or is not a tracker's database"
            raise NotTracked(f"{made}: start `saga track`, which rebuilds it")
        [(flow,)] = self._db.execute("select value from meta where name = 'flow'")
        if flow != self.model.fingerprint:
            raise NotTracked(
                f"{self.path} was created for other services than are installed or declared (SAGA_DECLARATIONS) here:"
                " set the same where `saga track`, `saga ui` or `saga dev` runs and start it again, which rebuilds it"
            )


def now() -> int:
    """Return the time in ms since 1970."""
    return time.time_ns() // 1_000_000


def statuses(model: TrackerModel) -> list[str]:
    """Return every possible status of an order."""
    return [PENDING, *(last_word(topic) for topic in model.topics if topic in model.endings)]


def undoings(model: TrackerModel) -> list[str]:
    """Return every word that the column `undone` may have."""
    return [last_word(topic) for topic in model.undoings]
