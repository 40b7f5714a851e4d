"""What is concluded from a reading of the log is concluded from all of it: skipped partitions are noticed (planted)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saga.__main__ import main
from saga.kafka import records
from saga.kafka.event_topics import EventTopics
from tests.support.brokers.admin import Admin
from tests.support.models.saga_model import CHARGED, CREATED, PARTITIONS
from tests.support.models.written_saga import Places, WrittenLog, write_stores
from tests.support.saga.processes import PATIENCE

AT = (CHARGED, 0)
Saga = Callable[..., Result]


@pytest.fixture
def places(topics: str, tmp_path: Path) -> Places:
    return Places(tmp_path, topics)


@pytest.fixture
def log(places: Places) -> WrittenLog:
    log = WrittenLog(places.bootstrap_servers)
    write_stores(log.world, places)
    return log


@pytest.fixture
def saga(log: WrittenLog, places: Places) -> Saga:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments], env=places.environment)

    return run


def skips_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one partition the reader gives nothing but the end."""
    messages = records._messages

    def some(*arguments: Any, **options: Any) -> Iterator[Any]:
        for message in messages(*arguments, **options):
            if message.error() is not None or (message.topic(), message.partition()) != AT:
                yield message

    monkeypatch.setattr(records, "_messages", some)


def does_not_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One partition is not among those that are read: it came later, or was left out."""
    init = EventTopics.__init__

    def some(self: EventTopics, *arguments: Any) -> None:
        init(self, *arguments)
        self._tps = {topic: [tp for tp in tps if tp != AT] for topic, tps in self._tps.items()}

    monkeypatch.setattr(EventTopics, "__init__", some)


@pytest.mark.parametrize("plant", [skips_records, does_not_know_it])
def test_a_skipped_partition_is_noticed(saga, log, places, monkeypatch, plant):
    """Nothing is concluded: no verdict, and no file. The partition is named with what was read of it each time."""
    plant(monkeypatch)
    there = sum((at.topic, at.partition) == AT for at in log.lies.values())
    for refused in (saga("check"), saga("audit", "export", str(places.folder / "history.jsonl"))):
        assert refused.exit_code == 1
        assert f"{CHARGED}/0: 0 records, then {there}" in refused.stderr
        assert not list(places.folder.glob("*.jsonl"))


def test_a_skipped_partition_is_noticed_when_an_export_is_verified(saga, places, monkeypatch):
    """An export that was made with the same gap is not called complete; nor is a whole one called forged."""
    file = str(places.folder / "history.jsonl")
    assert saga("audit", "export", file).exit_code == 0
    assert saga("audit", "verify", file, "--live").exit_code == 0
    skips_records(monkeypatch)
    refused = saga("audit", "verify", file, "--live")
    assert (refused.exit_code, f"{CHARGED}/0: 0 records, then" in refused.stderr) == (1, True)


def test_empty_partitions_and_added_ones_are_no_difference(saga, log, places):
    """A partition without records has nothing to skip; a later one is read with the others."""
    admin = Admin(places.bootstrap_servers)
    admin.grow([CREATED], PARTITIONS + 1)
    assert saga("check", "--finished").exit_code == 0
    file = str(places.folder / "history.jsonl")
    assert saga("audit", "export", file).exit_code == 0
    placed = next(fact for fact in log.facts if fact.topic == CREATED)
    admin.produce_many([log.copy(placed)], PARTITIONS)
    late = saga("audit", "verify", file, "--live")
    assert late.exit_code == 0, "it ended there when the export was made"
    again = saga("audit", "export", str(places.folder / "again.jsonl"))
    assert f"{len(log.lies) + 1} records" in again.stderr


def test_an_export_of_a_topic_that_lost_its_beginning_says_so(saga, log, places):
    """On stderr; the last line of the file has it, too."""
    oldest = min(at for at in log.lies.values() if at.topic == CREATED)
    cut = TopicPartition(oldest.topic, oldest.partition, oldest.offset + 1)
    admin = AdminClient({"bootstrap.servers": places.bootstrap_servers})
    admin.delete_records([cut])[cut].result(PATIENCE)
    done = saga("audit", "export", str(places.folder / "history.jsonl"))
    said = f"{CREATED}/{oldest.partition} begins at {oldest.offset + 1}: earlier records have expired; not exported"
    assert (done.exit_code, said in done.stderr) == (0, True)
