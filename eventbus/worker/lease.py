"""Instance names, leased in the service's database: a name has one live worker, whatever the hosts are called.

A holder renews its lease by counting up. No two clocks are compared: who wants the name watches the count, and only
when it has not changed for LEASE_SECONDS, by the watcher's own clock and while the database answered it, the holder is
dead. On the holder's own host the process table says so at once.

The lease decides who may use a name. Nothing is lost or repeated if it is wrong: that rests on checkpoints and cursors.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Collection
from typing import NamedTuple

from eventbus.database import ConcurrentUpdate, Database, Transaction
from eventbus.log import InstanceTaken, to_iso
from eventbus.worker.instance import WorkerProcess, runs
from eventbus.worker.watchdog import Awake

BEAT_SECONDS = 2.0
"""How often a holder renews."""
LEASE_SECONDS = 8.0
"""So long a lease must be seen not to change before its holder is dead."""
WATCH_SECONDS = 0.5
"""How often somebody who wants the name looks."""
FORGET_MS = 7 * 24 * 3_600_000
"""Leases that nobody released are deleted after a week. Who is alive all the same writes its own again."""
COLUMNS = "name, nonce, host, pid, place, start, beat, started_at_ms, heartbeat_at_ms"


class Lease(NamedTuple):
    """A row of the table instance_lease."""

    name: str
    nonce: str
    """Drawn by the holder."""
    host: str
    pid: int
    place: str
    start: str
    beat: int
    """Counts the renewals."""
    started_at_ms: int
    """By the holder's clock, for people only; so is the next."""
    heartbeat_at_ms: int

    @property
    def holder(self) -> WorkerProcess:
        """The process that holds it."""
        return WorkerProcess(self.host, self.pid, self.place, self.start)

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, since {to_iso(self.started_at_ms)}"


def leases(tx: Transaction) -> list[Lease]:
    """Return all of them, by name."""
    return [Lease(*row) for row in tx.rows(f"select {COLUMNS} from instance_lease order by name")]


def renew(tx: Transaction, lease: Lease, now_ms: int) -> Lease:
    """Count up. Raises InstanceTaken when another process holds the name, or a copy of this one does (a cloned VM).

    A row that is gone, or older than what we wrote (a restored database), is written again.
    """
    renewed = lease._replace(beat=lease.beat + 1, heartbeat_at_ms=now_ms)
    sql = "update instance_lease set beat = ?, heartbeat_at_ms = ? where name = ? and nonce = ? and beat <= ?"
    if tx.execute(sql, renewed.beat, now_ms, lease.name, lease.nonce, lease.beat):
        return renewed
    found = [each for each in leases(tx) if each.name == lease.name]
    if found:
        raise InstanceTaken(
            f"another worker ({found[0]}) has taken over the instance name {lease.name!r}: this one did not renew its"
            f" lease for {LEASE_SECONDS:g} s, or was copied. Give each worker its own --instance, or leave it out"
        )
    _insert(tx, renewed)
    return renewed


def release(tx: Transaction, lease: Lease) -> None:
    """Let the name go."""
    tx.execute("delete from instance_lease where name = ? and nonce = ?", lease.name, lease.nonce)


class _Watched(NamedTuple):
    lease: Lease
    seconds: float = 0.0
    """So long it was seen not to change."""
    lives: bool = False


class Contender:
    """A process that wants a name."""

    def __init__(
        self,
        database: Database,
        process: WorkerProcess,
        *,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._process, self._now_ms = database, process, now_ms
        self._awake = Awake(clock, WATCH_SECONDS)
        self._watched: dict[str, _Watched] = {}
        self._nonce = uuid.uuid4().hex

    def take(self, wanted: str | None) -> Lease | None:
        """Take the name, or without one the host's name and the first number that is free.

        None while somebody's lease has to be watched longer: ask again after WATCH_SECONDS. Raises InstanceTaken when
        the name that is wanted is a live worker's, and what the database raises.
        """
        try:
            with self._database.transaction() as tx:
                return self._take(tx, wanted)
        except ConcurrentUpdate:
            return None

    def _take(self, tx: Transaction, wanted: str | None) -> Lease | None:
        seconds = self._awake.elapsed()
        known = {lease.name: lease for lease in leases(tx)}
        host = self._process.host
        names = [wanted] if wanted is not None else (f"{host}-{number}" for number in itertools.count(1))
        undecided, judged = False, set[str]()
        for name in names:
            judged.add(name)
            held = known.get(name)
            lives = held is not None and self._lives(held, seconds)
            if lives is False and not undecided:
                self._forget_old(tx, judged)
                return self._claim(tx, name, held)
            if lives is False:
                return None
            if lives and wanted is not None:
                raise InstanceTaken(
                    f"a live worker ({held}) has the instance name {name!r}: give each worker its own --instance, or"
                    " leave it out"
                )
            undecided = undecided or lives is None
        return None

    def _forget_old(self, tx: Transaction, judged: Collection[str]) -> None:
        """Delete leases of long ago, but none that was judged by more than the clock, which may be wrong."""
        before = self._now_ms() - FORGET_MS
        old = [lease.name for lease in leases(tx) if lease.heartbeat_at_ms < before and lease.name not in judged]
        tx.executemany("delete from instance_lease where name = ?", [(name,) for name in old])

    def _lives(self, held: Lease, seconds: float) -> bool | None:
        """Return whether the holder lives; None while that is not known yet."""
        if held.nonce == self._nonce:
            return False  # our own: the outcome of a commit was unknown
        if (seen_here := runs(held.holder, self._process)) is not None:
            return seen_here
        before = self._watched.get(held.name)
        if before is None:
            watched = _Watched(held)
        elif (before.lease.nonce, before.lease.beat) != (held.nonce, held.beat):
            watched = _Watched(held, lives=True)
        else:
            watched = before._replace(seconds=before.seconds + seconds)
        self._watched[held.name] = watched
        if watched.lives:
            return True
        return False if watched.seconds >= LEASE_SECONDS else None

    def _claim(self, tx: Transaction, name: str, held: Lease | None) -> Lease:
        """Write the lease, unless somebody else was first: ConcurrentUpdate then."""
        now_ms = self._now_ms()
        claimed = Lease(name, self._nonce, *self._process, beat=1, started_at_ms=now_ms, heartbeat_at_ms=now_ms)
        if held is not None:
            sql = "delete from instance_lease where name = ? and nonce = ? and beat = ?"
            if not tx.execute(sql, name, held.nonce, held.beat):
                raise ConcurrentUpdate(f"the instance name {name!r} was taken by another worker")
        _insert(tx, claimed)
        return claimed


def _insert(tx: Transaction, lease: Lease) -> None:
    marks = ", ".join("?" * len(lease))
    tx.execute(f"insert into instance_lease ({COLUMNS}) values ({marks})", *lease)
