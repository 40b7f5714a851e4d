"""Rows are taken a few at a time where they are large: by bytes, not only by number, on each database."""

from __future__ import annotations

from contextlib import closing

import pytest

from eventbus.log import Output, Partition, Record
from eventbus.store import blocked_keys, progress
from eventbus.store.blocked_keys import BlockedKey, Parked
from eventbus.store.packing import pack
from tests.support.things import things

LARGE = b"x" * 1_000
LANE = Partition("thing.happened", 0)
KEYS = [f"order-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("limit", "limit_bytes", "taken"),
    [(100, 2_500, 3), (2, 2_500, 2), (100, 1, 1), (100, 10_000, 5)],
    ids=["bytes", "number", "one at least", "all"],
)
def test_uncaused_events_are_taken_in_order_up_to_so_many_bytes(database_url, limit, limit_bytes, taken):
    """What was not taken is there the next time."""
    database = things(database_url)
    with database.transaction() as tx:
        for key in reversed(KEYS):
            tx.execute(
                "insert into uncaused (id, records) values (?, ?)",
                key,
                pack([Output(LANE.topic, key.encode(), LARGE, [])]),
            )
    found = []
    while len(found) < len(KEYS):
        with database.transaction() as tx:
            found.append(progress.take_root_events(tx, limit, limit_bytes))
        if not found[-1]:
            break
    assert [output.key.decode() for each in found for output in each] == KEYS
    assert len(found[0]) == taken
    database.close()


@pytest.mark.parametrize(
    ("limit", "limit_bytes", "taken"),
    [(100, 2_500, 3), (2, 2_500, 2), (100, 1, 1), (100, blocked_keys.ALL_BYTES, 5)],
    ids=["bytes", "number", "one at least", "all"],
)
def test_parked_records_are_read_in_order_up_to_so_many_bytes(database_url, limit, limit_bytes, taken):
    """From the first one that still waits."""
    database = things(database_url)
    records = [Parked("a", 3 + n, Record(LANE, n, b"a", LARGE, 0, [("number", b"%d" % n)])) for n in range(5)]
    known = BlockedKey("a", *LANE, 3, 7, 1, 0, 0, "raised")
    with database.transaction() as tx:
        blocked_keys.change(tx, {}, {"a": known})
        blocked_keys.append(tx, records)
    with database.snapshot() as tx:
        assert blocked_keys.records(tx, known, limit, limit_bytes) == records[:taken]
        assert blocked_keys.records(tx, known._replace(first=7), limit, limit_bytes) == records[4:]
    database.close()


def test_root_events_leave_in_the_order_in_which_they_were_made(database_url):
    """Not in that of their ids; what a worker of an earlier release inserts has no number, and leaves before others."""
    made = [f"{topic}/{number}" for number in range(12) for topic in ("order.created", "order.cancelled")]
    with closing(things(database_url)) as database:
        for key in made:
            with database.transaction() as tx:
                progress.add_root_event(tx, key, Output(LANE.topic, key.encode(), b"", []))
        with database.transaction() as tx:
            tx.execute(
                "insert into uncaused (id, records) values (?, ?)", "z", pack([Output(LANE.topic, b"z", b"", [])])
            )
        taken = []
        while len(taken) <= len(made):
            with database.transaction() as tx:
                taken += [output.key.decode() for output in progress.take_root_events(tx, 5, 1_000)]
    assert taken == ["z", *made]
