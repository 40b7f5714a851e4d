"""How the page looks, in every view, size and colour scheme: empty, full and in trouble; for eyes, and for axe-core.

SAGA_SCREENSHOTS=FOLDER keeps every picture there; with SAGA_SCREENSHOTS=1 those in docs/ are made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventbus.log import Output
from saga.kafka.topics_file import read_topics
from tests.chaos.refusals import refuse
from tests.conftest import do_without
from tests.support.axe import axe_source, complaints
from tests.support.brokers.kafka_node import Broker
from tests.support.brokers.maven import Missing
from tests.support.chromium import Tab
from tests.support.models.written_saga import Publisher
from tests.support.pages import Page, served
from tests.support.saga import SERVICES, Saga
from tests.support.saga.processes import Worker

SIZES = {1280: 800, 1920: 1080, 390: 844}
PHONE = 390
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
OF_THE_NETWORK = ("net::", "Failed to load resource")
"""There is no tracker's database in the first moment."""
DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTED = {
    "full-order-1280-light": "ui-orders.png",
    "trouble-flow-1280-dark": "ui-flow.png",
    "trouble-trouble-1280-light": "ui-trouble.png",
    "full-order-390-light": "ui-phone.png",
}
VIEWS = ("orders", "order", "flow", "violations", "trouble")
INSIDE = """[...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !each.closest("svg, .wide, pre, .row");
}).map((each) => each.outerHTML.slice(0, 200))"""
"""Elements that reach beyond the right edge; pictures can be scrolled."""
CUT = """(() => {
    const search = document.getElementById("search"), measure = document.createElement("canvas").getContext("2d");
    measure.font = getComputedStyle(search).font;
    const room = search.clientWidth - 2 * parseFloat(getComputedStyle(search).paddingLeft);
    return [
        ...(search.offsetParent && measure.measureText(search.placeholder).width > room ? [search] : []),
        ...[...document.querySelectorAll(".row .note")].filter(
            (note) => note.scrollHeight > note.clientHeight + 1 || note.scrollWidth > note.clientWidth + 1),
        ...[...document.querySelectorAll("table a")].filter((id) => id.offsetHeight > 30 && innerWidth > 700),
    ].map((each) => each.outerHTML.slice(0, 300));
})()"""
"""Texts of which a part is not shown, and ids over two lines beside other columns."""


@pytest.fixture(scope="module")
def axe() -> str:
    try:
        return axe_source()
    except Missing as why:
        do_without("axe-core", why)


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    browser.said.clear()
    yield browser
    browser.resize(1280, 700)
    browser.dark(dark=False)
    browser.open("about:blank")
    assert [line for line in browser.said if not any(text in line for text in OF_THE_NETWORK)] == []


@pytest.fixture
def saga(fresh_broker: Broker, tmp_path: Path) -> Iterator[Saga]:
    """A saga for one test, of which nothing is left afterwards. Charges above 200.00 are declined."""
    provider = f"simulated:///{tmp_path}/provider.db?decline-above=20000"
    saga = Saga(tmp_path, fresh_broker.bootstrap_servers, PAYMENT_GATEWAY=provider)
    saga.make_topics(2)
    yield saga
    saga.close()
    saga.admin.remove([*(topic.name for topic in read_topics()), *(name.replace("_", "-") for name in SERVICES)])


def looked_at(tab: Tab, page: Page, state: str, order: str | None, axe: str) -> None:
    """Look at every view in every size and colour scheme."""
    hashes = {name: f"#/{name}" for name in VIEWS} | {"order": f"#/orders/{order}"}
    faults = []
    for name in VIEWS if order else [view for view in VIEWS if view != "order"]:
        tab.open("about:blank")
        tab.open(page.url + hashes[name])
        tab.until("document.querySelectorAll('.service').length === 3")
        tab.until("document.getElementById('state').textContent === 'live'")
        tab.until("document.querySelector('.row')" if name == "orders" and order else READY[name])
        for width, height in SIZES.items():
            tab.resize(width, height)
            for dark in (False, True):
                tab.dark(dark=dark)
                tab.until("document.getAnimations().length === 0")
                where = f"{state}-{name}-{width}-{'dark' if dark else 'light'}"
                keep(tab, where)
                faults += [f"{where}: beyond the edge: {each}" for each in tab.run(INSIDE)]
                faults += [f"{where}: cut or broken: {each}" for each in tab.run(CUT)]
                if width != 1920:  # the same rules as at 1280
                    faults += [f"{where}: {complaint}" for complaint in complaints(tab, axe)]
    assert not faults, "\n".join(faults)


READY = {
    "orders": "document.querySelector('#none p')",
    "order": "document.querySelector('.verdict')",
    "flow": "document.querySelector('#flow-picture svg')",
    "violations": "document.querySelector('#violation-rows tr, #no-violations:not([hidden])')",
    "trouble": "document.querySelector('#letters .card, #letters .well')",
}


def keep(tab: Tab, name: str) -> None:
    folder = os.environ.get("SAGA_SCREENSHOTS", "")
    picture = tab.screenshot(1)
    assert picture
    if folder == "1" and name in DOCUMENTED:
        (DOCS / DOCUMENTED[name]).write_bytes(tab.screenshot(0.75))
    elif folder not in {"", "1"}:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(picture)


def place(saga: Saga, item: str, customer: str, total: str = "29.33", deadline: str = "15m") -> str:
    what = ("--customer", customer, "--total", total, "--item", item, "--order-deadline", deadline)
    placed = saga.ask("order_service", "place", *what)
    return str(placed["order_id"])


def work(saga: Saga) -> tuple[list[Worker], dict[str, str]]:
    """Start the workers, and place orders of every end; return the workers, and an order of each."""
    saga.stock(cd_1=50, poster_1977=1)
    unwanted = place(saga, "cd-1=1", "dora")
    saga.ask("order_service", "cancel", unwanted, "--by", "ann", "--reason", "ordered twice")
    overdue = place(saga, "cd-1=1", "carla", deadline="1ms")
    workers = saga.start_all()
    saga.import_orders("shown", 12, "cd-1")
    found = {
        "confirmed": place(saga, "cd-1=2", "anna"),
        "refunded": place(saga, "poster-1977=3", "anna", "5.00"),
        "declined": place(saga, "cd-1=1", "berta", "201.00"),
        "unwanted": unwanted,
        "overdue": overdue,
    }
    place(saga, "cd-1=30", "customer-3", "99.70")
    saga.until(lambda: not saga.pending(), "not every order had ended")
    return workers, found


def test_empty(saga: Saga, tab: Tab, axe: str) -> None:
    """Everything is well, and says so."""
    saga.start_all()
    with served(saga.env, saga.folder) as page:
        looked_at(tab, page, "empty", None, axe)
        for name in ("violations", "trouble"):
            tab.open(f"{page.url}#/{name}")
            tab.until("document.querySelector('main > section:not([hidden])').innerText.includes('None, all well')")


def test_full(saga: Saga, tab: Tab, axe: str) -> None:
    """Orders of every end, three workers, no trouble; then what a person does with them."""
    _, found = work(saga)
    with served(saga.env, saga.folder) as page:
        looked_at(tab, page, "full", found["refunded"], axe)
        look_at_endings(tab, page, found, axe)
        read_an_order(tab, page, saga, found)
        use_the_keyboard(tab, page)
        use_a_phone(tab, page)
        use_the_flow(tab, page, found)


def look_at_endings(tab: Tab, page: Page, found: dict[str, str], axe: str) -> None:
    """Orders that a person, or their deadline, cancelled: the verdict, the row of the list, the picture, the counts."""
    said = {
        "unwanted": "Cancelled on request of ann: ordered twice. The customer pays nothing: ",
        "overdue": "Cancelled because its deadline had passed before order.created was published. The customer pays ",
    }
    tab.dark(dark=False)
    began = {"unwanted": ("request", "on request"), "overdue": ("deadline", "by deadline")}
    for name, text in said.items():
        cause, drawn = began[name]
        for width in (1280, PHONE):
            tab.resize(width, SIZES[width])
            tab.open("about:blank")
            tab.open(f"{page.url}#/orders/{found[name]}?ended_by={cause}")
            tab.until(f"document.querySelector('.verdict')?.innerText.startsWith({json.dumps(text)})")
            tab.until(f"document.querySelector('#order .picture').textContent.includes({json.dumps(drawn)})")
            keep(tab, f"full-{name}-{width}-light")
            assert complaints(tab, axe) == []
        tab.resize(1280, 800)
        tab.until(f"document.querySelectorAll('.row').length === 1 && {row(found[name])}")
        tab.until(f"document.querySelector('.chip').innerText.startsWith('ended by {cause}')")
    tab.open("about:blank")
    tab.open(page.url)
    for counted in ("1 by deadline", "1 on request", "1 after payment.failed"):
        tab.until(f"document.getElementById('order').innerText.includes({json.dumps(counted)})")


def read_an_order(tab: Tab, page: Page, saga: Saga, found: dict[str, str]) -> None:
    """The verdict, the others of the customer, an event as it is on the log; the search by the end of the id."""
    tab.open("about:blank")
    tab.open(page.url)
    tab.until("document.querySelectorAll('.row').length > 5")
    for text in (found["refunded"][-6:], "POSTER-1977", "poster-1977 wanted"):
        tab.run(f"document.getElementById('search').value = {json.dumps(text)}")
        tab.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        shown = row("cancelled", "5.00 USD · refunded", found["refunded"])
        tab.until(f"document.querySelectorAll('.row').length === 1 && {shown}")
    tab.until(row("out of stock: 3 of poster-1977 wanted"))
    tab.run("document.querySelector('.row').click()")
    tab.until("document.querySelector('.verdict').innerText === 'The customer pays nothing: 5.00 USD was refunded.'")
    tab.until("document.querySelector('.items').innerText === '3 \\u00d7 poster-1977'")
    told = str(tab.run("document.getElementById('order').innerText"))
    assert found["confirmed"] in told, "the customer's other order"
    assert " UTC, " in told
    assert " ago" in told
    tab.run("document.querySelector('#order .node[data-name^=\"payment.charged/\"]').dispatchEvent(new Event('click'))")
    tab.until("document.querySelector('.step[open]').innerText.includes('\"amount\": 500')")
    assert "for its turn, then handled in" in str(tab.run("document.querySelector('.step[open]').innerText"))
    place(saga, "cd-1=1", "anna")  # the page is drawn anew, and what was opened stays open
    tab.until("document.querySelector('.others').children.length === 2")
    assert tab.run("document.querySelectorAll('.step[open]').length") == 1


def row(*texts: str) -> str:
    return f"{json.dumps(texts)}.every(text => document.querySelector('.row').innerText.includes(text))"


def use_the_keyboard(tab: Tab, page: Page) -> None:
    """Arrow keys and Esc work at once, without a click into the list."""
    tab.open("about:blank")
    tab.open(page.url)
    tab.until("document.querySelectorAll('.row').length > 5")
    assert tab.run("document.activeElement.tagName") == "BODY"
    tab.press("ArrowDown")
    tab.until("document.querySelector('.row[aria-selected=true]') && document.querySelector('.verdict')")
    first = tab.run("location.hash")
    tab.press("ArrowDown")
    tab.until(f"location.hash !== {json.dumps(first)}")
    tab.press("ArrowUp")
    tab.until(f"location.hash === {json.dumps(first)}")
    tab.press("Escape")
    tab.until("location.hash === '#/orders' && document.querySelector('#order h2').innerText.includes('orders')")


def use_a_phone(tab: Tab, page: Page) -> None:
    """A card for each order; the order fills the screen, and there is a way back; no keys are explained."""
    tab.resize(PHONE, SIZES[PHONE])
    tab.open("about:blank")
    tab.open(page.url)
    tab.until("document.querySelectorAll('.row').length > 5")
    assert tab.run("getComputedStyle(document.querySelector('footer')).display") == "none"
    assert tab.run("getComputedStyle(document.querySelector('.row')).borderRadius") == "8px"
    tab.run("document.querySelector('.row').click()")
    tab.until("document.querySelector('.verdict')?.offsetParent && !document.getElementById('list').offsetParent")
    assert tab.run("document.getElementById('order').getBoundingClientRect().width") > PHONE * 0.9
    tab.run("document.querySelector('.back').click()")
    tab.until("document.querySelector('.row').offsetParent && !document.getElementById('order').offsetParent")
    tab.resize(1280, 800)


def use_the_flow(tab: Tab, page: Page, found: dict[str, str]) -> None:
    """A box lists its orders, by mouse or keyboard; the window changes the counts."""
    tab.open("about:blank")
    tab.open(f"{page.url}#/flow")
    tab.until("document.querySelector('#flow-picture .node[data-name=\"payment.failed\"]')")
    assert " / " in str(tab.run("document.getElementById('flow-picture').textContent"))
    tab.run("document.getElementById('window').value = '1h'")
    tab.run("document.getElementById('window').dispatchEvent(new Event('input'))")
    tab.until("document.getElementById('flow-picture').textContent.includes('how often in 1 h')")
    tab.run("document.querySelector('#flow-picture .node[data-name=\"payment.failed\"]').focus()")
    tab.press("Enter")
    tab.until(f"document.querySelectorAll('.row').length === 1 && {row(found['declined'])}")
    tab.run("document.querySelector('.chip').click()")
    tab.until("document.querySelectorAll('.row').length > 5")


def test_in_trouble(saga: Saga, tab: Tab, axe: str) -> None:
    """A parked order, bad records, a stranger, a service without a worker; everything hostile is text."""
    workers, found = work(saga)
    refuse(saga.env["INVENTORY_SERVICE_DATABASE"], "inventory-service", "new.items like '%bad-1%'")
    parked = place(saga, "bad-1=1", HOSTILE)
    publisher = Publisher(saga.bootstrap_servers)
    [end] = saga.records("order.confirmed", found["confirmed"])
    publisher.publish(Output("order.confirmed", end.key(), end.value(), [("ce_source", b"a-stranger")]), 0)
    publisher.publish(Output("order.created", HOSTILE.encode(), b"no event", [("a-header", HOSTILE.encode())]), 0)
    saga.until(lambda: saga.ask("inventory_service", "parked", "list"), "nothing was parked")
    saga.until(lambda: len(saga.ask("saga", "deadletters", "list")) == 2, "the bad record was not refused by both")
    workers[1].kill()
    waiting = place(saga, "cd-1=1", "carla")
    with served(saga.env, saga.folder) as page:
        tab.open(f"{page.url}#/trouble")
        tab.until("document.querySelectorAll('#parked .card').length === 1")
        tab.until("document.querySelectorAll('#letters .card').length === 2")
        told = str(tab.run("document.getElementById('trouble').textContent"))
        assert f"inventory-service parked retry {parked} --by YOU --reason 'WHY'" in told
        assert '"sku": "bad-1"' in told, "the parked record, decoded"
        assert "saga deadletters redrive payment-service.dead-letters/" in told
        assert HOSTILE in told
        assert tab.run("document.querySelector('main img')") is None
        tab.until("document.querySelectorAll('.service.bad').length === 2")
        for says in (
            "inventory-service retries parked orders: 1",
            "payment-service no worker runs, events not handled: 1",
        ):
            tab.until(f"document.getElementById('health').innerText.includes({json.dumps(says)})")
        tab.run(
            "[...document.querySelectorAll('#health a')].find(a => a.innerText.includes('payment-service')).click()"
        )
        tab.until(f"document.querySelectorAll('.row').length === 1 && {row(waiting, 'waits for payment-service')}")
        tab.until(row(waiting, "cancels itself in 15 min"))
        tab.run("document.querySelector('.row').click()")
        tab.until("document.querySelector('.verdict')?.innerText.includes('and cancels itself at its deadline')")
        for width in (1280, PHONE):
            tab.resize(width, SIZES[width])
            tab.until("document.querySelector('#order .facts').innerText.includes('order cancels itself in 1')")
            keep(tab, f"trouble-pending-{width}-light")
        tab.resize(1280, 800)
        looked_at(tab, page, "trouble", found["confirmed"], axe)
        assert tab.run("document.title") == "Order saga"
