"""The page's server: who may see it, what it answers, and that nothing from the log is ever markup."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import anyio
import msgspec
import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from saga.__main__ import main
from saga.commands.ui import SERVICES
from saga.flow.model import Flow
from saga.tracker.installed import MODEL
from saga.tracker.live import LiveTracked, Taken
from saga.ui.app import PageData, application
from tests.support.models.saga_model import CANCELLED, CHARGED, CONFIRMED, CREATED, REFUNDED, RESERVED, SHORT
from tests.support.models.tracked import of_order, stored, tracked_events

TOKEN = "a-token-that-is-long-enough"
HOSTILE = "<img src=x onerror=\"document.title='owned'\">\x1b[2J\x00"
ORDERS = 60
EVENTS = tracked_events(ORDERS)
FLOW = Flow.of(SERVICES)
NOTHING = {"parked": [], "dead_letters": [], "errors": []}


def client_of(path: Path, token: str | None = None, **following: str) -> TestClient:
    state = SimpleNamespace(**({"broker": "", "tracker": "", "reader": ""} | following))
    app = application(PageData(path, FLOW, state, lambda: NOTHING), token)
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A tracker's database with finished orders and one that waits for its payment."""
    waiting = EVENTS[0]._replace(order_id="waiting", offset=9_000)
    assert waiting.topic == CREATED
    stored(tmp_path / "tracker.db", [*EVENTS, waiting]).close()
    return tmp_path / "tracker.db"


@pytest.fixture
def page(path: Path) -> TestClient:
    return client_of(path)


def paged(page: TestClient, **wanted: Any) -> list[dict[str, Any]]:
    """Return all orders that are wanted, asked for page by page."""
    found: list[dict[str, Any]] = []
    after: dict[str, Any] | None = {}
    while after is not None:
        answer = page.get("/api/orders", params={"limit": 7, **wanted, **after}).json()
        assert len(answer["orders"]) <= 7
        found += answer["orders"]
        after = answer["after"]
    return found


def test_an_order_in_a_currency_that_was_dropped_is_shown(tmp_path):
    """In minor units, in the list and by itself, with all others: ISO 4217 no longer says how many decimals it has."""
    placed = next(event for event in EVENTS if event.topic == CREATED)
    fields = msgspec.json.encode(placed.values | {"currency": "HRK", "order_id": "kuna"}).decode()
    old = placed._replace(order_id="kuna", offset=9_001, fields=fields)
    stored(tmp_path / "tracker.db", [*EVENTS, old]).close()
    page = client_of(tmp_path / "tracker.db")
    assert len(paged(page)) == ORDERS + 1
    shown = page.get("/api/order", params={"id": "kuna"}).json()
    assert (shown["order"]["currency"], shown["order"]["total"]) == ("HRK", placed.values["total"])
    assert f"{placed.values['total']} minor units of HRK" in shown["steps"][0]["sentence"]


def test_pages_go_on_where_the_one_before_ended(page):
    """Each order once, newest first; stuck ones by how long they wait."""
    orders = paged(page)
    assert len({order["order_id"] for order in orders}) == len(orders) == ORDERS + 1
    assert [o["placed_at"] for o in orders] == sorted((o["placed_at"] for o in orders), reverse=True)
    assert [order["order_id"] for order in paged(page, stuck="1s")] == ["waiting"]
    assert paged(page, stuck="30000d") == []


def test_orders_are_found_by_status_and_by_how_an_id_begins(page):
    """Of the order or of the customer; nothing in what is typed is a pattern."""
    refunded = [order for order in paged(page, status="cancelled") if order["undone"]]
    assert {tuple(order["undone"]) for order in refunded} == {("refunded",)}
    assert {order["order_id"] for order in refunded} == {e.order_id for e in EVENTS if e.topic == REFUNDED}
    assert [order["order_id"] for order in paged(page, search="wait")] == ["waiting"]
    customer = refunded[0]["customer_id"]
    assert {order["customer_id"] for order in paged(page, search=customer[:-1])} >= {customer}
    assert paged(page, search="%") == paged(page, search="' or 1=1 --") == []


def test_an_order_is_told_with_its_picture(page):
    """A lane for every service, a box for every event, and what is due."""
    events = of_order(EVENTS, CREATED, CHARGED, SHORT, CANCELLED, REFUNDED)
    told = page.get("/api/order", params={"id": events[0].order_id}).json()
    assert [step["event"] for step in told["steps"]] == [event.topic for event in events]
    assert "because inventory could not reserve" in told["why"]
    texts = drawn(told["picture"])
    assert {"order-service", "payment-service", "inventory-service", *(e.topic for e in events)} <= set(texts)
    waiting = page.get("/api/order", params={"id": "waiting"}).json()
    assert "due" in drawn(waiting["picture"])
    unknown = page.get("/api/order", params={"id": "no/such?order"})
    assert (unknown.status_code, "no/such?order" in unknown.json()["error"]) == (404, True)


def test_what_the_log_says_is_text_in_the_pictures(tmp_path):
    """Names of services and orders that look like markup, or are no XML at all."""
    [placed, *_] = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)
    fields = msgspec.json.encode(placed.values | {"customer_id": HOSTILE, "order_id": HOSTILE}).decode()
    hostile = placed._replace(order_id=HOSTILE, service=HOSTILE, cause=HOSTILE, fields=fields)
    stored(tmp_path / "tracker.db", [hostile]).close()
    page = client_of(tmp_path / "tracker.db")
    for answer in (page.get("/api/order", params={"id": HOSTILE}), page.get("/api/flow")):
        assert answer.headers["content-type"] == "application/json"
        picture = answer.json()["picture"]
        assert "<img" not in picture
        assert any("<img src=x" in text for text in drawn(picture))
    [order] = page.get("/api/orders").json()["orders"]
    assert order["customer_id"] == HOSTILE


def drawn(picture: str) -> list[str]:
    """Return the texts of a picture; raises ParseError where it is no XML."""
    tree = ET.fromstring(picture)
    return [text.text or "" for text in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_the_flow_shows_what_was_seen_and_what_is_not_declared(tmp_path):
    """Counts on events, dotted arrows that nobody took, red ones of a stranger, and wrong answers of a service."""
    events = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)
    end = events[-1]
    rogue = end._replace(offset=9_000, service="a-stranger")
    stored(tmp_path / "tracker.db", [*events, rogue]).close()
    told = client_of(tmp_path / "tracker.db").get("/api/flow", params={"window": "30000d"}).json()
    assert [(r["event"], r["service"], r["times"]) for r in told["undeclared"]] == [(CONFIRMED, "a-stranger", 1)]
    assert set(told["undeclared"][0]["kinds"]) == {"second-ending", "undeclared-publisher"}
    texts = drawn(told["picture"])
    assert {"a-stranger", "not declared", "1 not as declared", "never seen"} <= set(texts)
    kinds = [path.get("class") for path in ET.fromstring(told["picture"]).iter() if path.get("marker-end")]
    assert kinds.count("wrong") == 1
    declared = sum(len(handler.does.publishes) for handler in FLOW.handlers)
    assert sum("unseen" in (kind or "") for kind in kinds) == declared - 3


def test_the_flow_can_be_seen_in_a_terminal(path):
    """`saga flow --live`: as text, as a picture that stands alone, and for scripts; not as anything else."""
    end = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)[-1]
    stored(path, [end._replace(offset=9_000, service="a-stranger\x1b[2J")]).close()

    def flow(*options: str) -> Result:
        return CliRunner().invoke(main, ["flow", "--live", "--window", "30000d", *options, "--tracker", str(path)])

    text = flow().stdout
    assert f"{ORDERS + 1} orders placed in the last 30000 days." in text
    assert re.search(r"order.created +-> payment.charged +\d+ +\d+ ms +\d+ ms", text)
    assert re.search(r"order.created +-> payment.refunded +not seen", text)
    assert "1 x order.confirmed by a-stranger\N{REPLACEMENT CHARACTER}[2J in answer to" in text
    told = msgspec.json.decode(flow("--format", "json").stdout)
    assert told["events"]["order.created"] == {"ever": ORDERS + 1, "recent": ORDERS + 1}
    assert "<style>" in flow("--format", "svg").stdout
    refused = flow("--format", "canvas")
    assert (refused.exit_code, "--live supports the formats text, svg, json" in refused.output) == (2, True)


def test_a_window_without_live_is_wrong_usage(path):
    """It would do nothing."""
    refused = CliRunner().invoke(main, ["flow", "--window", "10m", "--tracker", str(path)])
    assert (refused.exit_code, "requires --live" in refused.stderr) == (2, True)
    assert CliRunner().invoke(main, ["flow", "--tracker", str(path)]).exit_code == 0


def test_answers_are_those_of_the_window_in_the_latest_orders_at_most(path, monkeypatch):
    """An order that is older than the window has answers within it, and the other way round; a stranger's are none."""
    created, charged, reserved, _ = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)
    start = 1_000_000_000_000

    def answered(order_id: str, offset: int, at: int, **stranger: str) -> list[Any]:
        placed = created._replace(order_id=order_id, offset=offset, at=start)
        answer = {"order_id": order_id, "offset": offset, "at": at, "cause": placed.address} | stranger
        return [placed, charged._replace(**answer)]

    early, late = answered("early", 10_000, start + 10), answered("late", 10_001, start + 70)
    early.append(reserved._replace(order_id="early", offset=10_000, at=start + 75, cause=early[1].address))
    stored(path, [*early, *late, answered("rogue", 10_002, start + 80, service="a-stranger")[1]]).close()
    with LiveTracked.at(path, MODEL) as watched:
        edges = [watched.live(window, start + 100).edges.get((CREATED, CHARGED)) for window in (200, 50, 20)]
    assert edges == [Taken(2, 10, 70), Taken(1, 70, 70), None]
    monkeypatch.setattr("saga.tracker.live.LATEST", 1)
    with LiveTracked.at(path, MODEL) as watched:
        assert watched.live(200, start + 100).edges.get((CREATED, CHARGED)) is None


def test_an_order_is_found_by_how_its_id_begins_or_ends(path):
    """In the search and in the address; an end has four characters or more, and several orders are an error."""
    ids = [f"0198-{number}-abc{number}" for number in range(3)]
    stored(path, [EVENTS[0]._replace(order_id=each, offset=7_000 + n) for n, each in enumerate(ids)]).close()
    page = client_of(path)
    for given in ("0198-1", "abc1", "1-abc1"):
        assert page.get("/api/order", params={"id": given}).json()["order"]["order_id"] == ids[1]
        assert [order["order_id"] for order in paged(page, search=given)] == [ids[1]]
    several = page.get("/api/order", params={"id": "0198"})
    assert (several.status_code, ", ".join(ids) in several.json()["error"]) == (409, True)
    assert [paged(page, search="bc1"), page.get("/api/order", params={"id": "bc1"}).status_code] == [[], 404]


def test_the_state_changes_when_the_tracker_writes(path):
    """It is what the stream sends: counts, how far behind, and what ails broker and tracker."""
    state = PageData(path, FLOW, SimpleNamespace(broker="gone", tracker="", reader=""), lambda: NOTHING).state
    before = state({})
    assert (before["orders"], before["broker"], before["waiting_on"]) == (ORDERS + 1, "gone", {"payment-service": 1})
    more = [event._replace(order_id="more", offset=9_001 + n) for n, event in enumerate(EVENTS[:1])]
    stored(path, more).close()
    after = state(before)
    assert (after["orders"], after["writes"] != before["writes"]) == (ORDERS + 2, True)


def test_nothing_is_counted_again_until_the_tracker_writes(path):
    """The stream looks four times a second for each page that is open, and counting reads the whole table."""
    following = SimpleNamespace(broker="", tracker="", reader="")
    answers = PageData(path, FLOW, following, lambda: NOTHING)
    before = answers.state({})
    marked = before | {"violations": -1}
    following.broker = "gone"
    assert answers.state(marked) == marked | {"broker": "gone"}
    stored(path, [EVENTS[0]._replace(order_id="more", offset=9_001)]).close()
    assert answers.state(marked)["violations"] == before["violations"] == 0
    path.unlink()
    assert "writes" not in answers.state(marked)


def test_without_a_database_it_says_what_makes_one(tmp_path):
    """And goes on answering."""
    page = client_of(tmp_path / "tracker.db")
    answer = page.get("/api/orders")
    assert (answer.status_code, "`saga track` creates it" in answer.json()["error"]) == (503, True)
    assert page.get("/").status_code == 200


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"status": "lost"}, "status 'lost' is not one of pending"),
        ({"stuck": "soon"}, "stuck 'soon' is not a time span"),
        ({"limit": "many"}, "limit 'many' is not a number"),
        ({"limit": "1001"}, "limit 1001 is not between 1 and 1000"),
        ({"after_at": "-1"}, "after_at '-1' is not a number"),
    ],
)
def test_bad_questions_are_refused_by_name(page, asked, said):
    """With the value, and what would do."""
    answer = page.get("/api/orders", params=asked)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize("url", ["/", "/static/app.js", "/api/orders", "/api/nothing", "/login"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_every_answer_forbids_what_the_page_does_not_need(path, url, token):
    """No script, style or connection but its own, no frame around it, nothing kept."""
    headers = client_of(path, token).get(url).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_the_page_has_no_script_or_style_of_its_own(page):
    """The policy would not run it."""
    html = page.get("/").text
    assert not re.search(r"\son\w+=", html)
    assert "style=" not in html
    assert html.count("<script") == html.count('<script type="module" src="/static/')
    assert "http:" not in html
    assert "https:" not in html


UPWARDS = ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "%2e%2e%2fapp.py", "..\\app.py", "//etc/passwd", "/etc/passwd"]


@pytest.mark.parametrize(
    "way", [*UPWARDS, "../../../../etc/passwd", "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd"]
)
def test_no_way_leads_out_of_the_page_s_own_files(path, way):
    """Neither as it is written in an address, nor as the server hands it to the application."""
    page = client_of(path)
    assert page.get(f"/static/{way}").status_code in {404, 405}
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = f"/static/{unquote(way)}"
        scope = {"type": "http", "method": "GET", "path": raw, "raw_path": raw.encode(), "query_string": b""}
        where = {"root_path": "", "scheme": "http", "http_version": "1.1", "headers": [(b"host", b"localhost")]}
        await page.app(scope | where, receive, send)

    anyio.run(ask)
    assert sent[0]["status"] in {404, 405}


OUR_HOSTS = ["localhost", "localhost:1", "LocalHost", "localhost:", "127.0.0.1", "127.0.0.1:8642", "[::1]", "[::1]:80"]
FOREIGN_HOSTS = [
    *("", ":80", "evil.example", "evil.example:8642", "localhost.evil.example", "localhost.", "127.0.0.1.evil.example"),
    *("[::1].evil.com", "[::1].evil.com:80", "[::1]evil.com", "[::1]:80.evil.com", "[::1", "::1", "[::1]]", "[[::1]]"),
    *("[localhost]", "[127.0.0.1]", "localhost:80:80", "localhost:evil", "localhost@evil.example", "evil@localhost"),
    *("localhost/evil", "localhost evil", "localhost,evil.example", "127.1", "2130706433", "0.0.0.0", "[::]", "[::2]"),
    *("localhost#", "localhost?", "localhost%2eevil.example", "\\localhost", "localhost:123456"),
]


def test_without_a_token_only_this_machines_own_names_are_answered(path):
    """A name of another site that leads here does not: its scripts could read the orders."""
    page = client_of(path)
    for host in OUR_HOSTS:
        assert page.get("/api/orders", headers={"host": host}).status_code == 200, host
    for host in FOREIGN_HOSTS:
        for url in ("/", "/api/orders", "/static/app.js"):
            assert page.get(url, headers={"host": host}).status_code == 421, host
    twice = page.get("/api/orders", headers=[("host", "localhost"), ("host", "evil.example")])
    assert twice.status_code == 421


def test_with_a_token_nothing_is_seen_without_it(path):
    """Neither the page nor an answer; the form and its style are."""
    page = client_of(path, TOKEN)
    for url in ("/api/orders", "/api/order?id=waiting", "/api/flow", "/api/changes", "/api/trouble"):
        assert (page.get(url).status_code, page.get(url).json()) == (401, {"error": "a token is needed"})
    assert (page.get("/").status_code, "<form" in page.get("/").text) == (401, True)
    assert page.get("/static/style.css").status_code == 200
    assert page.post("/login", data={"token": "wrong"}).status_code == 401
    assert page.get("/api/orders", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert page.get("/api/orders", headers={"cookie": f"saga-ui={TOKEN}"}).status_code == 401


@pytest.mark.parametrize("way", ["header", "form", "address"])
def test_who_knows_the_token_is_let_in(path, way):
    """With a header each time, or once by the form or the address, which lead to the page and give a cookie."""
    page = client_of(path, TOKEN)
    if way == "header":
        assert page.get("/api/orders", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert page.get("/api/orders").status_code == 401
        return
    posted = way == "form"
    answer = page.post("/login", data={"token": TOKEN}) if posted else page.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert ("httponly" in cookie, "samesite=strict" in cookie, TOKEN in cookie) == (True, True, False)
    assert page.get("/api/orders").status_code == 200
    assert page.post("/login", data={"token": TOKEN}).headers["location"] == "/"


def test_a_database_that_cannot_be_read_is_said(tmp_path):
    """By everything that is asked, and by the stream."""
    (tmp_path / "tracker.db").write_bytes(b"something else" * 1_000)
    page = client_of(tmp_path / "tracker.db")
    for url in ("/api/orders", "/api/order?id=1", "/api/flow", "/api/violations"):
        assert (page.get(url).status_code, "cannot be read" in page.get(url).json()["error"]) == (503, True)
    answers = PageData(
        tmp_path / "tracker.db", FLOW, SimpleNamespace(broker="", tracker="", reader=""), lambda: NOTHING
    )
    assert "cannot be read" in answers.state({})["error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached by other machines: set --token"),
        (["--host", "::"], "--host :: can be reached by other machines"),
        (["--token", "short"], "--token has 5 characters: it must have at least 16"),
    ],
)
def test_the_page_is_not_opened_to_others_by_mistake(options, said):
    """Before anything is started."""
    result = CliRunner().invoke(main, ["ui", *options], env={"SAGA_UI_TOKEN": None})
    assert result.exit_code == 2
    assert said in result.output
