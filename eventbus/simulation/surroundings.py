"""Simulated databases and remote calls: real SQL, in memory, with the outages and races of real ones."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from typing import Any

from eventbus.database import Database, Transaction, Unavailable
from eventbus.database.schema_version import Tables
from eventbus.database.sqlite import SQLite
from eventbus.engine.calls import Call, Pending
from eventbus.event import Event
from eventbus.serde.codec import Codec
from eventbus.serde.framing import FRAME, Headers
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import TryAgain, finished
from eventbus.simulation.clients import ClientHost


class Trouble(Enum):
    """What happens to one database transaction or remote call."""

    NONE = "nothing"
    REFUSED = "it is rejected before it has any effect"
    UNDONE = "it fails and is rolled back"
    UNKNOWN = "it succeeds, and the response is lost"


class TroubledHost(ClientHost):
    """A host whose databases and remote calls may fail, too."""

    def trouble(self, what: str) -> Trouble:  # noqa: ARG002 - for subclasses
        """Return what happens to the next `transaction`, `snapshot` or `call`."""
        return Trouble.NONE

    def pause(self) -> None:
        """Let one second pass while the process is running."""

    def refused(self, call: Call) -> Exception | None:  # noqa: ARG002 - for subclasses
        """Return the unknown outcome of a call that the provider refuses at present; None if it does not."""
        return None

    def answered(self, call: Call, answer: object) -> None:
        """Record what a call returned."""

    def clock(self) -> float:
        """Return the time, in seconds."""
        return 0.0

    def call_lasts(self) -> int:
        """Return how many seconds the next batch of calls takes."""
        return 0


class InMemory(SQLite):
    """A service's tables in memory, on one connection for all of its workers: a copy of a newly created database."""

    def __init__(self, made: sqlite3.Connection) -> None:
        super().__init__(":memory:", Tables("", {}, create=False))
        self._made = made

    def copied(self) -> sqlite3.Connection:
        """Return a copy of all committed data; no transaction may be open."""
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connected().backup(copy)
        return copy

    def restore(self, copy: sqlite3.Connection) -> None:
        """Replace the database by a copy; no transaction may be open."""
        copy.backup(self.connected())

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """See Database. No other process runs between its statements, because none stalls inside a snapshot."""
        return nullcontext(self.unguarded())

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._made.backup(connection)
        connection.execute("pragma foreign_keys = on")


class Shared:
    """One service's database, used by all its workers; a writer locks all others out, as in SQLite."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.busy = False
        self.exchanges = 0
        """How often it was replaced by another copy."""


class SimulatedDatabase:
    """One worker's connection to the database."""

    def __init__(self, shared: Shared, place: TroubledHost) -> None:
        self._shared, self._place = shared, place
        self._exchanges = shared.exchanges
        self.losses = 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See Database."""
        trouble = self._enter("transaction")
        self._shared.busy = True
        try:
            with self._shared.database.transaction() as tx:
                yield tx
                if trouble is Trouble.UNDONE:
                    raise Unavailable("simulated: the transaction was rolled back")
        finally:
            self._shared.busy = False
        self._place.busy()
        if trouble is Trouble.UNKNOWN:
            raise Unavailable("simulated: the connection broke in the commit")

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        self._enter("snapshot")
        return self._shared.database.snapshot()

    def changed(self) -> bool | None:
        """See Database: every signal is lost, so nothing may depend on one."""
        return None

    def close(self) -> None:
        """See Database: the other workers continue to use it."""

    def _enter(self, what: str) -> Trouble:
        self._place.reach(f"before {what}")
        trouble = self._place.trouble(what)
        if trouble is Trouble.REFUSED:
            raise Unavailable("simulated: the database is unavailable")
        if self._shared.busy:
            raise Unavailable("simulated: the database is locked")
        if self._exchanges != self._shared.exchanges:
            self._exchanges = self._shared.exchanges
            self.losses += 1
            raise Unavailable("simulated: the database was replaced")
        return trouble


class SimulatedCalls:
    """Remote calls, made in random order; those of a process that dies meanwhile may still arrive (`leave`)."""

    def __init__(
        self, place: TroubledHost, chance: random.Random, leave: Callable[[Call], None], concurrency: int = 4
    ) -> None:
        self.concurrency = concurrency
        self._place, self._chance, self._leave = place, chance, leave

    def start(self, calls: Sequence[Call], at_most: int | None = None) -> Pending:  # noqa: ARG002 - one by one
        """See Calls."""
        order = list(range(len(calls)))
        self._chance.shuffle(order)
        results: list[Any] = [None] * len(calls)
        made = 0
        try:
            for number in order:
                self._place.reach("calling")
                results[number] = self._outcome(calls[number])
                made += 1
                self._place.reach("called")
        finally:
            for number in order[made : made + 1]:
                self._leave(calls[number])
        return _Started(self._place, results)

    def _outcome(self, call: Call) -> Any:
        if (refused := self._place.refused(call)) is not None:
            return refused
        trouble = self._place.trouble("call")
        if trouble in (Trouble.REFUSED, Trouble.UNDONE):
            return TryAgain("simulated: the provider is unavailable")
        try:
            answer = finished(call())
        except Exception as error:  # noqa: BLE001 - an outcome like any other, handled by the engine
            return error
        if trouble is Trouble.UNKNOWN:
            return TryAgain("simulated: the response was lost")
        self._place.answered(call, answer)
        return answer


class _Started:
    def __init__(self, place: TroubledHost, results: list[Any]) -> None:
        self._place, self._results = place, results
        self._until = place.clock() + place.call_lasts()

    def wait(self, timeout: float) -> bool:
        if timeout and self._place.clock() < self._until:
            self._place.pause()
            return False
        return self._place.clock() >= self._until

    def overdue(self, *, than_earlier: bool) -> bool:  # noqa: ARG002 - see below
        """See Pending: all take the same time."""
        return False

    def outcomes(self) -> list[Any]:
        return self._results

    def abandon(self) -> None:
        """See Pending: every call has been made."""


class AskingCodec(Codec):
    """The codec of one process: it asks the registry, which may be unavailable, for each schema that is new to it."""

    def __init__(self, codec: Codec, is_away: Callable[[], bool]) -> None:
        self._codec, self._is_away = codec, is_away
        self._met: set[bytes] = set()

    def encode(self, event: Event) -> bytes:
        """See Codec."""
        return self._codec.encode(event)

    def decode(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Event:
        """See Codec."""
        frame = (value or b"")[: FRAME.size]
        if frame not in self._met and len(frame) == FRAME.size and frame[0] == 0:
            if self._is_away():
                raise RegistryUnavailable("simulated: the registry does not respond")
            self._met.add(frame)
        return self._codec.decode(topic, key, value, headers)
