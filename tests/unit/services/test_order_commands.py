"""order-service at the command line: what goes in, what is refused and how, what scripts read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from click.testing import CliRunner

from eventbus import Codec
from eventbus.database import connect
from eventbus.log import Partition, Record
from eventbus.serde.registry import registry_at
from eventbus.store import blocked_keys, progress
from eventbus.store.blocked_keys import BlockedKey, Parked
from eventbus.store.packing import unpack
from order_service.__main__ import main
from order_service.currency import to_minor
from order_service.intake import read_request
from order_service.repository import SCHEMA
from order_service.service import OrderService
from schemas import InventoryReserved, PaymentFailed, PaymentRefunded
from schemas.money import to_text
from tests.support.engines.stepping import deliver

URL = "sqlite:///order_service.db"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

PLACE = ["place", "--customer", "42", "--total", "29.33", "--item", "CD-04=2"]
LINE = {
    "request_id": "r1",
    "customer_id": "42",
    "total": 2933,
    "currency": "USD",
    "items": [{"sku": "CD-04", "quantity": 2}],
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORDER_SERVICE_DATABASE", raising=False)
    return lambda *arguments, **settings: CliRunner().invoke(main, arguments, **settings)


def replaced(option, value):
    arguments = list(PLACE)
    arguments[arguments.index(option) + 1] = value
    return arguments


def summary(run):
    return json.loads(run("list", "--summary", "--json").stdout)


def test_an_order_is_placed_and_shown_with_the_keys_that_scripts_know(run):
    """place, show and list say the same, amounts in minor units."""
    placed = json.loads(run(*PLACE, "--request-id", "r1", "--json").stdout)
    assert not placed.pop("repeated")
    shown = json.loads(run("show", placed["order_id"], "--json").stdout)
    assert shown.pop("parked") is None
    assert placed == shown == json.loads(run("list", "--json").stdout)[0]
    assert {
        "order_id",
        "customer_id",
        "total",
        "currency",
        "status",
        "items",
        "reason",
        "created_at",
        "updated_at",
    } <= set(shown)
    assert (shown["total"], shown["currency"], shown["status"], shown["reason"]) == (2933, "USD", "pending", None)
    assert shown["items"] == [{"sku": "CD-04", "quantity": 2}]
    assert shown["created_at"].endswith("Z")
    assert summary(run) == {"total": 1, "pending": 1, "confirmed": 0, "cancelled": 0, "refunded": 0}


def test_an_order_is_shown_by_how_its_id_begins_or_ends(run):
    """As a customer reads it over the phone; what means several orders is refused, with both."""
    first, second = (json.loads(run(*PLACE, "--json").stdout)["order_id"] for _ in range(2))
    for given in (first, first[-12:], first[-4:]):
        assert json.loads(run("show", given, "--json").stdout)["order_id"] == first
    alike = next(number for number in range(36) if first[number] != second[number])
    assert json.loads(run("show", second[: alike + 1], "--json").stdout)["order_id"] == second
    refused = run("show", first[:alike])
    assert (refused.exit_code, f"several ids: {first}, {second}; type more" in refused.stderr) == (1, True)
    assert "there is no order ffff-ffff" in run("show", "ffff-ffff").stderr


def test_the_same_request_brings_the_same_order_back(run):
    """Only other content is an error, on one line, and places nothing."""
    first = json.loads(run(*PLACE, "--request-id", "r1", "--json").stdout)
    again = json.loads(run(*PLACE, "--request-id", "r1", "--json").stdout)
    assert again == {**first, "repeated": True}
    other = run(*replaced("--total", "1"), "--request-id", "r1")
    assert other.exit_code == 1
    assert f"'r1' belongs to order {first['order_id']}" in other.stderr
    assert summary(run)["total"] == 1


BAD_PLACE = {
    "negative total": (replaced("--total", "-1"), "--total: '-1' is not an amount"),
    "no number": (replaced("--total", "abc"), "'abc' is not an amount"),
    "a comma": (replaced("--total", "29,33"), "write digits with a decimal point"),
    "not a number": (replaced("--total", "NaN"), "'NaN' is not an amount"),
    "too large": (replaced("--total", "9" * 20), "minor units"),
    "too many digits": (replaced("--total", "9" * 99), "is not an amount"),
    "too many decimals": (replaced("--total", "29.333"), "29.333 has too many decimals: USD has 2"),
    "decimals of yen": ([*PLACE, "--currency", "JPY"], "29.33 has too many decimals: JPY has 0"),
    "unknown currency": ([*PLACE, "--currency", "USX"], "'--currency': the currency 'USX' is not in ISO 4217"),
    "small letters": ([*PLACE, "--currency", "usd"], "'usd' is not in ISO 4217"),
    "gold": ([*PLACE, "--currency", "XAU"], "nothing can be paid in XAU"),
    "no items": (PLACE[:-2], "--item"),
    "no quantity": (replaced("--item", "CD-04"), "'CD-04' is not SKU=QUANTITY"),
    "quantity 0": (replaced("--item", "CD-04=0"), "'--item': 'CD-04=0': the quantity must be 1 to 10000"),
    "quantity 10001": (replaced("--item", "CD-04=10001"), "'CD-04=10001': the quantity must be 1 to 10000"),
    "negative quantity": (replaced("--item", "CD-04=-1"), "'--item': 'CD-04=-1': the quantity must be 1 to 10000"),
    "quantity absurd": (replaced("--item", "CD-04=" + "9" * 5_000), "9': the quantity must be 1 to 10000"),
    "quantity in words": (replaced("--item", "CD-04=two"), "'--item': 'CD-04=two' is not SKU=QUANTITY, as in CD-04=2"),
    "wait": ([*PLACE, "--wait", "soon"], "'--wait': 'soon' is not a duration: write 10 or 10s, 2m or 1m30s"),
    "101 items": (PLACE + ["--item", "CD-05=1"] * 100, "1 to 100 items, not 101"),
    "empty customer": (replaced("--customer", ""), "--customer: customer_id '' must be 1 to 200"),
    "long customer": (replaced("--customer", "x" * 201), "must be 1 to 200 printable characters"),
    "control character": (replaced("--customer", "a\nb"), "must be 1 to 200 printable characters"),
    "empty request id": ([*PLACE, "--request-id", ""], "--request-id: request_id '' must be 1 to 200"),
    "long request id": ([*PLACE, "--request-id", "x" * 201], "request_id 'xxx"),
    "a blank customer": (replaced("--customer", "  "), "customer_id '  ' begins or ends with a blank"),
    "a blank behind a sku": (replaced("--item", "CD-04 =1"), "--item: sku 'CD-04 ' begins or ends with a blank"),
    "a blank before a request id": ([*PLACE, "--request-id", " r1"], "request_id ' r1' begins or ends with a blank"),
    "long sku": (replaced("--item", "x" * 201 + "=1"), "must be 1 to 200 printable characters"),
}


@pytest.mark.parametrize("case", BAD_PLACE)
def test_a_bad_order_is_refused_with_what_is_wrong_and_nothing_is_placed(run, tmp_path, case):
    """Usage errors end with exit code 2 and name the value."""
    arguments, error = BAD_PLACE[case]
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert error in result.stderr
    assert list(tmp_path.iterdir()) == [], "not even a database was made"


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "text"),
    [
        ("29.33", "USD", 2933, "29.33 USD"),
        ("0", "USD", 0, "0.00 USD"),
        ("29.3", "USD", 2930, "29.30 USD"),
        ("100", "JPY", 100, "100 JPY"),
        ("1.234", "KWD", 1234, "1.234 KWD"),
    ],
)
def test_amounts_are_counted_in_the_minor_unit_of_their_currency(amount, currency, minor, text):
    """ISO 4217 says how many decimals there are: 2 of dollars, 0 of yen, 3 of dinars."""
    assert to_minor(amount, currency) == minor
    assert to_text(minor, currency) == text


def test_a_total_of_zero_is_an_order(run):
    """Free of charge is not wrong."""
    assert run(*replaced("--total", "0")).exit_code == 0
    assert summary(run)["total"] == 1


def test_an_order_that_stays_pending_is_printed_and_fails_the_wait(run):
    """--wait prints the order as it is, and says that it is not final, with exit code 1."""
    result = run(*PLACE, "--wait", "0", "--json")
    assert result.exit_code == 1
    order = json.loads(result.stdout)
    assert order["status"] == "pending"
    assert f"{order['order_id']} is still pending after 0 s, in sqlite:///" in result.stderr


def test_an_order_that_is_final_ends_the_wait(run):
    """A request that was placed before comes back as it is now, with exit code 0 when it is final."""
    placed = json.loads(run(*PLACE, "--request-id", "r1", "--json").stdout)
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database:
        deliver(OrderService(lambda: 1, str), database, InventoryReserved(placed["order_id"]))
    result = run(*PLACE, "--request-id", "r1", "--wait", "60")
    assert result.exit_code == 0
    assert "status    confirmed" in result.stdout


@pytest.mark.parametrize(
    ("given", "carried"),
    [(TRACE, [("traceparent", TRACE.encode())]), ("no trace", []), (TRACE.upper(), [])],
)
def test_a_trace_goes_on_in_the_orders_event(run, given, carried):
    """TRACEPARENT is carried as it is if it is one (W3C Trace Context), else left out, which is said."""
    placed = run(*PLACE, env={"TRACEPARENT": given})
    assert placed.exit_code == 0
    assert placed.stderr == ("" if carried else f"{given!r} is not a W3C traceparent: the order is placed without it\n")
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database, database.snapshot() as tx:
        [(blob,)] = tx.rows("select records from uncaused")
    [output] = unpack(blob)
    assert [header for header in output.headers if header[0] == "traceparent"] == carried


def lines(*changes):
    """Return lines of an import; a change replaces the line, or some of its values."""
    return "\n".join(
        change if isinstance(change, str) else json.dumps({**LINE, "request_id": f"r{number}", **change})
        for number, change in enumerate(changes, 1)
    )


def imported(run, text):
    result = run("import", "-", "--json", input=text)
    return result.exit_code, json.loads(result.stdout)


def test_an_import_that_is_run_again_places_nothing_twice(run):
    """What a first, interrupted import placed comes back as repeated; the rest goes in."""
    assert imported(run, lines({}, {})) == (0, {"placed": 2, "repeated": 0, "rejected": []})
    assert imported(run, lines({}, {}, {}, {"request_id": "r1"})) == (0, {"placed": 1, "repeated": 3, "rejected": []})
    assert summary(run)["total"] == 3


BAD_LINES = {
    "malformed JSON": ('{"request_id": ', "not JSON"),
    "no object": ("[1]", "must be a JSON object"),
    "nested too deeply": ("[" * 100_000, "nested too deeply"),
    "a field twice": ('{"total": 1, "total": 2}', "twice"),
    "an unknown field": ({"note": "x"}, "unknown field 'note'"),
    "total in dollars": ({"total": 29.33}, "total is 29.33, but must be a whole number of minor units"),
    "total as text": ({"total": "2933"}, "total is '2933'"),
    "total as truth": ({"total": True}, "total is True"),
    "total negative": ({"total": -1}, "total -1 must be 0 to"),
    "total absurd": ({"total": 10**16}, "must be 0 to 1000000000000000 minor units"),
    "total of 5,000 digits": ('{"total": ' + "9" * 5_000 + "}", "a number of 5000 digits is too large"),
    "a blank sku": ({"items": [{"sku": " ", "quantity": 1}]}, "sku ' ' begins or ends with a blank"),
    "currency unknown": ({"currency": "XXY"}, "'XXY' is not in ISO 4217"),
    "no items": ({"items": []}, "1 to 100 items, not 0"),
    "101 items": ({"items": LINE["items"] * 101}, "1 to 100 items, not 101"),
    "an item that is none": ({"items": [7]}, "an item is 7"),
    "quantity 0": ({"items": [{"sku": "a", "quantity": 0}]}, "items[0].quantity 0 must be"),
    "quantity 10001": ({"items": [{"sku": "a", "quantity": 10_001}]}, "items[0].quantity 10001 must be"),
    "no quantity": ({"items": [{"sku": "a"}]}, "an item has no quantity"),
    "empty customer": ({"customer_id": ""}, "customer_id '' must be"),
    "half a character": ({"customer_id": "\ud800"}, "must be 1 to 200 printable characters"),
    "long request id": ({"request_id": "x" * 201}, "must be 1 to 200 printable characters"),
    "no request id": ({"request_id": None}, "request_id is None"),
    "a request id with other content": ({"request_id": "r1", "total": 1}, "'r1' belongs to order"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_one_bad_line_of_many_is_rejected_with_its_number_and_the_rest_goes_in(run, case):
    """The import ends with exit code 1; empty lines count, but are no orders."""
    line, error = BAD_LINES[case]
    code, report = imported(run, lines({}, "", line, {}))
    assert code == 1
    assert (report["placed"], report["repeated"]) == (2, 0)
    [rejected] = report["rejected"]
    assert rejected["line"] == 3
    assert error in rejected["error"]
    assert summary(run)["total"] == 2


def test_an_import_takes_what_editors_write(run):
    """A byte order mark, CRLF and empty lines at the end are no part of an order; files may have been joined."""
    content = b"\xef\xbb\xbf" + lines({}, {}).replace("\n", "\r\n").encode() + b"\r\n\r\n"
    code, report = imported(run, content + b"\xef\xbb\xbf" + lines({"request_id": "r9"}).encode() + b"\r\n")
    assert (code, report) == (0, {"placed": 3, "repeated": 0, "rejected": []})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_an_import_names_utf_16_once(run, encoding):
    """Not as an error of each line: none of them can be read."""
    result = run("import", "-", input=lines({}, {}).encode(encoding))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: line 1: the file is UTF-16, not UTF-8: save it as")
    assert "line 2" not in result.stderr


def test_an_order_in_a_currency_that_was_dropped_is_shown(run):
    """ISO 4217 listed it when the order was taken; what it has no decimals of any more is shown in minor units."""
    placed = [json.loads(run(*PLACE, "--json").stdout)["order_id"] for _ in range(2)]
    withdrawn(placed[0])
    assert run("list").exit_code == 0
    assert [line.split()[:5] for line in run("list").stdout.splitlines()[1:]] == [
        [placed[0], "pending", "2933", "minor", "units"],
        [placed[1], "pending", "29.33", "USD", "42"],
    ]
    assert "total     2933 minor units of HRK" in run("show", placed[0]).stdout
    assert [order["currency"] for order in json.loads(run("list", "--json").stdout)] == ["HRK", "USD"]


def test_an_order_in_a_currency_that_was_dropped_is_cancelled_and_refunded(run):
    """Its saga ends like any other's."""
    order_id = json.loads(run(*PLACE, "--json").stdout)["order_id"]
    withdrawn(order_id)
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database:
        refunded = PaymentRefunded(order_id, "p-1", 2933, "HRK")
        said = deliver(OrderService(lambda: 1, str), database, PaymentFailed(order_id, "no"), refunded)
    assert [type(event).__name__ for event in said] == ["OrderCancelled"]
    shown = run("show", order_id).stdout
    assert "status    cancelled" in shown
    assert "refunded  2933 minor units of HRK" in shown


def test_an_import_that_is_run_again_knows_an_order_in_a_currency_that_was_dropped(run):
    """It was taken before; a new one is refused, at the door."""
    [order] = json.loads(run("list", "--json").stdout) if imported(run, lines({}))[0] == 0 else []
    withdrawn(order["order_id"])
    code, report = imported(run, lines({"currency": "HRK"}, {"currency": "HRK"}))
    assert (code, report["placed"], report["repeated"]) == (1, 0, 1)
    [rejected] = report["rejected"]
    assert rejected == {"line": 2, "error": "the currency 'HRK' is not in ISO 4217; write its three capital letters"}


def test_an_order_that_its_topic_would_not_take_is_not_placed(run):
    """A worker has seen how much order.created takes: who places hears of it at once."""
    run(*PLACE)
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database, database.transaction() as tx:
        tx.execute("insert into output_topic (topic, topic_id, max_bytes) values ('order.created', 'x', 600)")
    refused = run(*PLACE, "--item", "x" * 200 + "=1", "--item", "y" * 200 + "=1")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: the event order.created would have 7")
    assert "bytes, and its topic takes at most 600: split it, or have max.message.bytes" in refused.stderr
    large = {"items": [{"sku": letter * 150, "quantity": 1} for letter in "abc"]}
    code, report = imported(run, lines({}, large, {"request_id": "r2"}))
    assert (code, report["placed"], [rejected["line"] for rejected in report["rejected"]]) == (1, 2, [2])
    assert summary(run)["total"] == 3


def withdrawn(order_id):
    """Make an order one of the time when its currency was listed."""
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database, database.transaction() as tx:
        tx.execute("update orders set currency = 'HRK' where order_id = ?", order_id)


def test_a_line_that_is_no_utf_8_is_rejected_alone(run):
    """Bytes are decoded line by line."""
    code, report = imported(run, lines({}, {}).encode() + b"\n\xff\xfe\n" + lines({"request_id": "r9"}).encode())
    assert (code, report["placed"], [r["line"] for r in report["rejected"]]) == (1, 3, [3])


def test_rejected_lines_are_told_to_people_on_stderr(run):
    """Counts on stdout, one line for each rejected line on stderr."""
    result = run("import", "-", input=lines({}, "x").encode() + b"\n{\xff")
    assert result.stdout == "1 placed, 0 repeated, 2 rejected\n"
    assert result.stderr.splitlines() == [
        "line 2: not JSON: Expecting value at character 1",
        "line 3: not UTF-8: 0xff at byte 2",
    ]


def test_a_line_says_what_it_means():
    """The fields of a line become the request."""
    assert read_request(json.dumps(LINE)) == ("42", 2933, "USD", (("CD-04", 2),), "r1")


def test_what_is_not_there_ends_with_one_line(run, tmp_path):
    """An unknown order, a file that is not ours, a database URL that is none, a file that cannot be read."""
    run(*PLACE)
    (tmp_path / "other.db").write_text("no database at all " * 50)
    for arguments, error in (
        (["show", "nobody"], "error: there is no order nobody in sqlite:///order_service.db\n"),
        (["list", "--database", "sqlite:///other.db"], "error: sqlite:///other.db: other.db is not a SQLite file\n"),
        (
            ["list", "--database", "mysql://x"],
            "error: the database '…' is neither sqlite:///FILE nor postgresql://USER@HOST/NAME",
        ),
        ([*PLACE, "--database", "sqlite:///no/such/folder/x.db"], "error: no/such/folder/x.db: unable to open"),
        (
            ["show", "x", "--database", "sqlite:///nowhere.db"],
            "error: the database of order-service is not at sqlite:///n",
        ),
        (["list", "--database", "sqlite:///nowhere.db"], "error: the database of order-service is not at sqlite:///n"),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(error)
    assert not (tmp_path / "nowhere.db").exists(), "who only looks makes no database"
    assert run("import", "nowhere.jsonl").exit_code == 2


def test_lists_can_be_narrowed_to_a_status_and_a_customer_and_to_the_newest(run):
    """With a header, oldest first; each filter alone and with the others."""
    customers = ("7", "42", "42")
    placed = [json.loads(run(*replaced("--customer", who), "--json").stdout)["order_id"] for who in customers]
    header, *found = run("list").stdout.splitlines()
    assert header.split() == ["order", "status", "refunded", "total", "customer", "reason"]
    assert [line.split() for line in found] == [
        [each, "pending", "29.33", "USD", who] for each, who in zip(placed, customers, strict=True)
    ]

    def listed(*filters):
        return [order["order_id"] for order in json.loads(run("list", "--json", *filters).stdout)]

    assert listed("--status", "pending") == placed
    assert listed("--status", "cancelled") == listed("--customer", "4") == []
    assert listed("--customer", "42") == placed[1:]
    assert listed("--limit", "2") == placed[1:]
    assert listed("--limit", "1", "--customer", "7", "--status", "pending") == placed[:1]
    assert run("list", "--limit", "0").exit_code == 2
    assert "3 orders: 3 pending, 0 confirmed, 0 cancelled (0 refunded)" in run("list", "--summary").stdout


def test_a_summary_of_one_status_is_wrong_usage(run):
    """It counts all of them; an option that does nothing is refused."""
    result = run("list", "--summary", "--status", "pending")
    assert result.exit_code == 2
    assert "give it without --status" in result.stderr


def test_every_command_helps_with_an_example():
    """--help of each command shows how it is called."""
    for name, command in main.commands.items():
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0
        assert f"Example: order-service {name}" in " ".join(shown.stdout.split()), command


def placed(run, *more):
    return json.loads(run(*PLACE, *more, "--json").stdout)


def test_an_order_cancels_itself_in_15_minutes_unless_told_otherwise(run):
    """show says so; 0 is none."""
    order = placed(run)
    assert "deadline  the order cancels itself in 15 min" in run("show", order["order_id"]).stdout
    assert placed(run, "--order-deadline", "0")["deadline_at"] is None
    assert "deadline" not in run(*PLACE, "--order-deadline", "0").stdout


@pytest.mark.parametrize(("value", "why"), [("15", "has no unit"), ("-1m", "is negative"), ("2y", "is not a duration")])
@pytest.mark.parametrize("command", [PLACE, ["import", "-"], ["run"]])
def test_a_deadline_that_is_no_duration_is_a_usage_error(run, command, value, why):
    """Exit 2, nothing is placed, and what to write."""
    refused = run(*command, "--order-deadline", value)
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert "write 15m" in refused.stderr.replace("\n", " ")


def test_a_clock_that_is_certainly_wrong_sets_no_deadline(run, monkeypatch):
    """On 2000-01-01 every deadline would be over before it began; without one the order is placed."""
    monkeypatch.setattr("order_service.__main__._now_ms", lambda: 946_684_800_000)
    refused = run(*PLACE)
    assert refused.exit_code == 1
    assert "the clock of this host says 2000-01-01T00:00:00.000Z: set it" in refused.stderr
    assert "or give --order-deadline 0" in refused.stderr
    assert run(*PLACE, "--order-deadline", "0").exit_code == 0


def test_a_worker_gives_a_deadline_to_pending_orders_without_one(run):
    """Counted from its start; to no other order, and to none unless it is told."""
    waiting, timed = placed(run, "--order-deadline", "0"), placed(run)
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database:
        OrderService(lambda: 5_000, str).starting(database)
        assert json.loads(run("show", waiting["order_id"], "--json").stdout)["deadline_at"] is None
        OrderService(lambda: 5_000, str, 60_000).starting(database)
    given = json.loads(run("show", waiting["order_id"], "--json").stdout)
    assert given["deadline_at"] == "1970-01-01T00:01:05.000Z"
    assert json.loads(run("show", timed["order_id"], "--json").stdout)["deadline_at"] == timed["deadline_at"]


def test_a_deadline_that_is_parked_cannot_be_discarded(run):
    """It is part of its row; it is shown, and can be retried."""
    order = placed(run)
    key, record = order["order_id"], Record(Partition("orders.deadline_at", -2), 7, b"", None, 0, [])
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database, database.transaction() as tx:
        blocked_keys.append(tx, [Parked(key, 1, record._replace(key=key.encode()))])
        blocked_keys.change(tx, {}, {key: BlockedKey(key, "inventory.reserved", 0, 1, 1, 1, 0, 0, "no")})
    who = ("--by", "ada", "--reason", "a test")
    refused = run("parked", "discard", key, *who)
    assert refused.exit_code == 1
    assert "orders.deadline_at/-2/7 is a deadline" in refused.stderr
    assert f"key {key}; due_ms 1970-01-01T00:00:00.007Z" in run("parked", "show", key).stdout
    assert run("parked", "retry", key, *who).exit_code == 0


def placed_id(run):
    return json.loads(run(*PLACE, "--json").stdout)["order_id"]


def handled(*events):
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database:
        return deliver(OrderService(lambda: 0, lambda: ""), database, *events)


def root_events():
    """Return the topics of the root events that wait, in the order in which they leave."""
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database, database.transaction() as tx:
        return [output.topic for output in progress.take_root_events(tx, 100, 1_000_000)]


def test_a_pending_order_is_cancelled_once_and_its_events_leave_in_order(run):
    """By their ids order.cancelled would come first. Again it is a no-op that says so, exit 0, whatever the reason."""
    order_id = placed_id(run)
    done = run("cancel", order_id, "--by", "ann", "--reason", "ordered twice", "--json")
    cancelled = json.loads(done.stdout)
    assert (done.exit_code, cancelled["status"], cancelled["repeated"]) == (0, "cancelled", False)
    assert cancelled["reason"] == "on request of ann: ordered twice"
    again = run("cancel", order_id, "--by", "bob", "--json")
    assert (again.exit_code, again.stderr) == (0, "the order was cancelled before: nothing was done\n")
    assert json.loads(again.stdout) == cancelled | {"repeated": True}
    assert root_events() == ["order.created", "order.cancelled"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "on request"),
        (["--by", "ann"], "on request of ann"),
        (["--reason", "too late"], "on request: too late"),
    ],
)
def test_a_cancelled_order_says_who_and_why(run, options, reason):
    """As far as it was said."""
    done = run("cancel", placed_id(run), *options)
    assert f"reason    {reason}\n" in done.stdout


def test_a_confirmed_order_is_not_cancelled_and_what_to_do_instead_is_said(run):
    """Exit 1, and nothing is published."""
    order_id = placed_id(run)
    handled(InventoryReserved(order_id))
    done = run("cancel", order_id)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"order {order_id} is confirmed" in done.stderr
    assert "Take the goods back, and have the payment provider refund the customer" in done.stderr
    assert root_events() == ["order.created"]


def test_what_is_reserved_for_a_cancelled_order_does_not_confirm_it(run):
    """Whoever was first wins; inventory gives the items back."""
    order_id = placed_id(run)
    run("cancel", order_id)
    assert handled(InventoryReserved(order_id), PaymentFailed(order_id, "no money")) == []
    assert json.loads(run("show", order_id, "--json").stdout)["reason"] == "on request"


def test_an_order_that_failed_before_a_person_cancels_it_keeps_its_reason(run):
    """It is cancelled already."""
    order_id = placed_id(run)
    handled(PaymentFailed(order_id, "no money"))
    assert json.loads(run("cancel", order_id, "--json").stdout)["reason"] == "no money"
    assert root_events() == ["order.created"]


def test_an_order_that_is_not_there_is_not_cancelled(run):
    """Neither in a database nor without one."""
    assert "order-service" in run("cancel", "o").stderr
    placed_id(run)
    done = run("cancel", "no-such-order")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no order no-such-order in sqlite:///order_service.db" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--reason", ""],
        ["--reason", "r" * 501],
        ["--reason", "two\nlines"],
        ["--reason", " blank"],
        ["--by", "b" * 201],
        ["--by", "\x1b[31m"],
    ],
)
def test_a_reason_that_cannot_be_shown_is_refused(run, options):
    """Exit 2, and the option is named."""
    order_id = placed_id(run)
    done = run("cancel", order_id, *options)
    assert done.exit_code == 2
    assert f"Error: {options[0]} {options[1][:80]!r} must be 1 to" in done.stderr
    assert root_events() == ["order.created"]


def test_two_people_cancel_at_once_and_one_of_them_wins(run):
    """The order's row is locked: the other one is told that it was cancelled before."""
    order_id = placed_id(run)
    with ThreadPoolExecutor(8) as people:
        done = list(people.map(lambda number: cancel_order(order_id, f"on request of {number}"), range(8)))
    assert [each.repeated for each in done].count(False) == 1
    assert len({each.order.reason for each in done}) == 1
    assert root_events() == ["order.created", "order.cancelled"]


def cancel_order(order_id, reason):
    events = OrderService.root_events()
    with closing(connect(URL, service=OrderService.name, schema=SCHEMA)) as database:
        service = OrderService(lambda: 0, lambda: "")
        return service.cancel_order(order_id, reason, database, Codec(registry_at(None, events), events))


def test_who_waits_for_a_refund_that_does_not_come_is_told(run):
    """Exit 1 after that time, with where to look; a refund that is stored ends the waiting, a total of 0 needs none."""
    order_id = placed_id(run)
    done = run("cancel", order_id, "--wait", "0.1")
    assert done.exit_code == 1
    assert "after 0.1 s no refund is stored: nothing was charged, or it is not refunded yet" in done.stderr
    handled(PaymentRefunded(order_id, "p", 2933, "USD"))
    assert run("cancel", order_id, "--wait", "60").exit_code == 0
    free = json.loads(run(*replaced("--total", "0"), "--json").stdout)["order_id"]
    assert run("cancel", free, "--wait", "60").exit_code == 0
