"""`saga ui` in a real browser, over a real saga."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventbus import publishing
from eventbus.log import Output
from saga.ui.following import OTHER_READS, READS
from schemas import Item, OrderCreated
from tests.support.brokers.kafka_node import OwnBroker
from tests.support.chromium import Tab
from tests.support.models.tracked import stored, tracked_events
from tests.support.models.written_saga import Publisher
from tests.support.pages import Page, served
from tests.support.saga import Saga
from tests.support.saga.processes import PATIENCE, environment

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
OF_THE_NETWORK = ("net::", "Failed to load resource")
"""Servers are killed here, and ask for a token."""
ROWS = "[...document.querySelectorAll('.row')].map(row => row.innerText)"
ORDER = "document.getElementById('order').innerText"
KEY = """(() => {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "KEY", bubbles: true }));
    return document.activeElement.id;
})()"""
"""Presses a key, and says what has the focus then, before the browser does anything else."""
SCROLLED = int(os.environ.get("SCROLLED_ORDERS", "1000"))
"""How many orders a test scrolls through; 100000 takes some minutes."""
SCROLL = """(async () => {
    const list = document.getElementById("list"), seen = new Set(), frames = [];
    let most = 0, last = performance.now();
    for (const until = Date.now() + 60000; Date.now() < until && seen.size < 1000;) {
        const rows = [...document.querySelectorAll(".row .id")];
        rows.forEach((row) => seen.add(row.innerText));
        most = Math.max(most, rows.length);
        list.scrollTop += 500;
        for (const _ of [1, 2]) { // until the scrolled list is drawn
            await new Promise(requestAnimationFrame);
            frames.push(performance.now() - last);
            last = performance.now();
        }
    }
    return [[...seen], most, frames];
})()"""
"""Goes on from where the list stands, past a thousand rows."""


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """Its tab, in which nothing went wrong: no error, and nothing that the page's policy forbids."""
    browser.said.clear()
    yield browser
    browser.open("about:blank")
    assert [line for line in browser.said if not any(text in line for text in OF_THE_NETWORK)] == []


def place(saga: Saga, item: str, customer: str = "42") -> str:
    """Place an order, wait for nothing, and return its id."""
    placed = saga.ask("order_service", "place", "--customer", customer, "--total", "29.33", "--item", item)
    return str(placed["order_id"])


def row_of(order_id: str, *texts: str) -> str:
    """Return the expression that is true when the order's row shows these texts."""
    return f"{ROWS}.some(row => {json.dumps([order_id, *texts])}.every(text => row.includes(text)))"


def click(tab: Tab, order_id: str) -> None:
    tab.run(f"[...document.querySelectorAll('.row')].find(row => row.innerText.includes('{order_id}')).click()")


def test_orders_are_seen_live_from_placing_to_the_end(saga, tab):
    """A confirmed and a refunded one, which wait for inventory at first; the stuck filter; a hostile customer."""
    saga.stock(cd_1=5)
    for module in ("order_service", "payment_service"):
        saga.start(module).wait_ready()
    with served(saga.env, saga.folder) as page:
        tab.open(page.url)
        tab.until("document.getElementById('state').textContent === 'live'")
        good, short = place(saga, "cd-1=2", HOSTILE), place(saga, "cd-1=99")
        for order_id in (good, short):
            tab.until(row_of(order_id, "pending", "waits for inventory-service"))
        click(tab, good)
        tab.until(f"{ORDER}.includes('Due: inventory-service answers payment.charged')")
        tab.until("document.querySelectorAll('.picture .due rect').length === 1")

        tab.run("document.getElementById('list').focus()")
        tab.press("s")
        tab.until("document.getElementById('stuck').checked")
        tab.run("document.getElementById('older').value = '1h'")
        tab.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        tab.until(f"{ROWS}.length === 0")
        tab.run("document.getElementById('older').value = '0s'")
        tab.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        tab.until(f"{ROWS}.length === 2")

        saga.start("inventory_service").wait_ready()
        tab.until(f"{ROWS}.length === 0")
        tab.press("s")
        tab.until(row_of(good, "confirmed"))
        tab.until(row_of(short, "cancelled", "29.33 USD · refunded"))
        tab.until(f"{ORDER}.includes('order-service: the order was confirmed')")
        assert HOSTILE in tab.run(ORDER)
        assert any(HOSTILE in row for row in tab.run(ROWS))
        tab.press("ArrowUp")
        click(tab, short)
        tab.until(f"{ORDER}.includes('because inventory could not reserve')")
        tab.until("document.querySelector('.picture path.undoes')")
        assert tab.run("document.querySelector('main img')") is None
        assert tab.run("document.title") == "Order saga"

        tab.press("/")
        tab.until("document.activeElement.id === 'search'")
        tab.type(short)
        tab.until(f"{ROWS}.length === 1")
        for _ in short:
            tab.press("Backspace")
        tab.run("document.getElementById('search').value = ''")
        tab.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        tab.until(f"{ROWS}.length === 2")
        saga.import_orders("shown", 8, "cd-1")
        tab.until(f"{ROWS}.filter(row => /confirmed|refunded/.test(row)).length === 10")
        assert short in tab.run(ORDER)
        tab.press("Escape")


def test_beside_a_tracker_the_page_raises_no_alarm_and_says_who_reads(saga, tab):
    """`saga track` and `saga ui` side by side, as the README shows them; the page takes over when the other ends."""
    reader = "document.getElementById('state').title"
    run = [sys.executable, "-m", "saga", "track", "--tracker", "tracker.db"]
    with subprocess.Popen(run, env=saga.env, cwd=saga.folder, stderr=subprocess.DEVNULL) as tracker:
        try:
            saga.until((saga.folder / "tracker.db").exists, "the tracker did not begin")
            with served(saga.env, saga.folder) as page:
                tab.open(page.url)
                tab.until(f"{reader} === {json.dumps(OTHER_READS)}")
                assert tab.run("document.getElementById('alarm').hidden") is True
                tracker.terminate()
                tab.until(f"{reader} === {json.dumps(READS)}")
                assert tab.run("document.getElementById('alarm').hidden") is True
                assert "not.tracking" not in page.log.read_text()
        finally:
            tracker.kill()


def test_the_saga_does_not_notice_when_the_page_is_killed(saga):
    """It only reads: orders go on, and every law holds."""
    page = Page(saga.env, saga.folder)
    saga.import_orders("before", 100, "cd-1")
    page.kill()
    saga.import_orders("after", 100, "cd-1")
    report = saga.settle()
    assert report["orders"] == 10 + 200


def test_a_rogue_producer_is_red_in_the_picture(saga, tab):
    """A stranger confirms an order once more; what was never seen is dotted."""
    [end] = saga.records("order.confirmed")[:1]
    rogue = Output("order.confirmed", end.key(), end.value(), [("ce_source", b"a-stranger")])
    with served(saga.env, saga.folder) as page:
        tab.open(f"{page.url}#/flow")
        tab.until("document.querySelectorAll('#flow-picture .unseen').length > 0")
        publisher = Publisher(saga.bootstrap_servers)
        publisher.publish(rogue, end.partition())
        tab.until("document.getElementById('n-violations').textContent === '3'")
        tab.until("document.querySelectorAll('#flow-picture path.wrong').length === 1")
        assert "1 x order.confirmed by a-stranger" in tab.text()
        tab.press("3")
        tab.until("document.querySelectorAll('#violation-rows tr').length === 3")
        assert "undeclared-publisher" in tab.text()
        publisher.publish(Output("order.created", b"a-key", b"no event", []), 0)
        tab.press("4")
        tab.until("document.querySelectorAll('#letters .card').length === 2")
        assert "payment-service.dead-letters/" in tab.text()


def test_a_broker_that_is_away_is_said_and_comes_back(make_broker: Callable[..., OwnBroker], tmp_path: Path, tab):
    """What was read stays there; the page goes on by itself."""
    broker = make_broker()
    saga = Saga(tmp_path, broker.bootstrap_servers)
    saga.make_topics(1)
    alarm = "document.getElementById('alarm').innerText"
    with served(saga.env, tmp_path) as page:
        tab.open(page.url)
        tab.until("document.getElementById('state').textContent === 'live'")
        broker.kill()
        tab.until(f"{alarm}.includes('The broker is unavailable')")
        assert tab.run("document.getElementById('state').textContent") == "broker away"
        broker.restart()
        tab.until(f"{alarm} === ''")
        placed = OrderCreated("after-the-outage", "42", 100, "USD", (Item("cd-1", 1),))
        Publisher(broker.bootstrap_servers).publish(publishing.root_event(saga.codec, b"order-service", placed), 0)
        tab.until(row_of(placed.order_id, "pending", "waits for payment-service"))


def test_thousands_of_orders_are_scrolled_through_with_few_elements(tmp_path: Path, tab):
    """Pages come from the server as they are needed, each order once; what cannot be seen is not in the document."""
    events = [event for event in tracked_events(500) if event.topic == "order.created"]
    copies = [
        event._replace(order_id=f"{copy}-{event.order_id}", offset=event.offset + copy * 10_000, cause=None)
        for copy in range(SCROLLED // 500)
        for event in events
    ]
    stored(tmp_path / "tracker.db", copies).close()
    env = environment(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    with served(env, tmp_path, "--no-track") as page:
        tab.open(page.url)
        tab.until(f"{ROWS}.length > 5")
        seen, frames, deadline = set(), [], time.monotonic() + PATIENCE + SCROLLED / 100
        while len(seen) < len(copies) and time.monotonic() < deadline:
            part, rows, took = tab.run(SCROLL)
            seen.update(part)
            frames += took
            assert rows < 80
    assert seen == {event.order_id for event in copies}
    late = sorted(frames)[int(len(frames) * 0.99)]
    print(f"{len(seen)} orders, 99 of 100 frames within {late:.0f} ms")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """The page over forty finished orders; it needs no broker."""
    stored(tmp_path / "tracker.db", tracked_events(40)).close()
    with served(environment(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1"), tmp_path, "--no-track") as page:
        yield page


def test_after_esc_the_arrow_keys_choose_again_from_where_they_were(page: Page, tab):
    """Wherever in the order the focus was: in the whole of it, or in a part that is no longer there."""
    tab.open(page.url)
    tab.until(f"{ROWS}.length > 5")
    for focus in ("order", "order .copy", "order summary"):
        third = tab.run("document.querySelectorAll('.row .id')[2].innerText")
        for key in ("Home", "ArrowDown"):
            tab.press(key)
        tab.until("document.querySelector('#order summary')")
        tab.press("Enter")
        assert tab.run("document.activeElement.id") == "order"
        tab.run(f"document.querySelector('#{focus}').focus()")
        tab.press("Escape")
        tab.press("ArrowDown")
        assert tab.run("location.hash") == f"#/orders/{third}"
        tab.press("Escape")


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_typed_at_once_after_esc_or_slash_is_searched_for(page: Page, tab, width: int):
    """No key is lost or taken for a view's: `/` moves the focus before the next one, from every view."""
    tab.resize(width, 700)
    tab.open(page.url)
    tab.until(f"{ROWS}.length > 3")
    for before in ("", "2", "3", "4"):
        tab.press("1")
        tab.press("Home")
        tab.until("document.querySelector('.verdict')")
        for key in (before, "Escape", "/") if before else ("Enter", "Escape", "/"):
            focused = tab.run(KEY.replace("KEY", key))
        assert focused == "search"
        for key in "43":
            tab.press(key)
        assert tab.run("document.getElementById('search').value") == "43"
        tab.until("location.hash.endsWith('?search=43')")
        for _ in range(3):  # out of the search, the order away, and the search
            tab.press("Escape")
        tab.until(f"{ROWS}.length > 3")
        assert tab.run("document.getElementById('search').value") == ""
    tab.resize(1280, 700)


def test_the_page_asks_others_for_the_token(tmp_path: Path, tab):
    """A form takes it; without a broker the page says so."""
    env = environment(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", SAGA_UI_TOKEN="a-token-of-24-characters")
    with served(env, tmp_path, "--host", "0.0.0.0", "--no-track") as page:
        tab.open(page.url.replace("0.0.0.0", "127.0.0.1"))
        tab.until("document.activeElement.type === 'password'")
        tab.type("a-token-of-24-characters")
        tab.press("Enter")
        tab.until("document.getElementById('alarm')?.innerText.includes('127.0.0.1:1')")
