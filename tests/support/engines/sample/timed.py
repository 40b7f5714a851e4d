"""A service with a deadline: a ping sets it, a pang clears it, and when it is over a pong says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventbus import DueColumn, Event, Overdue, Service, Table, Transaction, WorkingSet, reacts_to, when_due
from tests.support.engines.sample import Pang, Ping, Pong

TIMER = Table("timer", ("name", "times", "due_at", "set_at"))
DUE = DueColumn("timer", "name", "due_at", "set_at")


class Timer(NamedTuple):
    name: str
    times: int
    due_at: int | None = None
    set_at: int | None = None


Timers = WorkingSet[Timer]


class TimerRepository:
    schema = """
create table timer (name text primary key, times bigint not null, due_at bigint, set_at bigint);
create index timer_due_at on timer (due_at) where due_at is not null;
create index timer_set_at on timer (set_at) where set_at is not null;
"""

    def load(self, tx: Transaction, events: Sequence[Event]) -> Timers:
        rows = tx.load(TIMER, [event.key for event in events])
        return WorkingSet({row[0]: Timer(*row) for row in rows})

    def save(self, tx: Transaction, work: Timers) -> None:
        work.save(tx, TIMER, tuple)


class TimedService(Service[Timers]):
    """`broken` decides for which names the deadline's handler raises; `forgetful`, for which it clears nothing."""

    name = "timed-service"

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.repository = TimerRepository()
        self.now_ms = now_ms
        self.broken: Callable[[str], bool] = lambda _name: False
        self.forgetful: Callable[[str], bool] = lambda _name: False

    @reacts_to(Ping)
    def set_timer(self, ping: Ping, timers: Timers) -> None:
        """Set the deadline, in as many milliseconds as the ping says."""
        now, known = self.now_ms(), timers.get(ping.name) or Timer(ping.name, 0)
        timers.put(ping.name, known._replace(due_at=now + ping.number, set_at=now))

    @reacts_to(Pang)
    def clear_timer(self, pang: Pang, timers: Timers) -> None:
        """Clear the deadline."""
        known = timers.get(pang.name) or Timer(pang.name, 0)
        timers.put(pang.name, known._replace(due_at=None, set_at=None))

    @when_due(DUE)
    def ring(self, overdue: Overdue, timers: Timers) -> Pong:
        """Count how often the deadline had passed."""
        if self.broken(overdue.key):
            raise RuntimeError("a mistake in the code")
        known = timers.get(overdue.key)
        assert known is not None
        assert known.due_at == overdue.due_ms
        if not self.forgetful(overdue.key):
            timers.put(overdue.key, Timer(known.name, known.times + 1))
        return Pong(overdue.key, 0, known.times + 1)
