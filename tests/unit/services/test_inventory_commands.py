"""inventory-service at the command line."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from click.testing import CliRunner

from eventbus.database import connect
from inventory_service.__main__ import main
from inventory_service.repository import SCHEMA
from inventory_service.service import InventoryService
from schemas import Item, OrderCreated, PaymentCharged
from tests.support.engines.stepping import deliver


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INVENTORY_SERVICE_DATABASE", raising=False)
    return lambda *arguments, **settings: CliRunner().invoke(main, arguments, **settings)


def reserve(*items):
    service, url = InventoryService(), "sqlite:///inventory_service.db"
    with closing(connect(url, service=InventoryService.name, schema=SCHEMA)) as database:
        order = OrderCreated("o", "customer", 1, "USD", tuple(Item(sku, quantity) for sku, quantity in items))
        deliver(service, database, order, PaymentCharged("o", "p", 1, "USD"))


def shown(run):
    return json.loads(run("stock", "show", "--json").stdout)


def test_stock_is_set_and_shown(run):
    """The keys are those that scripts know; setting again replaces the count."""
    assert run("stock", "set", "b", "5").exit_code == 0
    assert run("stock", "set", "a", "1").exit_code == 0
    assert run("stock", "set", "b", "7").exit_code == 0
    assert shown(run) == [{"sku": "a", "on_hand": 1, "reserved": 0}, {"sku": "b", "on_hand": 7, "reserved": 0}]
    assert [line.split() for line in run("stock", "show").stdout.splitlines()[1:]] == [["1", "0", "a"], ["7", "0", "b"]]


def test_stock_is_never_set_below_what_is_set_aside(run):
    """One line says how many are set aside; nothing changes."""
    run("stock", "set", "a", "5")
    reserve(("a", 3))
    result = run("stock", "set", "a", "2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: 3 of a are reserved for orders: the number on hand cannot be 2\n"
    assert shown(run) == [{"sku": "a", "on_hand": 5, "reserved": 3}]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["a", "-1"], "-1 of a on hand must be 0 to"),
        (["a", "--", "-1"], "-1 of a on hand must be 0 to"),
        (["a", "1", "--dtabase"], "unexpected extra argument (--dtabase)"),
        (["a", "x"], "'x' is not a valid integer"),
        (["a", "9999999999999"], "must be 0 to 1000000000000"),
        (["", "1"], "sku '' must be 1 to 200"),
        (["x" * 201, "1"], "must be 1 to 200 printable characters"),
    ],
)
def test_bad_counts_are_refused(run, tmp_path, arguments, error):
    """Usage errors end with exit code 2 and name the value."""
    result = run("stock", "set", *arguments)
    assert result.exit_code == 2
    assert error in result.stderr
    assert list(tmp_path.iterdir()) == [], "not even a database was made"


def test_a_file_of_counts_is_loaded_whole(run):
    """CSV and JSON lines, blank lines and quoted fields."""
    text = 'a,1\n\n"b,c", 2\r\n{"sku": "d", "on_hand": 3}\n'
    assert run("stock", "load", "-", input=text).stdout == "3 articles counted\n"
    assert [(article["sku"], article["on_hand"]) for article in shown(run)] == [("a", 1), ("b,c", 2), ("d", 3)]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbfa,1\r\n"b,c",2\r\nd;e,3\r\n,\r\n\r\n',
        b'\xef\xbb\xbfa;1\r\nb,c;2\r\n"d;e";3\r\n;\r\n',
        b'a\t1\n"b,c"\t 2 \nd;e\t3',
        b'a,1\r"b,c",2\rd;e,3\r',
        b'a,1\n\xef\xbb\xbf"b,c",2\n\n{"sku": "d;e", "on_hand": 3}\n\n\n',
        b'\xef\xbb\xbf{"sku": "a", "on_hand": 1}\r\n"b,c",2\r\nd;e,3',
    ],
    ids=["Excel's CSV UTF-8", "with semicolons", "with tabs", "CR", "joined files, JSON", "JSON first"],
)
def test_a_file_of_counts_is_read_whatever_wrote_it(run, content):
    """The counts of all of them are the same."""
    result = run("stock", "load", "-", input=content)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "3 articles counted\n", "")
    assert [(article["sku"], article["on_hand"]) for article in shown(run)] == [("a", 1), ("b,c", 2), ("d;e", 3)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_of_counts_in_utf_16_is_named_so(run, encoding):
    """Spreadsheets write it as "Unicode text"."""
    result = run("stock", "load", "-", input="a\t1\r\n".encode(encoding))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: line 1: the file is UTF-16, not UTF-8: save it as")


def test_lines_are_counted_as_an_editor_counts_them(run):
    """Empty ones and those that end in CR alone, too; of the first wrong one the number is said."""
    result = run("stock", "load", "-", input=b"\xef\xbb\xbfa;1\r\n\r\nb;1\rc,1\n")
    assert result.stderr == "error: line 4: 'c,1' is not SKU;QUANTITY; nothing was changed\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"b", "'b' is not SKU,QUANTITY"),
        (b"b,1,2", "is not SKU,QUANTITY"),
        (b"b,x", "'b,x' is not SKU,QUANTITY"),
        (b"b,-1", "'b,-1' is not SKU,QUANTITY"),
        (b"b,1.5", "is not SKU,QUANTITY"),
        (b"b," + b"9" * 5_000, "is not SKU,QUANTITY"),
        (b"b,9999999999999", "must be 0 to 1000000000000"),
        (b",1", "sku '' must be"),
        (b'"b,1', "unexpected end of data"),
        (b"a,2", "a is listed twice"),
        (b'{"sku": "b"}', 'is not {"sku": "CD-04", "on_hand": 100}'),
        (b'{"sku": "b", "on_hand": "1"}', 'is not {"sku": "CD-04", "on_hand": 100}'),
        (b'{"sku": "b", "on_hand": -1}', "-1 of b on hand must be"),
        (b'{"sku": ', "Expecting value"),
        (b"\xff,1", "not UTF-8: 0xff at byte 1"),
        (b"b;1", "'b;1' is not SKU,QUANTITY"),
    ],
)
def test_one_bad_line_loads_nothing_and_is_named(run, tmp_path, line, error):
    """All articles of the file, or none."""
    result = run("stock", "load", "-", input=b"a,1\n" + line + b"\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: line 2: ")
    assert error in result.stderr
    assert list(tmp_path.iterdir()) == [], "not even a database was made"


def test_a_reservation_is_shown(run, tmp_path):
    """Status, items and what is missing; an unknown order ends with exit code 1."""
    reserve(("a", 3))
    reservation = json.loads(run("show", "o", "--json").stdout)
    assert reservation == {
        "order_id": "o",
        "status": "failed",
        "items": [{"sku": "a", "quantity": 3}],
        "error": "out of stock: a is not a known article",
        "parked": None,
    }
    assert "status  failed" in run("show", "o").stdout
    assert run("stock", "show", "--database", "sqlite:///nowhere.db").exit_code == 1
    assert not (tmp_path / "nowhere.db").exists(), "who only looks makes no database"
    unknown = run("show", "nobody")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert unknown.stderr == "error: there is no reservation of order nobody in sqlite:///inventory_service.db\n"


def test_every_command_helps_with_an_example():
    """--help of each command shows how it is called."""
    for path in (["run"], ["show"], ["stock", "set"], ["stock", "load"], ["stock", "show"]):
        text = CliRunner().invoke(main, [*path, "--help"]).stdout
        assert f"Example: inventory-service {' '.join(path)}" in " ".join(text.split())
