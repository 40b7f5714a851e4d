"""The commands that read the tracker's database: what they find, refuse and print, without a broker."""

from __future__ import annotations

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saga.__main__ import main
from saga.tracker.exclusive_lock import exclusive_lock
from saga.tracker.fold import KINDS
from saga.tracker.installed import MODEL
from saga.tracker.intake import Batch
from saga.tracker.moments import Duration, Moment, Seconds, span
from saga.tracker.queries import Tracked
from saga.tracker.sentences import Sentences
from saga.tracker.store import AnotherTracker, NotATracker, Store
from saga.tracker.timeline import timeline
from saga.tracker.why import explain
from schemas import EVENTS as TYPES
from tests.support.models.saga_model import (
    CANCELLED,
    CHARGED,
    CONFIRMED,
    CREATED,
    FAILED,
    REFUNDED,
    RELEASED,
    RESERVED,
    SHORT,
)
from tests.support.models.tracked import of_order, stored, tracked_events

ROOT = Path(__file__).parents[3]
EVENTS = tracked_events(12)
REFUNDED_ORDER = of_order(EVENTS, CREATED, CHARGED, SHORT, CANCELLED, REFUNDED)
OPEN_ORDER = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)
TRACKED = [event for event in EVENTS if event not in OPEN_ORDER[2:]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A tracker's database of twelve orders, of which one waits for inventory."""
    stored(tmp_path / "tracker.db", TRACKED).close()
    return tmp_path / "tracker.db"


def saga(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments], env={"SAGA_TRACKER": str(file)})


def ask(file: Path, *arguments: str) -> Any:
    result = saga(file, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def found(file: Path, *arguments: str) -> set[str]:
    return {order["order_id"] for order in ask(file, "orders", *arguments)}


def having(*topics: str) -> set[str]:
    """Return the orders that have all these events."""
    there: dict[str, set[str]] = {}
    for event in TRACKED:
        there.setdefault(event.order_id, set()).add(event.topic)
    return {order_id for order_id, events in there.items() if events >= set(topics)}


def test_an_order_is_followed_until_nothing_more_is_due(file):
    """What is there at once, then each event as the tracker takes it in, once; then it ends by itself."""
    with ThreadPoolExecutor(1) as somebody:
        following = somebody.submit(saga, file, "show", OPEN_ORDER[0].order_id, "--follow")
        with pytest.raises(TimeoutError):
            following.result(1)
        stored(file, OPEN_ORDER[2:]).close()
        followed = following.result(20)
    assert followed.exit_code == 0, followed.output
    told = [address for address in (event.address for event in OPEN_ORDER) if followed.stdout.count(address)]
    assert told == [event.address for event in OPEN_ORDER]
    assert followed.stdout.endswith("confirmed; nothing more is due\n")


def test_orders_are_found_by_each_filter(file):
    """By status, by where they failed (event or service), by whom they wait for, by customer, and together."""
    waiting = {OPEN_ORDER[0].order_id}
    assert found(file) == having(CREATED)
    assert found(file, "--undone", "refunded") == having(REFUNDED)
    assert found(file, "--status", "cancelled") == having(CANCELLED)
    assert found(file, "--undone", "refunded", "--status", "confirmed") == set()
    assert found(file, "--failed-at", "payment-service") == having(FAILED)
    assert found(file, "--failed-at", "inventory.reservation.failed") == having(SHORT)
    assert found(file, "--waiting-on", "inventory-service") == found(file, "--stuck", "--older-than", "1h") == waiting
    assert found(file, "--waiting-on", "payment-service") == set()
    assert found(file, "--customer", "anna", "--status", "pending") == waiting
    assert found(file, "--customer", "nobody") == found(file, "--since", "1h") == set()
    assert len(found(file, "--limit", "3")) == 3
    placed = [order["placed_at"] for order in ask(file, "orders")]
    assert placed == sorted(placed, reverse=True)


def test_an_order_is_found_by_how_its_id_begins_or_ends(file):
    """By every command about one; an end of four characters or more. What means several orders is refused."""
    ids = [f"0198c4e{number}-8f3a-7cc2-{number:04}" for number in range(7)]
    placed = REFUNDED_ORDER[0]
    stored(file, [placed._replace(order_id=each, offset=7_000 + n) for n, each in enumerate(ids)]).close()
    for given in (ids[3], "0198c4e3", "0003", "7cc2-0003"):
        assert ask(file, "show", given)["order"]["order_id"] == ids[3]
        assert ask(file, "why", given)["chain"][0]["address"] == f"{placed.topic}/{placed.partition}/7003"
        assert saga(file, "violations", "--order", given).stdout == "none\n"
    for command in ("show", "why"):
        refused = saga(file, command, "0198")
        assert refused.exit_code == 1
        assert f"several ids: {', '.join(ids[:5])}, …; type more" in refused.stderr
    assert "no id begins with '003'; of an id's end, type 4 characters" in saga(file, "show", "003").stderr


def test_a_list_that_stops_at_the_limit_says_so(file):
    """On stderr, so that what is printed stays data; not where there are no more."""
    for form in ((), ("--json",)):
        assert "11 orders listed, there are more: raise --limit" in saga(file, "orders", "--limit", "11", *form).stderr
        assert "1 order listed, there are more" in saga(file, "orders", "--limit", "1", *form).stderr
        assert saga(file, "orders", "--limit", "12", *form).stderr == ""
    assert len(saga(file, "orders", "--limit", "11").stdout.splitlines()) == 1 + 11
    assert len(found(file, "--limit", "11")) == 11


def test_a_timeline_says_what_was_undone_what_is_due_and_what_can_still_happen(file):
    """Now, and as it stood at any moment before."""
    order_id, cancelled = REFUNDED_ORDER[0].order_id, REFUNDED_ORDER[3]
    shown = ask(file, "show", order_id)
    by_event = {step["event"]: step for step in shown["steps"]}
    assert by_event[REFUNDED]["undoes"] == by_event[CHARGED]["address"]
    assert by_event[CHARGED]["undone_by"] == by_event[REFUNDED]["address"]
    assert (shown["order"]["status"], shown["due"], shown["possible"]) == ("cancelled", [], [])
    then = ask(
        file, "show", order_id, "--at", f"1970-01-01T00:{cancelled.at // 60000:02}:{cancelled.at / 1000 % 60:06.3f}"
    )
    assert then["order"]["status"] == "cancelled"
    assert then["due"] == [{"service": "payment-service", "event": CANCELLED, "answers": [REFUNDED]}]
    waiting = ask(file, "show", OPEN_ORDER[0].order_id)
    assert waiting["possible"] == [RESERVED, SHORT, CONFIRMED, CANCELLED, REFUNDED, RELEASED]
    text = saga(file, "show", order_id).stdout
    assert f"undoes {by_event[CHARGED]['address']}" in text
    assert "can still happen: nothing; this is final" in text


def test_waiting_and_handling_add_up_to_the_time_between_cause_and_effect(tmp_path):
    """A service that published another transaction meanwhile was busy with that; its own transaction is no wait."""
    created, charged, *_ = OPEN_ORDER
    created = created._replace(offset=7, at=1_000)
    before = charged._replace(order_id="before", offset=4, at=1_030)
    beside = charged._replace(order_id="beside", offset=6, at=1_049)
    charged = charged._replace(offset=7, at=1_050, cause=created.address)
    refused = charged._replace(order_id="refused", topic=FAILED, offset=2, at=1_040)
    for others, waited in (([], 0), ([before], 30), ([before, beside], 30), ([before, beside, refused], 40)):
        path = tmp_path / f"{len(others)}.db"
        stored(path, [created, charged, *others]).close()
        with Tracked.at(path, MODEL) as tracked:
            story = timeline(tracked, created.order_id)
        assert (story.steps[1].waited, story.steps[1].handled) == (waited, 50 - waited)


def test_why_is_told_in_sentences_with_where_to_look(file):
    """The chain of causes; an order that waits says for whom."""
    why = ask(file, "why", REFUNDED_ORDER[0].order_id)
    end, refund = REFUNDED_ORDER[3], REFUNDED_ORDER[4]
    assert why["why"] == (
        f"cancelled {end.at - REFUNDED_ORDER[0].at} ms after order.created, because inventory could not reserve: short;"
        f" the charge of 29.33 USD was refunded {refund.at - end.at} ms later"
    )
    assert [link["address"] for link in why["chain"]] == [event.address for event in REFUNDED_ORDER]
    assert why["ask"] == []
    waits = ask(file, "why", OPEN_ORDER[0].order_id)
    assert f"inventory-service has not answered {OPEN_ORDER[1].address} for" in waits["why"]
    assert waits["ask"] == [f"inventory-service show {OPEN_ORDER[0].order_id}", "saga workers"]
    [_, hint, *_] = saga(file, "why", OPEN_ORDER[0].order_id).stdout.splitlines()
    assert hint == f"to see why: `inventory-service show {OPEN_ORDER[0].order_id}`, `saga workers`"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (None, "on request of ann: \N{REPLACEMENT CHARACTER}[2J"),
        ("deadline/2000000000000", "because its deadline had passed: payment-service had not answered"),
    ],
)
def test_why_says_for_what_reason_an_order_ended_that_no_event_ended(tmp_path, cause, reason):
    """A person cancelled it, or its deadline had passed: what the event says is safe for a terminal."""
    end = REFUNDED_ORDER[3]._replace(cause=cause, fields='{"reason": "on request of ann: \\u001b[2J"}')
    stored(tmp_path / "tracker.db", [REFUNDED_ORDER[0], end]).close()
    with Tracked.at(tmp_path / "tracker.db", MODEL) as tracked:
        story = timeline(tracked, end.order_id)
    assert story is not None
    why = explain(story, Sentences(TYPES), end.at)
    after = f"cancelled {end.at - REFUNDED_ORDER[0].at} ms after order.created"
    assert why.headline == f"{after}, {reason}"


def test_an_event_without_a_sentence_is_told_by_its_fields_and_nothing_reaches_the_terminal_that_it_would_obey():
    """What stands on the log may be anybody's, and an older version of an event may lack a field."""
    sentences = Sentences(TYPES)
    assert sentences.tell("parcel.sent", {"order_id": "o", "parcel": "p-1"}) == "parcel.sent: order_id o, parcel p-1"
    assert sentences.tell(FAILED, {"order_id": "o"}) == "payment.failed"
    assert sentences.tell(FAILED, {"error": "\x1b[2J{0}"}) == "the charge was refused: \N{REPLACEMENT CHARACTER}[2J{0}"


def test_statistics_count_each_order_once_by_status_and_by_branch(file):
    """And say what has never been seen."""
    stats = ask(file, "stats")
    assert stats["orders"] == sum(stats["by_status"].values()) == 12
    assert stats["waiting_on"] == {"inventory-service": 1}
    branches = {(b["cause"], b["event"]): (b["orders"], b["of"]) for b in stats["branches"]}
    assert branches[CREATED, CHARGED] == (len(having(CHARGED)), 12)
    assert branches[CREATED, FAILED] == (len(having(FAILED)), 12)
    assert branches[CANCELLED, REFUNDED] == (len(having(REFUNDED)), len(having(CANCELLED)))
    steps = {(s["cause"], s["event"]): s for s in stats["steps_ms"]}
    spans = sorted(b.at - a.at for a in TRACKED for b in TRACKED if b.topic == FAILED and b.cause == a.address)
    assert steps[CREATED, FAILED]["p99"] == spans[-1]


def test_a_way_is_one_that_an_event_names_as_its_cause_and_its_declared_publisher_took(tmp_path):
    """Not one whose two events an order happens to have; and a stranger's answer is none, nor has it a time."""
    failed = of_order(EVENTS, CREATED, FAILED, CANCELLED)
    others = [event for event in EVENTS if event.order_id in {REFUNDED_ORDER[0].order_id, failed[0].order_id}]
    refund = REFUNDED_ORDER[-1]
    assert refund.topic == REFUNDED
    rogue = refund._replace(
        order_id=failed[0].order_id, offset=99, at=failed[0].at + 5, service="rogue", cause=failed[0].address
    )
    again = REFUNDED_ORDER[1]._replace(offset=99, at=REFUNDED_ORDER[1].at + 5, service="rogue")
    stored(tmp_path / "t.db", [*others, rogue, again]).close()
    stats = ask(tmp_path / "t.db", "stats")
    ways = {(b["cause"], b["event"]): (b["orders"], b["of"]) for b in stats["branches"]}
    assert (ways[CREATED, REFUNDED], ways[CANCELLED, REFUNDED], ways[CREATED, CHARGED]) == ((0, 2), (1, 2), (1, 2))
    paces = [(s["cause"], s["event"]) for s in stats["steps_ms"]]
    assert (CREATED, CHARGED) in paces
    assert (CREATED, REFUNDED) not in paces
    assert len(set(paces)) == len(paces)
    assert all(s["steps"] == 1 for s in stats["steps_ms"] if s["event"] == CHARGED)


def test_ways_are_those_of_the_latest_orders_as_the_times_are(file):
    """And the text says so."""
    newest = {order["order_id"] for order in ask(file, "orders", "--limit", "5")}
    stats = ask(file, "stats", "--latest", "5")
    ways = {(b["cause"], b["event"]): (b["orders"], b["of"]) for b in stats["branches"]}
    times = {(s["cause"], s["event"]): s["steps"] for s in stats["steps_ms"]}
    assert ways[CREATED, CHARGED] == (len(having(CHARGED) & newest), 5)
    assert times[CREATED, CHARGED] == len(having(CHARGED) & newest)
    assert (stats["orders"], stats["steps_of_latest"]) == (12, 5)
    assert "branches of the latest 5 orders" in saga(file, "stats", "--latest", "5").stdout


def test_sql_reads_the_documented_tables_and_can_do_nothing_else(file, tmp_path):
    """Not write, not attach, not change a setting; each is refused with exit code 1 and the file stays as it was."""
    before = file.read_bytes()
    assert saga(file, "sql", "select count(*) as n from steps", "--csv").stdout.splitlines()[0] == "n"
    rows = saga(
        file, "sql", "select status, count(*) n from orders group by 1 order by 1", "--json"
    ).stdout.splitlines()
    assert json.loads(rows[0])["status"] == "cancelled"
    statements = (
        "delete from orders",
        f"attach '{tmp_path}/x.db' as x",
        "pragma user_version = 9",
        "select 1; select 2",
        "x",
    )
    for statement in statements:
        result = saga(file, "sql", statement)
        assert (result.exit_code, result.stdout) == (1, ""), statement
        assert result.stderr.startswith("error: ")
    assert file.read_bytes() == before
    assert not (tmp_path / "x.db").exists()


def test_an_unknown_order_is_an_error_that_says_where_it_looked_and_how_far_that_is_behind(file):
    """Exit code 1."""
    for command in ("show", "why"):
        result = saga(file, command, "no-such-order")
        assert result.exit_code == 1
        assert f"no event of order 'no-such-order' in {file}" in result.stderr
        assert "had read the whole log" in result.stderr
        assert "not published yet is only in its database: `order-service show no-such-order`" in result.stderr


def test_a_database_that_is_none_is_named_with_what_to_do(tmp_path, file):
    """Missing, something else, of another version, of another choreography; nothing is made or changed."""
    missing = saga(tmp_path / "no.db", "orders")
    assert (missing.exit_code, "`saga track` creates it" in missing.stderr) == (1, True)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("create table mine (a)")
    assert saga(other, "orders").exit_code == 1
    with pytest.raises(NotATracker, match="of another application"):
        Store(other, MODEL)
    (tmp_path / "text.db").write_text("no database, but quite a long text" * 100)
    assert "cannot be read" in saga(tmp_path / "text.db", "stats").stderr
    with sqlite3.connect(file) as database:
        database.execute("pragma user_version = 99")
    assert "another version of this program" in saga(file, "orders").stderr


def test_a_database_of_another_version_is_built_anew_and_says_so(file):
    """It can be: everything in it is on the log."""
    with sqlite3.connect(file) as database:
        database.execute("pragma user_version = 99")
    store = Store(file, MODEL)
    assert (store.renewed, store.positions()) == ("it was written by another version of this program", {})
    store.close()
    assert found(file) == set()


def test_a_second_tracker_on_one_file_is_refused(file):
    """Else each would take the other's records in again."""
    first, second = Store(file, MODEL), Store(file, MODEL)
    first.write(*_nothing())
    with pytest.raises(AnotherTracker, match="give each its own --tracker"):
        second.write(*_nothing())
    first.close()
    second.close()


def test_the_first_tracker_on_a_file_goes_on_when_a_second_one_is_started(file):
    """The second hears of it before it writes; when the first has ended, it may."""
    with exclusive_lock(file), pytest.raises(AnotherTracker, match=r"writes to .* only read it"), exclusive_lock(file):
        pass
    with exclusive_lock(file):
        pass


def test_a_folder_that_is_not_there_is_named(file):
    """Before anything else is tried."""
    nowhere = file.parent / "nowhere" / "tracker.db"
    with (
        pytest.raises(NotATracker, match=r"nowhere/tracker.db cannot be used .* No such file"),
        exclusive_lock(nowhere),
    ):
        pass


def test_the_kinds_of_violations_are_those_of_the_documents_and_no_others_are_asked_for(file):
    """`none` about a kind that does not exist would be a false comfort."""
    table = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8").partition("## Violations")[2].partition("##")[0]
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == KINDS
    for kind in KINDS:
        assert (saga(file, "violations", "--kind", kind).exit_code, kind) == (0, kind)
    refused = saga(file, "violations", "--kind", "foo")
    assert (refused.exit_code, "undeclared-cause" in refused.stderr) == (2, True)


def _nothing():
    return Batch([], []), {(CREATED, 0): (1, 1)}


@pytest.mark.parametrize(
    "options", [["--older-than", "30s"], ["--since", "yesterday"], ["--status", "lost"], ["--customer", ""]]
)
def test_a_wrong_option_is_wrong_usage(file, options):
    """Exit code 2, and a sentence that names it."""
    result = saga(file, "orders", *options)
    assert (result.exit_code, options[0] in result.stderr) == (2, True)


def test_times_are_written_as_people_write_them():
    """Spans with a unit; moments as RFC 3339, UTC where no zone is given."""
    assert [Duration().convert(text, None, None) for text in ("250ms", "1.5s", "2h")] == [250, 1_500, 7_200_000]
    assert [Seconds().convert(text, None, None) for text in ("0", "1.5", "1s", "2h")] == [0, 1_500, 1_000, 7_200_000]
    assert Moment().convert("1970-01-01T00:00:01.5", None, None) == Moment().convert(
        "1970-01-01T01:00:01.5+01:00", None, None
    )
    assert [span(ms) for ms in (38, 1_200, 240_000, 9_000_000, 864_000_000)] == [
        "38 ms",
        "1.2 s",
        "4 min",
        "2.5 h",
        "10 days",
    ]
