"""What becomes of parked records when they are tried again: remote calls, poison, races, and who is to blame."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from eventbus import Codec, Event, PoisonRecord, TryAgain, WorkingSet, reacts_to
from eventbus.database import ConcurrentUpdate, connect
from eventbus.engine.assignment import Owned
from eventbus.engine.backoff import Backoff
from eventbus.engine.batch import PartitionBatch, retry, take
from eventbus.engine.calling import RemoteCalls
from eventbus.engine.config import EngineConfig
from eventbus.engine.decision import Decided, Decision
from eventbus.engine.delivery import Delivery
from eventbus.engine.parking import Retries
from eventbus.engine.remote import RemoteStage
from eventbus.log import Identity, Partition, Record
from eventbus.serde.registry import registry_at
from eventbus.service import Service
from eventbus.store import blocked_keys, interventions, progress
from eventbus.store.interventions import Actor
from tests.support.engines.sample import Pang, Ping, Pong, Tallies, Tally, _count

EVENTS = (Ping, Pang, Pong)
LANE = Partition("ping", 0)
NOW_MS = 1_000_000


class Moody(Service[WorkingSet[Tally]]):
    """Asks somebody about pings; raises what it is told to, for a name."""

    name = "moody"

    def __init__(self) -> None:
        self.repository = Tallies()
        self.raises: dict[str, Exception] = {}
        self.moods: dict[str, list[Exception | None]] = {}
        """What it raises by turns, one for each call."""
        self.answers: dict[str, Any] = {}
        self.asked: list[Event] = []

    def ask(self, ping: Ping) -> Any:
        self.asked.append(ping)
        answer = self.answers.get(ping.name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @reacts_to(Ping, remote=ask)
    def count_ping(self, ping: Ping, _answer: Any, tallies: WorkingSet[Tally]) -> Pong:
        return self._count(ping, tallies)

    @reacts_to(Pang)
    def count_pang(self, pang: Pang, tallies: WorkingSet[Tally]) -> Pong:
        return self._count(pang, tallies)

    def _count(self, event: Ping | Pang, tallies: WorkingSet[Tally]) -> Pong:
        pong = _count(event, tallies)
        if event.name in self.raises:
            raise self.raises[event.name]
        if (mood := self.moods.get(event.name)) and (error := mood.pop(0)):
            raise error
        return pong


class Bench:
    """One partition, one service, its database, and what the engine does with them."""

    def __init__(self, dead_letter_limit: int = 100) -> None:
        self.service = Moody()
        self.database = connect("sqlite:///:memory:", service="moody", schema=Tallies.schema)
        retries = Retries(lambda: NOW_MS, Backoff(0.1, 60.0, lambda: 1.0))
        codec = Codec(registry_at(None, EVENTS), EVENTS)
        self.decision = Decision(self.service, codec, dead_letter_limit, retries)
        with self.database.transaction() as tx:
            progress.create(tx, LANE, progress.Checkpoint(0, 0, 1), Identity("", ""))
        deps: Any = SimpleNamespace(
            database=self.database, calls=RemoteCalls(2), failpoint=lambda _step: None, clock=time.monotonic
        )
        self.remote = RemoteStage(self.service, deps, EngineConfig())
        self.owned = Owned(LANE, 0.0, recovered=True, consuming=True, checkpoint=progress.Checkpoint(0, 0, 1))

    def refuse(self, name: str) -> None:
        """Let the table refuse this name."""
        with self.database.transaction() as tx:
            tx.execute(
                f"create trigger refuses before insert on tally when new.name = '{name}'"
                " begin select raise(abort, 'refused'); end"
            )

    def hear(self, *events: Event | PoisonRecord) -> Decided:
        items, start = [], self.owned.checkpoint.next_offset
        for offset, event in enumerate(events, start):
            if isinstance(event, PoisonRecord):
                record = Record(LANE, offset, b"?", b"junk", 0, [])
                items.append(Delivery(record, record, poison=event))
                continue
            record = Record(Partition(event.topic, 0), offset, event.key.encode(), b"", 0, [])
            items.append(self._delivery(record, event))
        return self.decide([PartitionBatch(self.owned, items, start + len(items))])

    def again(self, between: Callable[[], None] = lambda: None) -> Decided:
        """Try everything again that is parked, one part a key."""
        with self.database.snapshot() as tx:
            blocks = list(interventions.blocked(tx))
            parked = {each: blocked_keys.records(tx, each, 100) for each in blocks}
        parts = [
            retry(self.owned, each, [self._delivery(p.record, self._event(p.record)) for p in records])
            for each, records in parked.items()
        ]
        between()
        for part in parts:
            part.stay()
        return self.decide(parts)

    def decide(self, parts: Sequence[PartitionBatch]) -> Decided:
        self.remote.call(parts, lambda: True)
        decided = self.decision.commit(self.database, parts, None, lambda _step: None)
        self.owned.checkpoint = decided.checkpoints[LANE]
        return decided

    def _delivery(self, record: Record, event: Event) -> Delivery:
        return Delivery(record, record, event, self.service.reactions[type(event)])

    def parked(self) -> dict[str, tuple[int, int]]:
        """Return, by key, how many records wait, and how often the first was tried."""
        with self.database.snapshot() as tx:
            rows = tx.rows("select count(*) from parked")[0][0]
            blocks = {f.key: (f.records, f.attempts) for f in interventions.blocked(tx)}
        assert rows == sum(records for records, _ in blocks.values())
        return blocks

    def _event(self, record: Record) -> Event:
        assert record.key is not None
        return {"ping": Ping, "pang": Pang}[record.partition.topic](record.key.decode(), 1)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def outputs(decided: Decided) -> list[str]:
    return [
        dict(output.headers)["ce_id"].decode() if output.topic == "pong" else output.topic
        for entry in decided.entries.values()
        for output in entry.outputs
    ]


def letters(decided: Decided) -> list[str]:
    """Return why records became dead letters."""
    headers = [dict(output.headers) for entry in decided.entries.values() for output in entry.outputs]
    return [each["dlq_reason"].decode() for each in headers if "dlq_reason" in each]


def test_nobody_is_asked_about_what_will_be_parked(bench: Bench) -> None:
    """The turn of a later event has not come: it is asked about when it is tried, one event of an order at a time."""
    bench.service.raises["a"] = ValueError("no")
    bench.hear(Ping("a", 1))
    bench.hear(Ping("a", 2), Ping("b", 1))
    assert [ping.key for ping in bench.service.asked] == ["a", "b"]
    assert bench.parked() == {"a": (2, 1)}
    bench.service.raises.clear()
    assert outputs(bench.again()) == ["pong<ping/0/0"]
    assert bench.parked() == {"a": (1, 0)}
    assert outputs(bench.again()) == ["pong<ping/0/1"]
    assert bench.parked() == {}
    assert len(bench.service.asked) == 4


def test_an_unknown_outcome_of_a_retry_is_asked_for_again_later(bench: Bench) -> None:
    """Never taken for a failure, never compensated, and no reason to keep the partition waiting."""
    bench.service.raises["a"] = ValueError("no")
    bench.hear(Ping("a", 1), Pang("a", 2))
    bench.service.raises.clear()
    bench.service.answers["a"] = TryAgain("the provider is away")
    decided = bench.again()
    assert bench.parked() == {"a": (2, 2)}
    assert letters(decided) == []
    assert "the provider is away" in decided.parking.retried[0].error
    assert decided.parking.retried[0].retry_at_ms == NOW_MS + 200
    bench.service.answers.clear()
    assert outputs(bench.again()) == ["pong<ping/0/0"]
    assert outputs(bench.again()) == ["pong<pang/0/1"]


def test_a_remote_call_that_raises_parks_only_its_order(bench: Bench) -> None:
    """An exception that says nothing of an unknown outcome is an accident with that order."""
    bench.service.answers["a"] = ValueError("a bug in the remote function")
    decided = bench.hear(Ping("a", 1), Ping("b", 1))
    assert outputs(decided) == ["pong<ping/0/1"]
    assert bench.parked() == {"a": (1, 1)}


def test_poison_that_is_found_when_it_is_tried_again_is_dead_lettered(bench: Bench) -> None:
    """And what is parked behind it goes on."""
    bench.service.raises["a"] = ValueError("no")
    bench.hear(Pang("a", 1))
    bench.service.raises["a"] = PoisonRecord("contradiction", "it cannot be true")
    decided = bench.again()
    assert outputs(decided) == ["moody.dead-letters"]
    assert letters(decided) == ["contradiction"]
    assert bench.parked() == {}


def test_what_is_discarded_while_it_is_tried_again_is_a_lost_race(bench: Bench) -> None:
    """Nothing of the try remains; the next one finds what is left."""
    bench.service.raises["a"] = ValueError("no")
    bench.hear(Pang("a", 1), Pang("a", 2))
    bench.service.raises.clear()

    def discard() -> None:
        with bench.database.transaction() as tx:
            interventions.discard(tx, "a", Actor("ada", "why not", NOW_MS), everything=False)

    with pytest.raises(ConcurrentUpdate, match="concurrent update of the parked records of a"):
        bench.again(between=discard)
    assert bench.parked() == {"a": (1, 0)}
    assert outputs(bench.again()) == ["pong<pang/0/1"]


def test_what_is_parked_while_the_records_before_it_are_tried_again_keeps_its_place(bench: Bench) -> None:
    """Behind those that are left; or alone, when all that was tried is handled."""
    bench.service.raises["a"] = ValueError("no")
    bench.hear(Pang("a", 1))
    bench.service.raises.clear()
    assert outputs(bench.again(between=lambda: bench.hear(Pang("a", 2)))) == ["pong<pang/0/0"]
    assert bench.parked() == {"a": (1, 0)}
    assert outputs(bench.again()) == ["pong<pang/0/1"]
    assert bench.parked() == {}


def test_a_handler_that_changed_something_before_it_raised_leaves_nothing_of_it(bench: Bench) -> None:
    """Also in the rows that it shares with others: they decide anew, without it."""
    bench.hear(Pang("b", 1))
    bench.service.raises["a"] = ValueError("no")
    bench.hear(Pang("a", 1), Pang("b", 1), Pang("a", 1))
    with bench.database.snapshot() as tx:
        assert tx.rows("select name, times from tally") == [("b", 2)]
    assert bench.parked() == {"a": (2, 1)}


@pytest.mark.parametrize("name", ["b", "c"])
def test_of_a_record_that_is_decided_on_again_only_the_last_decision_counts(bench: Bench, name: str) -> None:
    """All records of a batch are, when one of them raises: then this one raises, too, or is no poison any more."""
    bench.service.raises["a"] = ValueError("no")
    bench.service.moods = {
        "b": [None, ValueError("the second time")],
        "c": [PoisonRecord("bad", "the first time"), None],
    }
    decided = bench.hear(Pang(name, 1), Pang("a", 1))
    assert outputs(decided) == {"b": [], "c": ["pong<pang/0/0"]}[name]
    assert bench.parked() == {"b": {"a": (1, 1), "b": (1, 1)}, "c": {"a": (1, 1)}}[name]


def test_what_follows_the_one_to_blame_is_given_back(bench: Bench) -> None:
    """Bisection decides on what comes before, parks one record, and leaves the rest for the next batch."""
    bench.refuse("a")
    decided = bench.hear(Pang("b", 1), Pang("c", 1), Pang("a", 1), Pang("d", 1), Pang("a", 1))
    assert outputs(decided) == ["pong<pang/0/0", "pong<pang/0/1"]
    assert decided.checkpoints[LANE].next_offset == 3
    assert [item.record.offset for item in bench.owned.buffer] == [3, 4]
    assert bench.parked() == {"a": (1, 1)}
    assert "IntegrityError: refused" in decided.parking.blocked[0].error


def test_a_batch_with_too_many_bad_records_and_one_that_is_refused_loses_nothing() -> None:
    """What was cut off before the one to blame was looked for comes back to the buffer, and is handled later."""
    bench = Bench(dead_letter_limit=1)
    bench.refuse("a")
    good, refused, late = Pang("b", 1), Pang("a", 1), Pang("c", 1)
    bad = PoisonRecord("malformed", "junk")
    decided = bench.hear(good, refused, bad, bad, late)
    assert outputs(decided) == ["pong<pang/0/0"]
    assert decided.checkpoints[LANE].next_offset == 2
    assert decided.paused == {}
    assert [item.record.offset for item in bench.owned.buffer] == [2, 3, 4]
    [part] = take([bench.owned], 100)
    decided = bench.decide([part])
    assert outputs(decided) == ["moody.dead-letters"]
    assert decided.checkpoints[LANE].next_offset == 3
    assert list(decided.paused) == [LANE]


def test_of_two_orders_that_are_refused_again_each_waits_for_itself(bench: Bench) -> None:
    """Of a batch of retries, too, only the one to blame is held back; the others are tried in the next."""
    bench.service.raises |= {name: ValueError("no") for name in "ab"}
    bench.hear(Pang("a", 1), Pang("b", 1))
    bench.service.raises.clear()
    with bench.database.transaction() as tx:
        tx.execute("create trigger refuses before insert on tally begin select raise(abort, 'refused'); end")
    bench.again()
    assert bench.parked() == {"a": (1, 2), "b": (1, 1)}
    with bench.database.transaction() as tx:
        tx.execute("drop trigger refuses")
    assert outputs(bench.again()) == ["pong<pang/0/0", "pong<pang/0/1"]
    assert bench.parked() == {}
