"""A dead letter that is redriven is handled once, by the group that refused it, and leaves a trace."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Message, Producer

from eventbus import PoisonRecord, WorkingSet, reacts_to
from eventbus.engine.config import EngineConfig
from eventbus.log import RESOLUTIONS, Output
from saga.__main__ import main
from saga.deadletters import resolve as resolving
from tests.support.engines import CODEC, Playground, Worker
from tests.support.engines.sample import Pang, Ping, PingService, Pong, Tally, _count
from tests.support.saga.processes import PATIENCE

MANY = int(os.environ.get("REDRIVEN", "2000"))
LONG = PATIENCE + MANY / 50
"""Seconds."""
WHO = ("--by", "ana", "--reason", "mended, INC-7")


class Choosy(PingService):
    """Takes no ping above its limit, which a deployment may raise."""

    limit = 0
    broken = False

    @reacts_to(Pang)
    def count_pang(self, pang: Pang, tallies: WorkingSet[Tally]) -> Pong:
        if self.broken:
            raise RuntimeError("a mistake in the code")
        return _count(pang, tallies)

    @reacts_to(Ping)
    def count_ping(self, ping: Ping, tallies: WorkingSet[Tally]) -> Pong:
        if ping.number > self.limit:
            raise PoisonRecord("contradiction", f"the number {ping.number} is above {self.limit}")
        return _count(ping, tallies)


@pytest.fixture
def choosy(playground: Playground) -> Playground:
    """A playground whose service refuses every ping until `mend`, and reads its resolutions; on both databases."""
    return made_choosy(playground)


@pytest.fixture
def choosy_on_sqlite(sqlite_playground: Playground) -> Playground:
    """The same where the database makes no difference."""
    return made_choosy(sqlite_playground)


def made_choosy(playground: Playground) -> Playground:
    class OfThisTest(Choosy):
        """With a group and a limit of its own."""

    playground.make_service = OfThisTest
    playground.redrives = True
    playground.tuning = EngineConfig(prune_after=0.2, dead_letters=10 * MANY, retry_most=0.5)
    return playground


def mend(worker: Worker, limit: int = 10) -> None:
    type(worker.engine._service).limit = limit


def saga(playground: Playground, *arguments: str) -> Result:
    return CliRunner().invoke(
        main,
        ["deadletters", *arguments],
        env={"KAFKA_BOOTSTRAP_SERVERS": playground.bootstrap, "SAGA_BY": None},
        prog_name="saga",
    )


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def listed(playground: Playground, *arguments: str) -> list[dict[str, Any]]:
    result = saga(playground, "list", "--group", playground.group, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def redrive(playground: Playground, *arguments: str) -> list[dict[str, Any]]:
    return lines(saga(playground, "redrive", "--group", playground.group, *WHO, "--json", *arguments))


def ping(playground: Playground, *numbers: int) -> None:
    names = [(f"name-{index}", number) for index, number in enumerate(numbers)]
    playground.admin.produce_many(
        Output("ping", name.encode(), CODEC.encode(Ping(name, number)), [("theirs", b"\xff")]) for name, number in names
    )


def dead(playground: Playground) -> list[Message]:
    return playground.admin.read(f"{playground.group}.dead-letters")


def settle(playground: Playground, letters: int, pongs: int) -> None:
    """Look only now and then: to read two topics takes seconds, in which nobody turns."""
    turns = itertools.count(1)
    playground.turn_until(
        lambda: next(turns) % 20 == 0 and len(dead(playground)) == letters and len(playground.pongs()) == pongs
    )


def test_a_redriven_record_is_handled_once_as_if_it_had_just_come(choosy: Playground) -> None:
    """Its answer names the original as its cause, so it is the same forever; a second redrive finds nothing to do."""
    worker = choosy.worker()
    ping(choosy, 5, 6, 7)
    settle(choosy, 3, 0)
    mend(worker)
    told = redrive(choosy, "--all")
    assert {line["status"] for line in told} == {"redriven"}
    settle(choosy, 3, 3)
    causes = {dict(pong.headers())["ce_causationid"].decode() for pong in choosy.pongs()}
    assert causes == {line["record"] for line in told}
    assert redrive(choosy, "--all") == listed(choosy) == []
    again = saga(choosy, "redrive", told[0]["letter"], *WHO)
    assert again.exit_code == 1
    assert "was redriven by ana at" in again.stderr
    assert "mended, INC-7" in again.stderr
    assert {(row["status"], row["by"], row["why"]) for row in listed(choosy, "--all")} == {
        ("redriven", "ana", "mended, INC-7")
    }
    for line in saga(choosy, "list", "--group", choosy.group, "--all").stdout.splitlines():
        assert re.search(r"/\d+  redriven \d{4}-\S+Z by ana: mended, INC-7  ping/\d+/\d+  1 attempt, ", line)


def test_what_is_still_bad_is_a_new_dead_letter_with_one_attempt_more(choosy: Playground) -> None:
    """The same record from the same place, first refused when it first was; redriven again it is handled."""
    worker = choosy.worker()
    ping(choosy, 5)
    settle(choosy, 1, 0)
    [first] = listed(choosy)
    redrive(choosy, first["letter"])
    settle(choosy, 2, 0)
    [second] = listed(choosy)
    kept = ("record", "key", "reason", "error", "written", "first")
    assert {name: second[name] for name in kept} == {name: first[name] for name in kept}
    assert (first["attempts"], second["attempts"]) == (1, 2)
    assert second["last"] > second["first"] == first["last"]
    letters = {f"{m.topic()}/{m.partition()}/{m.offset()}": m for m in dead(choosy)}
    one, two = letters[first["letter"]], letters[second["letter"]]
    assert (one.key(), one.value(), one.headers()[0]) == (two.key(), two.value(), ("theirs", b"\xff"))
    assert [name for name, _ in two.headers()].count("theirs") == 1
    assert dict(two.headers())["dlq_by"] == b"ana"
    mend(worker)
    redrive(choosy, second["letter"])
    settle(choosy, 2, 1)
    assert listed(choosy) == []


def test_what_is_redriven_waits_behind_the_fence_of_its_key(choosy: Playground) -> None:
    """It comes back to a key on whose event a handler raises: answered after that, once, and no other key waits."""
    worker = choosy.worker()
    service: Any = worker.engine._service
    ping(choosy, 5, 6)
    settle(choosy, 2, 0)
    service.broken = True
    choosy.admin.produce_many([Output("pang", b"name-0", CODEC.encode(Pang("name-0", 1)), [])])
    choosy.turn_until(lambda: choosy.sql("select key from fence") == [("name-0",)])
    mend(worker)
    assert len(redrive(choosy, "--all")) == 2
    resolutions = f"{choosy.group}{RESOLUTIONS}"
    parked = "select topic from parked where key = 'name-0' order by position"
    choosy.turn_until(lambda: choosy.sql(parked) == [("pang",), (resolutions,)])
    settle(choosy, 2, 1)
    assert choosy.pongs()[0].key() == b"name-1"
    service.broken = False
    settle(choosy, 2, 3)
    answered = [CODEC.decode("pong", m.key(), m.value()) for m in choosy.pongs() if m.key() == b"name-0"]
    assert [(pong.number, pong.times) for pong in answered] == [(1, 1), (5, 2)]
    assert choosy.sql("select key from parked") == choosy.sql("select key from fence") == listed(choosy) == []


def test_a_discarded_one_is_no_longer_open_and_nothing_happens(choosy_on_sqlite: Playground) -> None:
    """Only those that are meant: by what is wrong with them, or by name."""
    worker = choosy_on_sqlite.worker()
    ping(choosy_on_sqlite, 5, 6, 77)
    settle(choosy_on_sqlite, 3, 0)
    mend(worker)
    where = ("--group", choosy_on_sqlite.group, "--where", "error=number 77", "--limit", "1")
    [line] = lines(saga(choosy_on_sqlite, "redrive", *where, "--dry-run", "--json"))  # nobody has to say why
    assert line["status"] == "would be redriven"
    assert line in lines(saga(choosy_on_sqlite, "redrive", "--dry-run", *where, *WHO, "--json"))
    discard = saga(choosy_on_sqlite, "discard", "--group", choosy_on_sqlite.group, "--where", "error=number 77", *WHO)
    assert (discard.exit_code, discard.stdout[:10]) == (0, "discarded ")
    assert len(redrive(choosy_on_sqlite, "--where", "reason=contradiction", "--limit", "1")) == 1
    assert len(redrive(choosy_on_sqlite, "--all")) == 1
    settle(choosy_on_sqlite, 3, 2)
    statuses = Counter(row["status"] for row in listed(choosy_on_sqlite, "--all"))
    assert statuses == {"redriven": 2, "discarded": 1}
    shown = json.loads(saga(choosy_on_sqlite, "show", listed(choosy_on_sqlite, "--all")[0]["letter"]).stdout)
    assert shown["headers"]["theirs"] == "base64:/w=="


def test_many_are_redriven_once_each_though_it_is_interrupted(
    choosy: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in the middle, somebody else takes over from a third who is still at it, and each is handled once.

    Prints how fast that is: REDRIVEN says how many letters there are.
    """
    worker = choosy.worker()
    choosy.send([5] * MANY)
    choosy.turn_until(lambda: worker.watch.handled == MANY, LONG)
    choosy.turn_until(lambda: len(dead(choosy)) == MANY, LONG)
    mend(worker)
    where = resolving.LetterTarget(choosy.bootstrap, {})
    order = resolving.ResolveRequest(
        where, resolving.LetterSelection(group=choosy.group), resolving.REDRIVE, by="bob", why="a", limit=None
    )
    started = resolving.resolve(order, dry_run=False, tell=print)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(resolving, "AT_ONCE", 100)
        before = [next(started) for _ in range(250)]
    begun = time.monotonic()
    assert len(redrive(choosy, "--all")) == MANY - 300
    resolving_took = (time.monotonic() - begun) / (MANY - 300)
    with pytest.raises(resolving.Unresolved, match="another process"):
        before.extend(started)
    assert len(before) == 300
    begun = time.monotonic()
    choosy.turn_until(lambda: worker.watch.handled >= 2 * MANY, LONG)
    handling_took = (time.monotonic() - begun) / MANY
    print(
        f"\n{MANY:,} letters redriven: {1 / (resolving_took + handling_took):,.0f} letters/s"
        f" ({1 / resolving_took:,.0f} resolved a second, {1 / handling_took:,.0f} then handled a second by one worker)"
    )
    choosy.turn_until(lambda: len(choosy.pongs()) >= MANY, LONG)
    ids = Counter(dict(pong.headers())["ce_id"] for pong in choosy.pongs())
    assert set(ids.values()) == {1}
    assert choosy.tallied() == MANY


def test_what_nobody_resolved_brings_nothing_back(choosy_on_sqlite: Playground) -> None:
    """Whoever writes to the topic of resolutions what is none, or about a topic of others, makes dead letters."""
    choosy_on_sqlite.worker()
    place = [("dlq_partition", b"0"), ("dlq_offset", b"0"), ("dlq_timestamp", b"0"), ("dlq_action", b"redrive")]
    value = CODEC.encode(Ping("a", 0))
    forged = [
        [],
        [("dlq_topic", b"ping")],
        [("dlq_topic", b"ping"), *place[:-1]],
        [("dlq_topic", b"ping"), *place[:1], ("dlq_offset", b"x"), *place[2:]],
        [("dlq_topic", b"pong"), *place],
        [("dlq_topic", b"\xff"), *place],
        [("dlq_topic", f"{choosy_on_sqlite.group}{RESOLUTIONS}".encode()), *place],
    ]
    choosy_on_sqlite.admin.produce_many(
        Output(f"{choosy_on_sqlite.group}{RESOLUTIONS}", b"a", value, headers) for headers in forged
    )
    ping(choosy_on_sqlite, 0)
    settle(choosy_on_sqlite, len(forged), 1)
    reasons = Counter(dict(letter.headers())["dlq_reason"] for letter in dead(choosy_on_sqlite))
    assert reasons == {b"not_a_resolution": 5, b"unknown_topic": 2}


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["redrive", "--all", "--by", "ana"], 2, "Missing option '--reason'"),
        (["redrive", "--all", "--reason", "x"], 2, "Missing option '--by'"),
        (["skip", "ping", "0", "0", "--group", "GROUP", "--reason", "x"], 2, "Missing option '--by'"),
        (["redrive", "--all", "--by", " ", "--reason", "x"], 2, "must not be blank"),
        (["redrive", *WHO], 2, "no dead letters selected"),
        (["redrive", *WHO, "--where", "size=3"], 2, "error=TEXT"),
        (["redrive", *WHO, "17"], 2, "GROUP.dead-letters/PARTITION/OFFSET"),
        (["redrive", *WHO, "a.dead-letters/0/0", "b.dead-letters/0/0"], 2, "must be of one group"),
        (["show", "nobody.dead-letters/0/0"], 1, "the topic 'nobody.dead-letters' does not exist"),
        (["discard", *WHO, "GROUP.dead-letters/0/99"], 1, "does not exist; `saga deadletters list`"),
    ],
)
def test_what_is_asked_wrongly_is_refused_and_nothing_is_written(
    choosy_on_sqlite: Playground, arguments: list[str], code: int, why: str
) -> None:
    """With the name, the value, and what to do."""
    result = saga(
        choosy_on_sqlite, *(argument.replace("GROUP.d", f"{choosy_on_sqlite.group}.d") for argument in arguments)
    )
    assert (result.exit_code, why in result.stderr) == (code, True), result.stderr
    assert choosy_on_sqlite.admin.read(f"{choosy_on_sqlite.group}{RESOLUTIONS}") == []


def test_what_was_resolved_behind_an_undecided_transaction_is_not_resolved_again(
    choosy_on_sqlite: Playground,
) -> None:
    """A worker that dies while it publishes what was skipped leaves one: behind it nobody can read what was decided."""
    playground = choosy_on_sqlite
    playground.worker()
    ping(playground, 5, 6)
    settle(playground, 2, 0)
    worker = Producer({"bootstrap.servers": playground.bootstrap, "transactional.id": f"{playground.group}-dying"})
    worker.init_transactions(PATIENCE)
    worker.begin_transaction()
    for number in range(playground.partitions):
        worker.produce(f"{playground.group}{RESOLUTIONS}", None, partition=number, headers={"dlq_action": b"skip"})
    assert worker.flush(PATIENCE) == 0
    with ThreadPoolExecutor(1) as somebody:
        first = somebody.submit(redrive, playground, "--all")
        with pytest.raises(TimeoutError):
            first.result(3)
        worker.commit_transaction(PATIENCE)
        assert len(first.result(PATIENCE)) == 2
    assert redrive(playground, "--all") == []
