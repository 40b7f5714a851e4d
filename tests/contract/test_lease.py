"""Instance names in the database: of two workers that want one name, one has it; a dead worker's name is soon free."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventbus.database import Database, Unavailable, connect
from eventbus.log import InstanceTaken
from eventbus.worker.instance import WorkerProcess, runs, this_process
from eventbus.worker.lease import (
    BEAT_SECONDS,
    FORGET_MS,
    LEASE_SECONDS,
    WATCH_SECONDS,
    Contender,
    Lease,
    leases,
    release,
    renew,
)
from eventbus.worker.lease_keeper import LeaseKeeper
from eventbus.worker.watchdog import Watchdog
from tests.support.saga.processes import PATIENCE

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
ELSEWHERE = WorkerProcess("vm", 17, "another boot", "1")
HERE = this_process()
SERVICE = "payment-service"
Open = Callable[[], Database]


@pytest.fixture
def open_database(database_url: str) -> Iterator[Open]:
    """Return a function that opens one more connection to one database."""
    opened: list[Database] = []

    def another() -> Database:
        opened.append(connect(database_url, service=SERVICE, schema=""))
        return opened[-1]

    yield another
    for each in opened:
        each.close()


class Clock:
    """What one process's clocks say."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now, self.now_ms = 1000.0, now_ms

    def __call__(self) -> float:
        return self.now


class Somebody:
    """A worker that wants a name, with clocks of its own."""

    def __init__(self, database: Database, process: WorkerProcess = ELSEWHERE, now_ms: int = NOW_MS) -> None:
        self.database, self.clock = database, Clock(now_ms)
        self.contender = Contender(database, process, now_ms=lambda: self.clock.now_ms, clock=self.clock)
        self.lease: Lease | None = None

    def take(self, wanted: str | None = None) -> str | None:
        self.lease = self.contender.take(wanted)
        return self.lease.name if self.lease else None

    def watch(self, seconds: float, wanted: str | None = None) -> str | None:
        """Ask again and again for so long, as workers do."""
        for _ in range(round(seconds / WATCH_SECONDS)):
            self.clock.now += WATCH_SECONDS
            if name := self.take(wanted):
                return name
        return None

    def renew(self) -> None:
        assert self.lease is not None
        with self.database.transaction() as tx:
            self.lease = renew(tx, self.lease, self.clock.now_ms)


def elsewhere(number: int) -> WorkerProcess:
    return WorkerProcess("vm", number, f"boot {number}", "1")


def test_the_first_has_the_first_name_and_the_second_the_second(open_database: Open) -> None:
    """Whatever the hosts are called: here both are called vm."""
    first, second = Somebody(open_database(), elsewhere(1)), Somebody(open_database(), elsewhere(2))
    assert first.take() == "vm-1"
    assert second.take() is None, "it is not known yet whether the first one lives"
    first.renew()
    assert second.watch(WATCH_SECONDS) == "vm-2"
    first.renew()
    second.renew()


def test_a_name_of_a_live_worker_is_refused_and_it_is_said_whose_it_is(open_database: Open) -> None:
    first, second = Somebody(open_database(), elsewhere(1)), Somebody(open_database(), elsewhere(2))
    assert first.take("a") == "a"
    assert second.take("a") is None
    first.renew()
    with pytest.raises(InstanceTaken, match=r"host vm, pid 1, since 2026-\S+\) has the instance name 'a'"):
        second.watch(WATCH_SECONDS, "a")


@pytest.mark.parametrize("wanted", [None, "vm-1"])
def test_a_dead_worker_elsewhere_has_its_name_for_the_lease_time(open_database: Open, wanted: str | None) -> None:
    """Not shorter, and not much longer."""
    dead, heir = Somebody(open_database(), elsewhere(1)), Somebody(open_database(), elsewhere(2))
    dead.take(wanted)
    assert heir.take(wanted) is None
    assert heir.watch(LEASE_SECONDS - WATCH_SECONDS, wanted) is None
    assert heir.watch(2 * WATCH_SECONDS, wanted) == "vm-1"
    with pytest.raises(InstanceTaken, match="host vm, pid 2, since"):
        dead.renew()


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, 24 * 30 * HOUR_MS, -24 * 30 * HOUR_MS])
def test_a_wall_clock_that_jumps_changes_nothing(open_database: Open, jump_ms: int) -> None:
    """Neither the holder's nor the contender's: a live one is not taken for dead, a dead one not for alive."""
    holder, contender = Somebody(open_database(), elsewhere(1)), Somebody(open_database(), elsewhere(2))
    holder.take("a")
    contender.take("a")
    holder.clock.now_ms += jump_ms
    contender.clock.now_ms -= jump_ms
    assert contender.watch(LEASE_SECONDS - WATCH_SECONDS, "a") is None
    holder.renew()
    with pytest.raises(InstanceTaken):
        contender.watch(WATCH_SECONDS, "a")
    third = Somebody(open_database(), elsewhere(3), NOW_MS + 2 * jump_ms)
    assert third.watch(LEASE_SECONDS, "a") is None
    third.clock.now_ms -= jump_ms
    assert third.watch(2 * WATCH_SECONDS, "a") == "a"


def test_time_in_which_the_contender_or_the_database_stood_still_does_not_count(open_database: Open) -> None:
    """The holder could not renew then either: both hosts may have been suspended together."""
    holder, contender = Somebody(open_database(), elsewhere(1)), Somebody(open_database(), elsewhere(2))
    holder.take("a")
    contender.take("a")
    contender.clock.now += 3600
    assert contender.take("a") is None
    holder.renew()
    with pytest.raises(InstanceTaken):
        contender.watch(WATCH_SECONDS, "a")


def test_on_one_host_the_process_table_says_at_once_who_lives(open_database: Open) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        stat = Path(f"/proc/{other.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        neighbour = HERE._replace(pid=other.pid, start=stat[19])
        assert Somebody(open_database(), neighbour).take("a") == "a"
        with pytest.raises(InstanceTaken, match=f"pid {other.pid}"):
            Somebody(open_database(), HERE).take("a")
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert runs(neighbour, HERE) is False, "it has ended, though nobody has asked how"
        assert Somebody(open_database(), HERE).take("a") == "a"


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert runs(HERE, HERE) is True
    assert runs(HERE._replace(start="1"), HERE) is False
    assert runs(HERE._replace(place="another boot"), HERE) is None
    assert runs(HERE._replace(place=""), HERE._replace(place="")) is None


def test_a_name_that_was_released_is_free_at_once(open_database: Open) -> None:
    first, second = Somebody(open_database(), elsewhere(1)), Somebody(open_database(), elsewhere(2))
    first.take()
    assert first.lease is not None
    with first.database.transaction() as tx:
        release(tx, first.lease)
    assert second.take() == "vm-1"
    with second.database.transaction() as tx:
        release(tx, first.lease)
        assert [lease.pid for lease in leases(tx)] == [2], "nobody releases another one's"


def test_a_copy_of_a_worker_is_noticed(open_database: Open) -> None:
    """A virtual machine that was cloned with a worker in it: both have one nonce."""
    original = Somebody(open_database(), elsewhere(1))
    original.take("a")
    copy = Somebody(open_database(), elsewhere(1))
    copy.lease = original.lease
    original.renew()
    with pytest.raises(InstanceTaken, match="was copied"):
        copy.renew()
    original.renew()


@pytest.mark.parametrize("kept", ["nothing", "an older count"])
def test_a_database_that_was_restored_takes_no_name_away(open_database: Open, kept: str) -> None:
    holder = Somebody(open_database(), elsewhere(1))
    holder.take("a")
    for _ in range(5):
        holder.renew()
    with holder.database.transaction() as tx:
        if kept == "nothing":
            tx.execute("delete from instance_lease")
        else:
            tx.execute("update instance_lease set beat = 2")
    holder.renew()
    with holder.database.snapshot() as tx:
        assert [lease.beat for lease in leases(tx)] == [7]


def test_what_nobody_released_is_forgotten_after_a_week(open_database: Open) -> None:
    """Hosts whose names change with every start leave their names behind."""
    Somebody(open_database(), WorkerProcess("gone", 1, "boot", "1")).take()
    later = Somebody(open_database(), elsewhere(2), NOW_MS + FORGET_MS + 1)
    later.take()
    with later.database.snapshot() as tx:
        assert [lease.name for lease in leases(tx)] == ["vm-1"]


@pytest.mark.parametrize("wanted", [None, "a"])
def test_many_workers_that_start_at_the_same_moment_have_different_names(
    open_database: Open, wanted: str | None
) -> None:
    """Or one has the name, where it was given."""
    count = 8
    together = threading.Barrier(count)
    names: list[str] = []
    refused: list[InstanceTaken] = []

    def start(number: int) -> None:
        database = open_database()
        worker = Contender(database, HERE, now_ms=lambda: NOW_MS + number)
        together.wait()
        lease = None
        while lease is None:
            try:
                lease = worker.take(wanted)
            except InstanceTaken as taken:
                refused.append(taken)
                return
            except Unavailable:
                continue
        names.append(lease.name)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if wanted is None:
        assert sorted(names) == sorted(f"{HERE.host}-{number}" for number in range(1, count + 1))
    else:
        assert (names, len(refused)) == (["a"], count - 1)


class Said:
    """What a keeper says, and a wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.lost = threading.Event()


def kept(
    database: Database, lease: Lease, said: Said, why_waiting: Callable[[], str] = lambda: "", **steps: Any
) -> LeaseKeeper:
    keeper = LeaseKeeper(database, lease, Watchdog(None, **steps), now_ms=lambda: NOW_MS, warn=said.lines.append)
    keeper.why_waiting = why_waiting
    keeper.on_lost = said.lost.set
    return keeper


def test_a_keeper_notes_why_its_worker_waits_while_it_does(open_database: Open) -> None:
    """Also over what a holder of the name that was killed has left; released with the name."""
    holder, said, why = Somebody(open_database(), elsewhere(1)), Said(), ["the provider answers 500"]
    holder.take("a")
    assert holder.lease is not None
    look = open_database()
    with look.transaction() as tx:
        tx.execute("insert into instance_wait (name, why) values ('a', 'of one that was killed')")

    def noted(expected: list[tuple[str, str]]) -> bool:
        with look.snapshot() as tx:
            return tx.rows("select name, why from instance_wait") == expected

    def wait(*expected: tuple[str, str]) -> None:
        until = time.monotonic() + PATIENCE
        while not noted(list(expected)):
            assert time.monotonic() < until
            time.sleep(0.1)

    with closing(kept(holder.database, holder.lease, said, lambda: why[0])):
        wait(("a", why[0]))
        why[0] = "the provider is unavailable"
        wait(("a", why[0]))
        why[0] = ""
        wait()
        why[0] = "the registry is unavailable"
        wait(("a", why[0]))
    assert noted([])


def test_a_keeper_renews_says_when_the_name_is_lost_and_releases_it(open_database: Open) -> None:
    holder, said = Somebody(open_database(), elsewhere(1)), Said()
    holder.take("a")
    assert holder.lease is not None
    with closing(kept(holder.database, holder.lease, said)) as keeper:
        look = open_database()
        deadline = threading.Event()
        beat = 0
        for _ in range(round(PATIENCE / 0.1)):
            with look.snapshot() as tx:
                (lease,) = leases(tx)
            if (beat := lease.beat) > 1:
                break
            deadline.wait(0.1)
        assert beat > 1
        keeper.check()
        with look.transaction() as tx:
            tx.execute("update instance_lease set nonce = 'another', pid = 99")
        assert said.lost.wait(PATIENCE)
        with pytest.raises(InstanceTaken, match="pid 99"):
            keeper.check()
    with look.snapshot() as tx:
        assert [lease.pid for lease in leases(tx)] == [99], "what is another one's is not released"
    assert BEAT_SECONDS < LEASE_SECONDS / 3, "one or two lost renewals cost no name"
