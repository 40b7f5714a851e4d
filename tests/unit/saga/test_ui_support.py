"""What the page tells a support person: orders found by whatever a customer knows, and what an order means for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from saga.tracker.fold import TrackedEvent
from saga.tracker.installed import MODEL
from saga.tracker.page_queries import PageTracked
from saga.tracker.queries import Tracked
from saga.tracker.timeline import timeline
from saga.tracker.verdict import verdict
from saga.tracker.wanted import Wanted
from tests.support.models.saga_model import CANCELLED, CHARGED, CONFIRMED, CREATED, FAILED, REFUNDED, RESERVED, SHORT
from tests.support.models.tracked import of_order, stored, tracked_events
from tests.unit.saga.test_ui import client_of

EVENTS = tracked_events(60)
CONFIRMING = of_order(EVENTS, CREATED, CHARGED, RESERVED, CONFIRMED)
REFUNDING = of_order(EVENTS, CREATED, CHARGED, SHORT, CANCELLED, REFUNDED)
DECLINING = of_order(EVENTS, CREATED, FAILED, CANCELLED)
UNANSWERED = [DECLINING[0], DECLINING[2]._replace(cause=None)]
"""A person cancelled it before payment-service answered."""
NO_CHARGE_KNOWN = (
    f"Cancelled on request: {UNANSWERED[1].values['reason']}. The customer pays nothing: no charge is known, and one"
    " still in flight will be refunded."
)
IN_FULL = "01a225ea-a4d0-726e-8896-12b4441afc5f"
ROGUE = "But the log has something that no service declares: check before you answer."
QUOTED = 'say "why" \\ 100%_'


def changed(event: TrackedEvent, order_id: str, offset: int, **fields: Any) -> TrackedEvent:
    """Return the event for another order, at another place, with other fields."""
    encoded = msgspec.json.encode(event.values | {"order_id": order_id} | fields).decode()
    return event._replace(order_id=order_id, offset=offset, fields=encoded)


@pytest.fixture
def page(tmp_path: Path) -> TestClient:
    """Many orders, and one that can be found in every way."""
    items = [{"sku": "POSTER-1977", "quantity": 3}]
    placed = changed(REFUNDING[0], IN_FULL, 9_000, customer_id="berta", request_id="call-7", items=items)
    ended = changed(REFUNDING[3], IN_FULL, 9_001, reason=QUOTED)
    second = changed(REFUNDING[0], "another", 9_002, customer_id="berta")
    stored(tmp_path / "tracker.db", [*EVENTS, placed, ended, second]).close()
    return client_of(tmp_path / "tracker.db")


def found(page: TestClient, **wanted: str) -> list[str]:
    return [order["order_id"] for order in page.get("/api/orders", params=wanted).json()["orders"]]


@pytest.mark.parametrize(
    "text", ["01a225ea", IN_FULL, "1afc5f", "call-7", "poster-19", "POSTER-1977", 'SAY "why"', "\\ 100%_"]
)
def test_an_order_is_found_by_what_a_customer_knows(page, text):
    """How its id begins or ends, its request, an article, the reason; nothing in it is a pattern."""
    assert found(page, search=text) == [IN_FULL]


@pytest.mark.parametrize("text", ["fc5", "order_id", "quantity", "c%f", "%", "_"])
def test_what_is_not_said_of_an_order_finds_nothing(page, text):
    """An end that is too short to mean anything, the names of fields, wildcards."""
    assert found(page, search=text) == []


def test_the_customer_of_an_order_has_others(page):
    """Newest first, without the order itself; the list can be narrowed to them."""
    told = page.get("/api/order", params={"id": IN_FULL}).json()
    assert [other["order_id"] for other in told["others"]] == ["another"]
    assert sorted(found(page, customer="berta")) == sorted([IN_FULL, "another"])
    assert told["order"]["items"] == [{"sku": "POSTER-1977", "quantity": 3}]
    assert (told["order"]["request_id"], told["order"]["reason"]) == ("call-7", QUOTED)


def test_rows_of_the_list_say_why(page):
    """What the event says that ended the order; an order that went well has no reason."""
    rows = {order["order_id"]: order for order in page.get("/api/orders", params={"limit": 1000}).json()["orders"]}
    assert rows[IN_FULL]["reason"] == QUOTED
    assert rows[REFUNDING[0].order_id]["reason"] == REFUNDING[3].values["reason"]
    assert rows[CONFIRMING[0].order_id]["reason"] == rows["another"]["reason"] == ""


def test_without_an_ending_the_failed_step_says_why(tmp_path):
    """The order is not cancelled yet, and support can already say it."""
    stored(tmp_path / "tracker.db", DECLINING[:2]).close()
    with PageTracked.at(tmp_path / "tracker.db", MODEL) as tracked:
        reasons = tracked.reasons(tracked.orders(Wanted()))
    assert reasons == {DECLINING[0].order_id: DECLINING[1].values["error"]}


@pytest.mark.parametrize(
    ("events", "says", "tone"),
    [
        (CONFIRMING, "The customer pays {charged}, and gets everything.", "good"),
        (REFUNDING, "The customer pays nothing: {charged} was refunded.", "neutral"),
        (DECLINING, "The customer pays nothing: nothing was charged.", "neutral"),
        (UNANSWERED, NO_CHARGE_KNOWN, "neutral"),
        (CONFIRMING[:1], "Nothing has been charged so far; the order waits for payment-service.", "waiting"),
        (CONFIRMING[:2], "{charged} was charged; the order waits for inventory-service.", "waiting"),
        (REFUNDING[:4], "{charged} was charged and is not refunded yet: that is up to payment-service.", "bad"),
        (CONFIRMING[1:2], "The log no longer has the beginning of this order, or not yet.", "bad"),
        (
            [*CONFIRMING, CONFIRMING[-1]._replace(offset=9_000, service="a-stranger")],
            f"The customer pays {{charged}}, and gets everything. {ROGUE}",
            "bad",
        ),
    ],
)
def test_the_verdict_is_what_is_told_to_the_customer(tmp_path, events, says, tone):
    """In money, for every end and on every way there."""
    stored(tmp_path / "tracker.db", events).close()
    with Tracked.at(tmp_path / "tracker.db", MODEL) as tracked:
        story = timeline(tracked, events[0].order_id)
    assert story is not None
    amounts = [event.values["amount"] for event in events if event.topic == CHARGED]
    charged = f"{amounts[0] / 100:.2f} USD" if amounts else ""
    assert verdict(story, 0) == (says.format(charged=charged), tone)


def test_a_box_of_the_flow_lists_its_orders(page):
    """Those that have the event; together with every other filter."""
    declined = {event.order_id for event in EVENTS if event.topic == FAILED}
    assert set(found(page, event=FAILED, limit="1000")) == declined
    assert found(page, event=FAILED, status="confirmed") == []
    assert set(found(page, waiting_on="payment-service")) >= {"another"}
    assert found(page, window="1s") == []
    refused = page.get("/api/orders", params={"event": "nothing"})
    assert (refused.status_code, "event 'nothing' is not one of order.created" in refused.json()["error"]) == (
        400,
        True,
    )
