"""--keys-placed-over, on a real broker: what lies where its key does not belong is a dead letter, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import murmur2

from eventbus.log import LogUnavailable, Output
from saga.__main__ import main
from tests.support.engines import CODEC, Playground, Worker
from tests.support.engines.sample import Ping

NAMES = [f"name-{number}" for number in range(40)]


@pytest.fixture
def strict(sqlite_playground: Playground) -> Playground:
    """A playground whose keys were placed over its two partitions, or more, and who says so; it reads resolutions."""
    sqlite_playground.tuning = replace(sqlite_playground.tuning, keys_placed_over=2)
    sqlite_playground.redrives = True
    return sqlite_playground


def pings(playground: Playground, over: int, shifted: int = 0) -> None:
    """Write a ping for each name, in the partition after so many where its key belongs."""
    for number in range(over):
        names = [name for name in NAMES if (murmur2(name.encode(), over) + shifted) % over == number]
        outputs = [Output("ping", name.encode(), CODEC.encode(Ping(name, 1)), []) for name in names]
        playground.admin.produce_many(outputs, number)


def letters(playground: Playground) -> list[dict[str, str]]:
    read = playground.admin.read(f"{playground.group}.dead-letters")
    return [{name: content.decode() for name, content in letter.headers()} for letter in read]


def done(playground: Playground, worker: Worker, records: int) -> None:
    playground.turn_until(lambda: worker.watch.handled == records and not worker.watch.pending)


def redrive_all(playground: Playground) -> int:
    told = CliRunner().invoke(
        main,
        ["deadletters", "redrive", "--group", playground.group, "--all", "--by", "ana", "--reason", "why", "--json"],
        env={"KAFKA_BOOTSTRAP_SERVERS": playground.bootstrap},
        prog_name="saga",
    )
    assert told.exit_code == 0, told.output
    return len([json.loads(line) for line in told.stdout.splitlines()])


def test_what_lies_elsewhere_is_a_dead_letter_once_and_the_rest_is_handled(strict: Playground) -> None:
    """It names the key, where it lies and where it belongs; good records before and behind it are answered once."""
    worker = strict.worker()
    for shifted in (0, 1, 0):
        pings(strict, 2, shifted)
    done(strict, worker, 120)
    assert strict.tallies() == dict.fromkeys(NAMES, 2)
    strict.assert_exactly_once(80)
    dead = letters(strict)
    assert Counter(letter["dlq_reason"] for letter in dead) == {"wrong_partition": 40}
    assert len({(letter["dlq_partition"], letter["dlq_offset"]) for letter in dead}) == 40
    homes = {name.encode(): murmur2(name.encode(), 2) for name in NAMES}
    assert {letter["dlq_error"].split(".")[0] for letter in dead} == {
        f"the key {key.decode()!r} is in partition {1 - home}, but belongs in {home} of 2"
        for key, home in homes.items()
    }


def test_a_redriven_one_is_refused_again_until_workers_handle_it_anywhere(strict: Playground) -> None:
    """Its resolution lies right, but that is not what is judged. Then each is handled once, at its old address."""
    worker = strict.worker()
    pings(strict, 2, 1)
    done(strict, worker, 40)
    assert redrive_all(strict) == 40
    done(strict, worker, 80)
    assert Counter(letter["dlq_attempts"] for letter in letters(strict)) == {"1": 40, "2": 40}
    assert strict.pongs() == []
    strict.workers.remove(worker)
    worker.engine.close()
    strict.tuning = replace(strict.tuning, keys_placed_over=None)
    lenient = strict.worker()
    assert redrive_all(strict) == 40
    done(strict, lenient, 40)
    assert len(letters(strict)) == 80
    strict.assert_exactly_once(40)
    causes = {dict(pong.headers())["ce_causationid"].decode() for pong in strict.pongs()}
    address = ("dlq_topic", "dlq_partition", "dlq_offset")
    assert causes == {"/".join(letter[name] for name in address) for letter in letters(strict)}


def test_partitions_that_are_added_make_no_good_record_bad(strict: Playground) -> None:
    """Neither what was placed by the old number nor by the new, for a worker that knew the old one, and for another."""
    worker = strict.worker(topic_metadata_refresh_interval_ms="500")
    pings(strict, 2)
    done(strict, worker, 40)
    strict.admin.grow(["ping"], 5)
    pings(strict, 2)
    pings(strict, 5)
    done(strict, worker, 120)
    strict.workers.remove(worker)
    worker.engine.close()
    pings(strict, 2)
    pings(strict, 5)
    pings(strict, 3)
    done(strict, strict.worker("another"), 120)
    assert strict.tallies() == dict.fromkeys(NAMES, 6)
    assert letters(strict) == []


def test_a_record_waits_while_nobody_says_how_many_partitions_there_are(
    strict: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither handled nor refused meanwhile; what lies before it goes on."""
    worker = strict.worker()
    pings(strict, 2)
    done(strict, worker, 40)
    away, there = [True], worker.log.partitions

    def asked(topic: str) -> int:
        if away[0]:
            raise LogUnavailable(f"the topic {topic}: no answer")
        return there(topic)

    monkeypatch.setattr(worker.log, "partitions", asked)
    pings(strict, 2, 1)
    waited: Any = "the topic ping: no answer"
    strict.turn_until(lambda: worker.watch.doubts.count(waited) > 2)
    assert (worker.watch.handled, letters(strict)) == (40, [])
    away[0] = False
    done(strict, worker, 80)
    assert len(letters(strict)) == 40
    assert strict.tallies() == dict.fromkeys(NAMES, 1)
