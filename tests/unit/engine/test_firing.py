"""A deadline that is over, in one transaction: fired, parked, or left alone. On SQLite in memory, without a broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventbus import Codec, PoisonRecord, connect
from eventbus.database import Database
from eventbus.engine.assignment import Owned
from eventbus.engine.backoff import Backoff
from eventbus.engine.batch import PartitionBatch, retry
from eventbus.engine.decision import Decided, Decision
from eventbus.engine.delivery import decode
from eventbus.engine.parking import Retries
from eventbus.event.overdue import Overdue
from eventbus.log import Identity, Partition, Record
from eventbus.serde.registry import registry_at
from eventbus.service import by_topic, deadline_reactions
from eventbus.store import interventions, progress
from eventbus.store.blocked_keys import BlockedKey
from eventbus.store.deadlines import DUE
from eventbus.store.progress import Checkpoint
from eventbus.testing import MakeScenario
from tests.support.engines.sample import Pang, Ping, Pong
from tests.support.engines.sample.timed import TimedService

EVENTS = (Pang, Ping, Pong)
CODEC = Codec(registry_at(None, EVENTS), EVENTS)
ROOT = Partition("ping", 0)
START = Checkpoint(7, 0, 1)
RETRIES = Retries(lambda: 1_000, Backoff(0.1, 60.0, lambda: 0.5))


@pytest.fixture
def service() -> TimedService:
    return TimedService(lambda: 0)


@pytest.fixture
def database(service: TimedService) -> Iterator[Database]:
    """Three timers, A to C, that were over at 10."""
    opened = connect("sqlite:///:memory:", service=service.name, schema=service.repository.schema)
    with opened.transaction() as tx:
        progress.create(tx, ROOT, START, Identity("cluster", "topic"))
        rows = [(name, 0, 10, 0) for name in "ABC"]
        tx.executemany("insert into timer (name, times, due_at, set_at) values (?, ?, ?, ?)", rows)
    yield opened
    opened.close()


def fire(service: TimedService, database: Database, *names: str, at: int = 10) -> Decided:
    """Decide on deadlines that were found for these names."""
    records = [Record(Partition("timer.due_at", DUE), at, name.encode(), None, 0, []) for name in names]
    items = [decode(CODEC, record, deadline_reactions(service.deadlines)) for record in records]
    owned = Owned(ROOT, 0, recovered=True, consuming=True, checkpoint=START, reached=START.next_offset)
    part = PartitionBatch(owned, [item for item in items if item is not None], 0, due=True)
    part.stay()
    return Decision(service, CODEC, 100, RETRIES).commit(database, [part], None, lambda _step: None)


def keys(decided: Decided) -> list[str]:
    return [output.key_text for entry in decided.entries.values() for output in entry.outputs]


def times(database: Database) -> dict[str, int]:
    with database.snapshot() as tx:
        return dict(tx.rows("select name, times from timer order by name"))


def test_what_a_deadline_causes_goes_into_the_outbox_and_no_offset_moves(service, database):
    """The checkpoint of the partition whose owner fires stays where it is."""
    decided = fire(service, database, "A", "B")
    assert keys(decided) == ["A", "B"]
    assert decided.checkpoints[ROOT].next_offset == START.next_offset
    assert times(database) == {"A": 1, "B": 1, "C": 0}


@pytest.mark.parametrize("change", ["due_at = 11", "due_at = null, set_at = null"])
def test_one_that_has_changed_since_it_was_found_is_left_alone(service, database, change):
    """Moved or cleared: its handler is not called."""
    with database.transaction() as tx:
        tx.execute(f"update timer set {change} where name = 'A'")
    decided = fire(service, database, "A", "B")
    assert keys(decided) == ["B"]
    assert decided.parking.blocked == []
    assert times(database) == {"A": 0, "B": 1, "C": 0}


def test_all_that_are_left_as_they_were_are_parked_at_once_and_the_others_are_fired(service, database):
    """Not one by one: all of a batch may be wrong."""
    service.forgetful = lambda name: name in "AC"
    decided = fire(service, database, "A", "B", "C")
    assert keys(decided) == ["B"]
    assert decided.parking.parked == 2
    with database.snapshot() as tx:
        blocked = list(interventions.blocked(tx))
    assert [(each.key, each.owner) for each in blocked] == [("A", ROOT), ("C", ROOT)]
    assert "ring left the deadline timer.due_at/-2/10 of A as it was" in blocked[0].error
    assert times(database) == {"A": 0, "B": 1, "C": 0}


def test_a_parked_deadline_is_tried_after_what_is_parked_before_it_is_committed():
    """What is before it may clear it: only then is it read again."""
    pang = Record(Partition("pang", 0), 5, b"A", CODEC.encode(Pang("A", 0)), 0, [])
    over = Record(Partition("timer.due_at", DUE), 10, b"A", None, 0, [])
    reactions = by_topic(TimedService.reactions) | deadline_reactions(TimedService.deadlines)
    items = [item for record in (pang, over, pang) if (item := decode(CODEC, record, reactions)) is not None]
    owned = Owned(ROOT, 0, recovered=True, consuming=True, checkpoint=START, reached=START.next_offset)
    block = BlockedKey("A", *ROOT, 1, 3, 1, 0, 0, "no")
    assert retry(owned, block, items).items == items[:1]
    assert retry(owned, block, items[1:]).items == items[1:]


def test_a_handler_that_calls_it_a_contradiction_makes_no_dead_letter(service, database):
    """There is no record that could be one: it is parked."""

    def refuses(name: str) -> bool:
        if name == "A":
            raise PoisonRecord("contradiction", "it cannot be")
        return False

    service.broken = refuses
    decided = fire(service, database, "A", "B")
    assert keys(decided) == ["B"]
    assert decided.parking.blocked[0].error.endswith("PoisonRecord: it cannot be")


def test_a_scenario_can_fire_a_deadline(scenario: MakeScenario):
    """With the time at which it is over; there is none at another time."""
    timed = scenario(TimedService(lambda: 100), Ping("A", 50))
    timed.when(Overdue("A", 150)).then(Pong("A", 0, 1))
    with pytest.raises(LookupError, match="no deadline of A is over at 150"):
        timed.when(Overdue("A", 150))
