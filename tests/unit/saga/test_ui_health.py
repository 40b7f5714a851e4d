"""The strip of services: who works, how far behind each is in events and in time, and what it waits for."""

from __future__ import annotations

import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventbus.database import connect
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey
from saga.tracker.installed import FLOW, MODEL
from saga.tracker.page_queries import PageTracked
from saga.ui.health import ALIVE_MS, SLOW_MS, WorkersQuery, health, workers_in
from tests.support.models.saga_model import CHARGED, CREATED
from tests.support.models.tracked import stored, tracked_events

NOW = 2_000_000_000_000
EVENTS = [event for event in tracked_events(20) if event.topic == CREATED]
PAYMENT = "payment-service"


@pytest.fixture
def tracker(tmp_path: Path) -> Path:
    """Twenty orders that wait for their payment, placed one second apart; the last one three seconds ago."""
    placed = [
        event._replace(at=NOW - 3_000 - 1_000 * (len(EVENTS) - 1 - number)) for number, event in enumerate(EVENTS)
    ]
    stored(tmp_path / "tracker.db", placed).close()
    return tmp_path / "tracker.db"


def database(path: Path, handled: dict[tuple[str, int], int], *beats: int, parked: int = 0) -> str:
    """Return the URL of a payment service's database with these checkpoints, and one worker for each heartbeat."""
    url = f"sqlite:///{path}"
    with closing(connect(url, service=PAYMENT, schema="")) as opened, opened.transaction() as tx:
        keys = {str(key): BlockedKey(str(key), CREATED, 0, 1, 1, 1, 0, 0, "x") for key in range(parked)}
        blocked_keys.change(tx, {}, keys)
        columns = "topic, partition, next_offset, position, epoch, cluster_id, topic_id"
        tx.executemany(
            f"insert into checkpoint ({columns}) values (?, ?, ?, 0, 0, '', '')",
            [(topic, number, offset) for (topic, number), offset in handled.items()],
        )
        tx.executemany(
            "insert into instance_lease values (?, '', 'a-host', 7, '', '', 1, 5, ?)",
            [(f"worker-{number}", beat) for number, beat in enumerate(beats)],
        )
    return url


def of_payment(tracker: Path, url: str, broker: str = "") -> dict[str, Any]:
    workers = WorkersQuery({PAYMENT: url}).report()
    with PageTracked.at(tracker, MODEL) as tracked:
        told = health(FLOW, tracked, workers, NOW, broker=broker)
    assert [service["service"] for service in told["services"]] == [service.service for service in FLOW.services]
    return next(service for service in told["services"] if service["service"] == PAYMENT)


def ends(left: int) -> dict[tuple[str, int], int]:
    """Return the checkpoints of a service that has all but the last events of each partition."""
    by_partition: dict[int, list[int]] = {}
    for event in EVENTS:
        by_partition.setdefault(event.partition, []).append(event.offset)
    return {(CREATED, number): offsets[-1] + 1 - left for number, offsets in by_partition.items()}


def test_the_lag_is_in_events_and_in_time(tmp_path, tracker):
    """Those after the checkpoints, markers of transactions not counted; since the first of them."""
    told = of_payment(tracker, database(tmp_path / "p.db", ends(1), NOW))
    last = sorted({event.partition for event in EVENTS})
    assert told["lag_events"] == len(last)
    assert 3_000 <= NOW - told["lag_since"] < SLOW_MS
    assert (told["tone"], told["says"]) == ("good", "works")
    assert [worker["name"] for worker in told["workers"]] == ["worker-0"]
    with closing(sqlite3.connect(tracker)) as opened, opened:
        [(since,)] = opened.execute("select min(updated_at) from orders")
    assert told["waiting"] == {"orders": len(EVENTS), "since": since}


@pytest.mark.parametrize(
    ("left", "beats", "parked", "says"),
    [
        (0, [NOW], 0, ("good", "waits for events; all are handled")),
        (10, [NOW], 0, ("bad", "behind, events not handled: 20")),
        (0, [NOW - ALIVE_MS], 0, ("bad", "no worker runs")),
        (10, [], 0, ("bad", "no worker runs, events not handled: 20")),
        (0, [NOW, NOW - 1_000], 3, ("bad", "retries parked orders: 3")),
    ],
)
def test_it_says_what_a_service_waits_for(tmp_path, tracker, left, beats, *, parked, says):
    """A worker that has not renewed its lease for a while is none."""
    told = of_payment(tracker, database(tmp_path / "p.db", ends(left), *beats, parked=parked))
    assert (told["tone"], told["says"]) == says


def test_it_says_why_a_worker_retries_in_place(tmp_path, tracker):
    """That of a worker which does not run any more says nothing; a database of an older release has no reasons."""
    url = database(tmp_path / "p.db", ends(10), NOW, NOW - ALIVE_MS)
    with closing(connect(url, service=PAYMENT, schema="")) as opened, opened.transaction() as tx:
        tx.executemany("insert into instance_wait values (?, ?)", [("worker-1", "gone"), ("worker-0", "x " * 70)])
    told = of_payment(tracker, url)
    assert (told["tone"], told["says"]) == ("bad", f"waits: {'x ' * 59}…")
    with closing(sqlite3.connect(tmp_path / "p.db")) as opened, opened:
        opened.execute("drop table instance_wait")
    assert of_payment(tracker, url)["says"] == "behind, events not handled: 20"


@pytest.mark.parametrize(("beats", "says"), [([NOW], "no Kafka broker answers; lag unknown"), ([], "no worker runs")])
def test_while_no_broker_answers_no_service_is_well(tmp_path, tracker, beats, says):
    """That all is handled was true before; a worse cause is still said."""
    told = of_payment(tracker, database(tmp_path / "p.db", ends(0), *beats), broker="no Kafka broker answers at b:1 …")
    assert (told["tone"], told["says"], told["lag_events"]) == ("bad", says, None)


def test_a_database_that_cannot_be_read_is_not_known_and_nothing_is_made(tmp_path, tracker):
    """The rest is still told: the last event, who waits."""
    told = of_payment(tracker, f"sqlite:///{tmp_path / 'nothing.db'}")
    assert (told["tone"], told["lag_events"], told["workers"]) == ("unknown", None, [])
    assert "nothing.db" in told["error"]
    assert told["waiting"]["orders"] == len(EVENTS)
    assert not (tmp_path / "nothing.db").exists()


def test_the_last_event_is_the_newest_that_the_service_published(tmp_path, tracker):
    """Of all of its topics; none if it has not published any."""
    url = database(tmp_path / "p.db", {}, NOW)
    assert of_payment(tracker, url)["last_event"] is None
    [charged, *_] = [event for event in tracked_events(20) if event.topic == CHARGED]
    stored(tracker, [charged._replace(at=NOW - 5, offset=9_000)]).close()
    assert of_payment(tracker, url)["last_event"] == NOW - 5


def test_asking_does_not_wait_for_a_database():
    """It is read in a thread of its own; here one that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        query = WorkersQuery({PAYMENT: f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/x"})
        began = time.monotonic()
        found, errors = query.report()
        assert time.monotonic() - began < 3
    assert (found, errors) == ([], ["the databases of the services: still being read (no data yet)"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("x", "is neither sqlite:///FILE nor postgresql://USER@HOST/NAME"),
        ("sqlite:///{}/none.db", "the database of order-service is not at sqlite:///"),
        ("sqlite:///{}/text", "/text: file is not a database"),
    ],
)
def test_a_database_that_cannot_be_read_is_named_with_what_is_wrong(tmp_path, url, why):
    (tmp_path / "text").write_text("not a database, but some text", encoding="utf-8")
    [entry] = workers_in({"order-service": url.format(tmp_path)})
    assert why in entry["error"]
