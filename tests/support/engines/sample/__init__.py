"""A small service of its own for testing the runtime: every ping and pang adds to a tally and is answered by a pong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventbus import Event, NoState, Service, Table, Transaction, WorkingSet, event, reacts_to

HERE = Path(__file__).parent
TALLY = Table("tally", ("name", "total", "times"))


@event(HERE / "ping.avsc", key="name")
class Ping(Event, frozen=True):
    name: str
    number: int


@event(HERE / "pang.avsc", key="name")
class Pang(Event, frozen=True):
    name: str
    number: int


@event(HERE / "pong.avsc", key="name")
class Pong(Event, frozen=True):
    name: str
    number: int
    times: int


@dataclass(frozen=True, slots=True)
class Tally:
    name: str
    total: int
    times: int


class Tallies:
    schema = "create table tally (name text primary key, total bigint not null, times bigint not null);"

    def load(self, tx: Transaction, events: Sequence[Event]) -> WorkingSet[Tally]:
        rows = tx.load(TALLY, [event.key for event in events])
        return WorkingSet({row[0]: Tally(*row) for row in rows})

    def save(self, tx: Transaction, work: WorkingSet[Tally]) -> None:
        work.save(tx, TALLY, lambda tally: (tally.name, tally.total, tally.times))


class PingService(Service[WorkingSet[Tally]]):
    name = "ping-service"

    def __init__(self) -> None:
        self.repository = Tallies()

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        return _count(ping, tallies)

    @reacts_to(Pang)
    def count_pang(self, pang: Pang, tallies: WorkingSet[Tally]) -> Pong:
        return _count(pang, tallies)


class RemotePingService(Service[WorkingSet[Tally]]):
    """The same with a remote call, which is handed in."""

    name = "remote-ping-service"

    def __init__(self, call: Callable[[Ping], Any]) -> None:
        self.repository, self.call = Tallies(), call

    def ask(self, ping: Ping) -> Any:
        return self.call(ping)

    @reacts_to(Ping, remote=ask)
    def count_ping(self, ping: Ping, _answer: Any, tallies: WorkingSet[Tally]) -> Pong:
        return _count(ping, tallies)


def _count(event: Ping | Pang, tallies: WorkingSet[Tally]) -> Pong:
    known = tallies.get(event.name) or Tally(event.name, 0, 0)
    tally = Tally(event.name, known.total + event.number, known.times + 1)
    tallies.put(event.name, tally)
    return Pong(event.name, event.number, tally.times)


class Starter(Service[None]):
    """Starts things: its pings have no cause in the log."""

    name = "starter"
    initiates = (Ping,)

    def __init__(self) -> None:
        self.repository = NoState()

    @reacts_to(Pong)
    def hear(self, pong: Pong, _nothing: None) -> None:
        return None
