"""`make chaos` before and after its run: the timeline, the two views of the auditor, what the logs tell."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eventbus.log import Partition, Record
from order_service.domain import OrderRequest
from tests.chaos.auditor import View, differences
from tests.chaos.customers import Customers, Minds, open_orders, pending
from tests.chaos.faults import Faults, Happened
from tests.chaos.fleet import Exit
from tests.chaos.journal import Journal
from tests.chaos.recoveries import calm, recoveries, spread
from tests.chaos.refusals import refusing
from tests.chaos.schedule import Schedule
from tests.chaos.shifted import set_clock
from tests.chaos.timeline import ALONE, ALONE_SECONDS, KINDS, TO_BROKERS, PlannedFault, draw

WORKERS = {f"{name}-service/{number}" for name in ("order", "payment", "inventory") for number in (1, 2)}
CREATED = Partition("order.created", 0)


def test_the_same_seed_draws_the_same_timeline() -> None:
    """So that a run can be made again; another seed draws another one."""
    assert draw(7, 300, KINDS, 10, 4) == draw(7, 300, KINDS, 10, 4) != draw(8, 300, KINDS, 10, 4)


@pytest.mark.parametrize("seconds", [10, 300, 1800])
def test_every_worker_is_killed_equally_often_and_every_fault_happens(seconds: int) -> None:
    """However short the run is; and all within its time, in order."""
    timeline = draw(1, seconds, KINDS, 10, 4, brokers=1)
    kills = Counter(fault.target for fault in timeline if fault.kind == "kill")
    assert kills.keys() == WORKERS
    assert len(set(kills.values())) == 1
    assert {fault.kind for fault in timeline} == set(KINDS)
    assert [fault.at for fault in timeline] == sorted(fault.at for fault in timeline)
    assert 0 <= timeline[0].at <= timeline[-1].at <= seconds


def test_every_broker_is_killed_equally_often() -> None:
    """As the workers are."""
    timeline = draw(1, 600, KINDS, 10, 4, brokers=3)
    kills = Counter(fault.target for fault in timeline if fault.kind == "broker")
    assert kills.keys() == {"broker/1", "broker/2", "broker/3"}
    assert len(set(kills.values())) == 1


def test_some_faults_of_brokers_are_alone() -> None:
    """At most half of the time is kept for them, and first each kind has one; nothing else is drawn for that time."""
    timeline = draw(1, 600, KINDS, 10, 8, brokers=3)
    alone = [fault for fault in timeline if fault.how == ALONE]
    assert len(alone) == 6
    assert {fault.kind for fault in alone} == TO_BROKERS
    for fault in alone:
        assert not [other for other in timeline if fault.at < other.at < fault.at + ALONE_SECONDS - 0.01]
    assert not [fault for fault in draw(1, 60, KINDS, 10, 4, brokers=3) if fault.how == ALONE]


class Deeds:
    """Faults that take as long as they say, instead of real ones."""

    def __init__(self) -> None:
        self.happened: list[Happened] = []

    def make(self, fault: PlannedFault) -> None:
        began = time.time()
        time.sleep(fault.seconds)
        self.happened.append(Happened(fault, began, time.time()))


def test_while_a_fault_is_alone_all_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those before it to be over, and, after it, until everybody is back; what it took too long is late."""
    monkeypatch.setattr("tests.chaos.schedule.AFTERMATH_SECONDS", 0.1)
    monkeypatch.setattr("tests.chaos.schedule.ALONE_SECONDS", 0.2)
    monkeypatch.setattr("tests.chaos.schedule.LOOK_SECONDS", 0.01)
    deeds, asked = Deeds(), iter([False] * 20 + [True])
    fleet: Any = SimpleNamespace(watch_work=lambda: lambda: next(asked))
    schedule = Schedule(deeds, fleet)  # type: ignore[arg-type]
    schedule.begin(
        [
            PlannedFault(0, "cut", "broker", 0.3),
            PlannedFault(0.1, "leaders", "broker", 0.1, ALONE),
            PlannedFault(0.15, "cut", "", 0),
        ]
    )
    while not schedule.over:
        time.sleep(0.01)
    first, alone, after = sorted(deeds.happened, key=lambda one: one.began)
    assert alone.fault.how == ALONE
    assert first.ended + 0.1 <= alone.began
    assert alone.ended + 0.2 <= after.began
    assert schedule.late > 0.3


def test_some_orders_are_kept_for_as_long_as_faults_last() -> None:
    """A service that has nothing to do shows nothing; they come one by one, and the rest when it is over."""
    pace = SimpleNamespace(late=0.0, over=False)
    customers = Customers("sqlite:///nowhere.db", [OrderRequest("c", 1, "USD", (), "r")] * 100, 10, pace=pace)
    assert customers._due(5) == 51
    pace.late = 10.0
    assert customers._due(5) == 26
    assert customers._due(60) == 80
    customers.placed = 90
    assert customers._due(60) == 91
    customers._placed_at = time.monotonic()
    assert customers._due(60) == 90
    pace.over = True
    assert customers._due(60) >= 100


def test_a_customer_whose_cancellation_the_table_refuses_asks_again(tmp_path: Path) -> None:
    """As in a run in which one of 20,000 gave up for all."""
    url = f"sqlite:///{tmp_path}/order.db"
    request = OrderRequest("c", 1, "USD", (("CD-01", 1),), "r")
    customers = Customers(url, [request], 1, minds=Minds({"r": 0.0}, {}))
    with closing(open_orders(url)) as orders:
        with orders.snapshot():
            pass
        with refusing(url, "order-service", "true"):
            customers.begin()
            deadline = time.monotonic() + 20
            while not customers.asked_again and time.monotonic() < deadline:
                time.sleep(0.05)
        customers.wait()
        assert (customers.refused, pending(orders)) == ([], 0)
    assert customers.asked_again


def test_only_the_wanted_faults_are_drawn() -> None:
    """And none at all where none is wanted."""
    assert {fault.kind for fault in draw(1, 60, ["cut", "stop"], 10, 4)} == {"cut", "stop"}
    assert draw(1, 60, [], 10, 4) == []


def test_a_worker_that_is_stopped_or_killed_for_long_is_away_past_its_session() -> None:
    """Else nobody would take over."""
    timeline = draw(1, 600, ["stop", "kill-long"], 45, 4)
    assert all(fault.seconds > 45 for fault in timeline)


def test_every_kind_of_fault_can_be_made() -> None:
    """Each is a method of its name."""
    assert all(hasattr(Faults, "_" + kind.replace("-", "_")) for kind in KINDS)


def view(*records: Record) -> View:
    seen = View()
    seen.add(records)
    return seen


def record(offset: int, value: bytes = b"v") -> Record:
    return Record(CREATED, offset, b"key", value, 1, [("ce_id", b"x")])


def test_two_views_of_the_same_records_agree() -> None:
    """However they were read."""
    assert list(differences(view(record(0), record(2)), view(record(0), record(2)))) == []


@pytest.mark.parametrize(
    ("live", "final"),
    [
        ([record(0), record(2)], [record(0)]),
        ([record(0)], [record(0), record(2)]),
        ([record(0), record(2, b"other")], [record(0), record(2)]),
        ([record(0), record(1)], [record(0), record(2)]),
        ([record(0), record(0)], [record(0)]),
        ([], [record(0)]),
    ],
)
def test_any_difference_between_two_views_is_told(live: list[Record], final: list[Record]) -> None:
    """A record less, more, another one, at another offset, or twice."""
    [told] = differences(view(*live), view(*final))
    assert told.startswith("order.created/0: record ")


def log(folder: Path, worker: str, *lines: tuple[float, str, list[str]]) -> tuple[str, Path]:
    file = folder / f"{worker.replace('/', '-')}.log"
    entries = []
    for at, event, partitions in lines:
        named = {"partition": partitions[0]} if event == "partition.recovered" else {"partitions": partitions}
        entries.append(json.dumps({"event": event, "timestamp": datetime.fromtimestamp(at, UTC).isoformat()} | named))
    file.write_text("\n".join([*entries, '{"event": "half of a li']), encoding="utf-8")
    return worker, file


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The first worker has a/0 and b/0 and is killed at 10; the second takes a/0 at 21, b/0 at 23, and works on."""
    first = log(
        tmp_path,
        "order-service/1",
        (1, "worker.started", []),
        (2, "partitions.assigned", ["a/0", "b/0", "c/0"]),
        (3, "partition.recovered", ["a/0"]),
        (4, "partitions.revoked", ["c/0"]),
        (9, "batch.handled", []),
    )
    second = log(
        tmp_path,
        "order-service/2",
        (11, "batch.handled", []),
        (20, "partitions.assigned", ["a/0", "b/0"]),
        (21, "partition.recovered", ["a/0"]),
        (23, "partition.recovered", ["b/0"]),
        (24, "batch.handled", []),
    )
    return Journal(dict([first, second]))


def test_a_partition_goes_on_when_somebody_has_recovered_it(journal: Journal) -> None:
    """The last one of those that the killed worker had counts."""
    assert journal.held("order-service/1", 10) == {"a/0", "b/0"}
    killed = Happened(PlannedFault(8, "kill-long", "order-service/1", 20), began=10, ended=30)
    [recovery] = recoveries([killed], journal)
    assert (recovery.since_fault, recovery.silence, recovery.alone) == (13, 14, True)


def test_what_was_taken_over_is_no_longer_the_killed_workers(journal: Journal) -> None:
    """Killed again before it was given anything, it held nothing up."""
    assert journal.held("order-service/1", 22) == set()
    [recovery] = recoveries([Happened(PlannedFault(8, "kill", "order-service/1", 1), began=22, ended=23)], journal)
    assert recovery.since_fault is None


def test_a_partition_that_nobody_recovers_has_not_gone_on(journal: Journal) -> None:
    """It is not said to have taken no time."""
    killed = Happened(PlannedFault(8, "kill", "order-service/2", 1), began=24.5, ended=25)
    [recovery] = recoveries([killed], journal)
    assert (recovery.since_fault, recovery.silence) == (None, None)


def test_everybody_is_back_when_the_last_worker_has_handled_a_batch(tmp_path: Path) -> None:
    """One that never does again counts as long as others of its service still do; one that was struck does not."""
    lines = {"order-service/1": (12, 40), "order-service/2": (11, 90), "payment-service/1": (13,)}
    logs = [log(tmp_path, worker, *((at, "batch.handled", []) for at in times)) for worker, times in lines.items()]
    journal = Journal(dict(logs))
    roll = Happened(PlannedFault(0, "broker-roll", "broker", 5), began=5, ended=10)
    assert recoveries([roll], journal)[0].until_back == 3
    later = Happened(PlannedFault(0, "leaders", "broker", 0), began=45, ended=50)
    assert recoveries([later], journal)[0].until_back == 40, "order-service/1 was never seen again"
    struck = Happened(PlannedFault(0, "kill-long", "order-service/1", 60), began=48, ended=108)
    both = {r.happened.fault.kind: r for r in recoveries([later, struck], journal)}
    assert both["leaders"].until_back == 40, "order-service/2 was back at 90, too"


def test_a_way_back_that_another_fault_overlapped_is_not_alone(tmp_path: Path) -> None:
    """Whatever it was done to, and also while it was still felt; one that began when all were back is no matter."""
    journal = Journal(dict([log(tmp_path, "order-service/1", (30, "batch.handled", []))]))
    roll = Happened(PlannedFault(0, "broker-roll", "broker", 5), began=5, ended=20)

    def alone(began: float, ended: float, kind: str = "kill") -> bool:
        other = Happened(PlannedFault(0, kind, "payment-service/2", 1), began, ended)
        [found] = [r for r in recoveries([roll, other], journal) if r.happened is roll]
        return found.alone

    assert recoveries([roll], journal)[0].alone
    assert not alone(29, 31)
    assert not alone(3, 11)
    assert not alone(3, 11, "clock")
    assert alone(3, 9)
    assert alone(31, 32)


def test_who_is_back_too_late_is_judged_although_the_next_fault_came_meanwhile(tmp_path: Path) -> None:
    """Else only those would be judged who were quick."""
    journal = Journal(dict([log(tmp_path, "order-service/1", (90, "batch.handled", []))]))
    roll = Happened(PlannedFault(0, "broker-roll", "broker", 5), began=5, ended=20)
    later = Happened(PlannedFault(0, "cut", "broker", 1), began=51, ended=52)
    [found] = [r for r in recoveries([roll, later], journal) if r.happened is roll]
    assert (found.alone, found.until_back) == (True, 70)


def test_a_fault_after_which_nobody_had_anything_to_do_has_no_way_back(tmp_path: Path) -> None:
    """It is not said to have taken less than no time."""
    journal = Journal(dict([log(tmp_path, "order-service/1", (30, "batch.handled", []))]))
    assert recoveries([Happened(PlannedFault(0, "leaders", "broker", 0), 35, 40)], journal)[0].until_back is None


def test_a_shifted_clock_jumps_while_the_process_lives(tmp_path: Path) -> None:
    """The wall clock does, either way and back; the monotonic clock does not."""
    says = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.time_ns(), time.monotonic(), flush=True)"
    (tmp_path / "clock_of_a_worker.py").write_text(says, encoding="ascii")
    file = tmp_path / "worker.clock"
    run = [sys.executable, "-m", "tests.chaos.shifted", str(file), "clock_of_a_worker"]
    process = subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0, 3600, -3600, 0):
            set_clock(file, seconds)
            process.stdin.write("now\n")
            process.stdin.flush()
            wall, wall_ns, monotonic = map(float, process.stdout.readline().split())
            assert wall - time.time() == pytest.approx(seconds, abs=60)
            assert wall_ns / 1e9 == pytest.approx(wall, abs=1)
            assert monotonic == pytest.approx(time.monotonic(), abs=60)
        process.stdin.close()


def test_times_are_told_apart_by_whether_something_else_was_wrong() -> None:
    """A worker that ends while the broker is away says nothing about how soon workers end."""
    outage = Happened(PlannedFault(0, "broker", "broker", 5), began=100, ended=105)
    assert not calm(Exit("order-service/1", 104, 9, 1), [outage])
    assert calm(Exit("order-service/1", 130, 1, 0), [outage])
    assert spread([3, None, 1, 2]) == {"count": 3, "p50": 2, "p99": 3, "max": 3}
