"""`<service> parked`: what is parked is seen, tried again at once, or given up, and who did it stays on record."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eventbus import Codec, PoisonRecord
from eventbus.database import Database, connect
from eventbus.deadletters.letter import dead_letter
from eventbus.deadletters.resolutions import REDRIVE, AuditNote, resolution
from eventbus.log import Partition, Record, to_iso
from eventbus.serde.registry import registry_at
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey, Parked
from inventory_service.__main__ import main
from inventory_service.repository import SCHEMA
from inventory_service.service import InventoryService
from schemas import EVENTS, Item, OrderCreated, PaymentCharged
from tests.support.registries.small_registry import SmallRegistry

CODEC = Codec(registry_at(None, EVENTS), EVENTS)
URL = "sqlite:///inventory_service.db"
NOW = 1_700_000_000_000
WHO = ("--by", "ada", "--reason", "a test order")
Run = Callable[..., Result]


def opened() -> Database:
    return connect(URL, service=InventoryService.name, schema=SCHEMA)


def record(event: Any, offset: int) -> Record:
    return Record(Partition(event.topic, 1), offset, event.key.encode(), CODEC.encode(event), NOW, [("a", b"1")])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Three orders are parked: a and b with two events for one reason, c with one for another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INVENTORY_SERVICE_DATABASE", raising=False)
    monkeypatch.delenv("SAGA_BY", raising=False)
    monkeypatch.delenv("SCHEMA_REGISTRY_URL", raising=False)
    blocks = {
        key: BlockedKey(key, "order.created", 1, 3, 3 + (key != "c"), 7, NOW, NOW + 60_000, error)
        for key, error in (("a", "ValueError: no"), ("b", "ValueError: no"), ("c", "IntegrityError: \0\ud800"))
    }
    with closing(opened()) as database, database.transaction() as tx:
        for number, (key, each) in enumerate(blocks.items()):
            created = OrderCreated(key, "ann", 100, "USD", (Item("x", 1),))
            blocked_keys.append(tx, [Parked(key, 3, record(created, 10 + number))])
            if each.records > 1:
                blocked_keys.append(tx, [Parked(key, 4, record(PaymentCharged(key, "p", 100, "USD"), 20 + number))])
        blocked_keys.change(
            tx, {}, {key: each._replace(error=blocked_keys.storable(each.error)) for key, each in blocks.items()}
        )
    return lambda *arguments: CliRunner().invoke(main, arguments)


def listed(run: Run, *arguments: str) -> list[str]:
    return [each["key"] for each in json.loads(run("parked", "list", "--json", *arguments).stdout)]


def test_a_blocked_key_is_named_by_how_it_begins(run: Run) -> None:
    """Wherever a key is taken; nothing is done where it means several."""
    with closing(opened()) as database, database.transaction() as tx:
        found = blocked_keys.blocking(tx, ["c"])["c"]
        renamed = {key: found._replace(key=key) for key in ("long-1-key", "long-2-key")}
        blocked_keys.change(tx, {}, renamed)
    assert run("parked", "show", "long-1").stdout.startswith("long-1-key  parked since")
    assert "several ids: long-1-key, long-2-key" in run("parked", "discard", "long-", *WHO).stderr
    assert run("parked", "retry", "long-2", *WHO, "--dry-run").stdout.startswith("long-2-key")


def left(key: str) -> list[str]:
    with closing(opened()) as database, database.snapshot() as tx:
        return [topic for (topic,) in tx.rows("select topic from parked where key = ? order by position", key)]


def test_what_is_parked_is_listed_with_the_reason(run: Run) -> None:
    """For people and for scripts; all of it, or where the error says something."""
    assert listed(run) == ["a", "b", "c"]
    assert listed(run, "--where", "error=Integrity") == ["c"]
    assert listed(run, "--where", "topic=order.created", "--where", "key=b") == ["b"]
    assert listed(run, "--where", "error=Error", "--where", "error=no") == ["a", "b"]
    [line] = run("parked", "list", "--where", "key=c").stdout.splitlines()
    assert "parked since 2023-11-14T22:13:20.000Z, 1 record, tried 7 times" in line
    assert r"IntegrityError: \0\ud800" in line


def test_the_events_that_wait_are_shown(run: Run) -> None:
    """With where they lie on the log and what they say; also beside an order that is not known yet."""
    storable = json.loads(run("parked", "show", "a", "--json").stdout)
    assert [each["address"] for each in storable["waiting"]] == ["order.created/1/10", "payment.charged/1/20"]
    assert storable["waiting"][0]["event"]["items"] == [{"sku": "x", "quantity": 1}]
    _, created, charged = run("parked", "show", "a").stdout.splitlines()
    assert re.fullmatch(
        r"order\.created/1/10  \S+Z  order_id a; customer_id ann; total 1\.00 USD; currency USD; items 1 x x;"
        r" request_id ''; cancel_at_ms none",
        created,
    )
    assert re.fullmatch(
        r"payment\.charged/1/20  \S+Z  order_id a; payment_id p; amount 1\.00 USD; currency USD", charged
    )
    unknown = run("show", "a")
    assert unknown.exit_code == 1
    assert "it is parked since 2023-11-14" in unknown.stderr
    assert run("parked", "show", "nobody").exit_code == 1


def test_a_redriven_event_is_shown_as_what_it_brings_back(run: Run) -> None:
    """Read as a worker reads it; a timestamp beyond all calendars is no reason to show nothing."""
    original = record(OrderCreated("d", "ann", 100, "USD", (Item("x", 1),)), 30)._replace(timestamp_ms=10**18)
    letters = InventoryService.dead_letters()
    letter = dead_letter(letters, InventoryService.name, original, PoisonRecord("contradiction", "no"), NOW)
    lies = Record(Partition(letters, 0), 5, letter.key, letter.value, NOW, letter.headers)
    brings = resolution(InventoryService.resolutions(), lies, REDRIVE, AuditNote("ada", "mended", NOW))
    waiting = Record(Partition(brings.topic, 0), 2, brings.key, brings.value, 10**18, brings.headers)
    with closing(opened()) as database, database.transaction() as tx:
        blocked_keys.append(tx, [Parked("d", 0, waiting)])
        blocked_keys.change(tx, {}, {"d": BlockedKey("d", brings.topic, 0, 0, 0, 1, NOW, NOW, "ValueError: no")})
    [storable] = json.loads(run("parked", "show", "d", "--json").stdout)["waiting"]
    assert storable["event"]["items"] == [{"sku": "x", "quantity": 1}]
    assert storable["timestamp"] == "1000000000000000000"


def test_an_event_with_a_registrys_schema_id_is_shown_by_asking_the_registry(run: Run) -> None:
    """Without its URL, as bytes and why; with a registry that is away, one sentence."""
    registry = SmallRegistry().start()
    for event in EVENTS:
        registry.register(f"{event.topic}-value", event.schema_text)
    value = Codec(registry_at(registry.url, EVENTS), EVENTS).encode(PaymentCharged("e", "p", 100, "USD"))
    waiting = Record(Partition("payment.charged", 1), 9, b"e", value, NOW, [])
    with closing(opened()) as database, database.transaction() as tx:
        blocked_keys.append(tx, [Parked("e", 0, waiting)])
        blocked_keys.change(tx, {}, {"e": BlockedKey("e", "payment.charged", 1, 0, 0, 1, NOW, NOW, "ValueError: no")})
    show = ("parked", "show", "e", "--json")
    asked = (*show, "--schema-registry-url", registry.url)
    assert json.loads(run(*asked).stdout)["waiting"][0]["event"]["amount"] == 100
    assert "no released schema has the id" in json.loads(run(*show).stdout)["waiting"][0]["event"]
    registry.stop()
    away = run(*asked)
    assert (away.exit_code, away.stderr.count("\n")) == (1, 1)
    assert "schema registry" in away.stderr


def test_a_retry_makes_it_due_and_says_who_did_it(run: Run) -> None:
    """The workers try what is due."""
    done = run("parked", "retry", "a", *WHO)
    assert done.exit_code == 0
    assert "(was parked: " in done.stdout
    assert done.stderr == "1 of 1 key done; workers try them at once, and `parked list` shows what fails again\n"
    by_key = {each["key"]: each["retry_at"] for each in json.loads(run("parked", "list", "--json").stdout)}
    assert by_key["a"] > by_key["b"] == "2023-11-14T22:14:20.000Z"
    [note] = json.loads(run("parked", "history", "--json").stdout)
    assert (note["action"], note["key"], note["address"]) == ("retry", "a", "order.created/1/10")
    assert (note["by"], note["reason"]) == ("ada", "a test order")


def test_what_is_given_up_is_kept_on_record_and_the_rest_goes_on(run: Run) -> None:
    """The first event, on which the handler raises, or all of them."""
    assert run("parked", "discard", "a", *WHO).exit_code == 0
    assert left("a") == ["payment.charged"]
    assert run("parked", "discard", "b", "--all-events", *WHO).exit_code == 0
    assert left("b") == []
    assert listed(run) == ["a", "c"]
    notes = json.loads(run("parked", "history", "--json").stdout)
    assert [(n["action"], n["address"], n["by"], n["reason"]) for n in notes] == [
        ("discard", address, "ada", "a test order")
        for address in ("order.created/1/10", "order.created/1/11", "payment.charged/1/21")
    ]
    with closing(opened()) as database, database.snapshot() as tx:
        [(kept,)] = tx.rows("select record from intervention where address = 'order.created/1/10'")
    assert kept == blocked_keys.pack(record(OrderCreated("a", "ann", 100, "USD", (Item("x", 1),)), 10))


def test_many_at_once_are_limited_shown_before_and_done_one_by_one(run: Run) -> None:
    """One line each; run again, it goes on with what is left."""
    for act in ("retry", "discard"):
        dry = run("parked", act, "--where", "error=ValueError", "--dry-run")
        assert [line[0] for line in dry.stdout.splitlines()] == ["a", "b"]
        assert run("parked", act, "--dry-run", "a").exit_code == 0
    assert listed(run) == ["a", "b", "c"]
    for key in ("a", "b"):
        done = run("parked", "discard", "--where", "error=ValueError", "--all-events", "--limit", "1", *WHO)
        assert all(f"  discard  {key}  " in line for line in done.stdout.splitlines())
        assert len(done.stdout.splitlines()) == 2
    assert listed(run) == ["c"]


def test_what_was_written_by_a_clock_that_was_ahead_is_said_to_be_tried_now(run: Run) -> None:
    """The workers do so: no retry is put off for more than a minute. The same after `retry`, which writes no time."""
    hour_ahead = time.time_ns() // 1_000_000 + 3_600_000
    with closing(opened()) as database, database.transaction() as tx:
        known = blocked_keys.blocking(tx, ["c"])
        blocked_keys.change(tx, known, {"c": known["c"]._replace(since_ms=hour_ahead, retry_at_ms=hour_ahead)})
    [line] = run("parked", "list", "--where", "key=c").stdout.splitlines()
    assert f"parked since {to_iso(hour_ahead)} (by a clock that was ahead), 1 record" in line
    assert run("parked", "retry", "a", *WHO).exit_code == 0
    now = to_iso(time.time_ns() // 1_000_000)
    for each in json.loads(run("parked", "list", "--json").stdout):
        assert now[:10] == each["retry_at"][:10] or each["key"] == "b"
        assert each["retry_at"] <= to_iso(time.time_ns() // 1_000_000)


def test_a_second_run_with_a_limit_takes_the_others(run: Run) -> None:
    """Also when what was retried first has failed again by then, and is to be tried before them."""
    retried = []
    for _ in range(4):
        done = run("parked", "retry", "--where", "topic=order.created", "--limit", "1", *WHO)
        [note] = [line.split("  ") for line in done.stdout.splitlines()]
        retried.append(note[2])
        with closing(opened()) as database, database.transaction() as tx:
            known = blocked_keys.blocking(tx, [retried[-1]])
            again = {key: each._replace(attempts=8, retry_at_ms=NOW + 1) for key, each in known.items()}
            blocked_keys.change(tx, known, again)
    assert retried == ["a", "b", "c", "a"]


def test_those_that_are_tried_next_are_the_first_within_a_limit(run: Run) -> None:
    """Where nobody has intervened yet."""
    with closing(opened()) as database, database.transaction() as tx:
        known = blocked_keys.blocking(tx, ["c"])
        blocked_keys.change(tx, known, {"c": known["c"]._replace(retry_at_ms=NOW)})
    dry = run("parked", "retry", "--where", "topic=order.created", "--limit", "2", "--dry-run")
    assert [line[0] for line in dry.stdout.splitlines()] == ["c", "a"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *(
            (("parked", act, "a", *said), why)
            for act in ("retry", "discard")
            for said, why in (
                ((), "Missing option '--by'"),
                (("--by", "ada"), "Missing option '--reason'"),
                (("--by", " ", "--reason", "a test order"), "'--by' (env var: 'SAGA_BY'): must not be blank"),
                (
                    ("--by", "a" * 201, "--reason", "a test order"),
                    "must not be blank, and at most 200 characters long (it has 201)",
                ),
                (
                    ("--by", "ada", "--reason", "a" * 1_001),
                    "'--reason': must not be blank, and at most 1,000 characters",
                ),
            )
        ),
        (("parked", "retry", *WHO), "give a KEY, or --where error=TEXT"),
        (("parked", "list", "--where", "colour=red"), "'colour=red' is not one of error=TEXT, topic=TEXT, key=TEXT"),
        (("parked", "discard", "--where", "error=", *WHO), "'error=' is not one of error=TEXT, topic=TEXT, key=TEXT"),
    ],
)
def test_bad_usage_is_named(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, and nothing is done."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    "command", [("list",), ("show", "a"), ("retry", "a", *WHO), ("discard", "a", *WHO), ("history",)]
)
@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            None,
            "error: the database of inventory-service is not at sqlite:///wrong.db: run this where the services run",
        ),
        (
            b"",
            "error: sqlite:///wrong.db: the database is empty, it has no tables of inventory-service",
        ),
        (b"no database" * 100, "error: sqlite:///wrong.db: wrong.db is not a SQLite file"),
    ],
)
def test_only_a_database_that_is_there_is_opened(
    run: Run, command: tuple[str, ...], file: bytes | None, said: str
) -> None:
    """Who looks into the wrong place is told so, not that nothing is parked; and nothing is made there."""
    wrong = Path("wrong.db")
    if file is not None:
        wrong.write_bytes(file)
    result = run("parked", *command, "--database", "sqlite:///wrong.db")
    assert (result.exit_code, result.stdout, said in result.stderr) == (1, "", True), result.stderr
    assert wrong.exists() == (file is not None)


def test_where_nothing_is_parked_one_line_says_so(run: Run) -> None:
    """On stderr, with the database; with a filter, that no key matches it."""
    none = "no matching key is blocked in sqlite:///inventory_service.db\n"
    for command in (("list",), ("retry", *WHO), ("discard", *WHO), ("discard", "--dry-run")):
        result = run("parked", *command, "--where", "error=KeyError")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", none)
    result = run("parked", "history")
    nobody = "nothing was retried or discarded in sqlite:///inventory_service.db\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", nobody)
    run("parked", "discard", "a", "b", "c", "--all-events", *WHO)
    result = run("parked", "list", "--json")
    said = "no key is blocked in sqlite:///inventory_service.db\n"
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (0, [], said)


def test_who_may_be_said_by_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAGA_BY, as for dead letters; what the command says itself goes first."""
    monkeypatch.setenv("SAGA_BY", "eve")
    assert run("parked", "retry", "a", "--reason", "mended").exit_code == 0
    assert run("parked", "discard", "b", *WHO).exit_code == 0
    notes = json.loads(run("parked", "history", "--json").stdout)
    assert [(note["action"], note["by"], note["reason"]) for note in notes] == [
        ("retry", "eve", "mended"),
        ("discard", "ada", "a test order"),
    ]


def test_an_unknown_key_among_others_stops_everything(run: Run) -> None:
    """A slip of the pen must not do half of what was meant."""
    result = run("parked", "discard", "a", "nobody", *WHO)
    assert result.exit_code == 1
    assert "not blocked in sqlite:///inventory_service.db: nobody; nothing was done" in result.stderr
    assert listed(run) == ["a", "b", "c"]
