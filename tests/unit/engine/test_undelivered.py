"""An output that was refused for its size blocks its key: it is parked, with all that follows of the same key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from eventbus.database import ConcurrentUpdate, Database, connect
from eventbus.engine.assignment import Owned
from eventbus.engine.backoff import Backoff
from eventbus.engine.delivery import UNPUBLISHED
from eventbus.engine.parking import Retries
from eventbus.engine.undelivered import Undelivered
from eventbus.log import Identity, Limit, Output, Oversized, Partition, TooLarge
from eventbus.store import blocked_keys, interventions, progress
from eventbus.store.progress import Checkpoint, OutboxEntry
from tests.support.engines.sample import Tallies

LANE = Partition("ping", 0)
LIMIT = Limit(10, "its max.message.bytes")
BIG, AFTER, LATER, OTHER = (
    Output("pong", key, value, [("h", b"1")])
    for key, value in ((b"a", b"x" * 99), (b"a", b"1"), (b"a", b"2"), (b"b", b"3"))
)


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(connect("sqlite:///:memory:", service="moody", schema=Tallies.schema)) as database:
        yield database


def recovered(database: Database) -> Owned:
    """Return a partition with two entries that are not published."""
    checkpoint = Checkpoint(7, 2, 1)
    entries = [OutboxEntry(1, [OTHER, BIG, AFTER]), OutboxEntry(2, [LATER, OTHER])]
    with database.transaction() as tx:
        progress.create(tx, LANE, checkpoint, Identity("", ""))
        for entry in entries:
            progress.add(tx, {LANE: entry})
    return Owned(LANE, 0.0, recovered=True, checkpoint=checkpoint, pending=entries)


def undelivered(database: Database, *refused: Output, limit: Limit | None = LIMIT) -> Undelivered:
    found = Undelivered(database, Retries(lambda: 1_000, Backoff(0.1, 60.0, lambda: 1.0)))
    found.note(TooLarge([Oversized(each, limit) for each in refused]))
    return found


def test_what_follows_of_the_same_key_waits_behind_it_in_order(database: Database) -> None:
    """All others stay in their entries, and no entry is missing."""
    owned = recovered(database)
    parking = undelivered(database, BIG).set_aside([owned])
    assert [entry.outputs for entry in owned.pending] == [[OTHER], [OTHER]]
    with database.snapshot() as tx:
        assert progress.entries_above(tx, {LANE: 0}) == {LANE: [OutboxEntry(1, [OTHER]), OutboxEntry(2, [OTHER])]}
        [known] = interventions.blocked(tx)
        waiting = [each.record for each in blocked_keys.records(tx, known, 100)]
    assert [(record.value, record.headers) for record in waiting] == [
        (BIG.value, BIG.headers),
        (AFTER.value, AFTER.headers),
        (LATER.value, LATER.headers),
    ]
    assert {record.partition for record in waiting} == {Partition("pong", UNPUBLISHED)}
    assert (known.key, known.records, known.owner, parking.parked) == ("a", 3, LANE, 3)
    assert known.error == "the event of a has 209 bytes, and the topic pong takes at most 10 (its max.message.bytes)"


def test_it_comes_before_what_is_parked_already(database: Database) -> None:
    """That was not handled yet: what was decided is older."""
    owned = recovered(database)
    with database.transaction() as tx:
        blocked_keys.change(tx, {}, {"a": blocked_keys.BlockedKey("a", *LANE, 1, 1, 1, 1, 1, "")})
        record = undelivered(database)._record(OTHER._replace(value=b"parked"), 1)
        blocked_keys.append(tx, [blocked_keys.Parked("a", 1, record)])
    undelivered(database, BIG).set_aside([owned])
    with database.snapshot() as tx:
        [known] = interventions.blocked(tx)
        assert [each.record.value for each in blocked_keys.records(tx, known, 100)] == [
            BIG.value,
            b"1",
            b"2",
            b"parked",
        ]


def test_nobody_sets_aside_what_another_worker_has_recovered(database: Database) -> None:
    """It may have published it: the checkpoint's epoch says so."""
    owned = recovered(database)
    with database.transaction() as tx:
        progress.claim(tx, [LANE])
    with pytest.raises(ConcurrentUpdate):
        undelivered(database, BIG).set_aside([owned])
    with database.snapshot() as tx:
        assert list(interventions.blocked(tx)) == []


def test_where_no_limit_is_known_it_is_tried_again_late(database: Database) -> None:
    """By publishing, which costs everybody an aborted transaction."""
    owned = recovered(database)
    undelivered(database, BIG, limit=None).set_aside([owned])
    with database.snapshot() as tx:
        [known] = interventions.blocked(tx)
    assert known.retry_at_ms == 61_000
