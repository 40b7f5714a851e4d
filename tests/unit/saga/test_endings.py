"""Endings that no event caused, and deadlines of pending orders: what the tracker keeps of them, and says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventbus.log import to_iso
from saga.__main__ import main
from saga.tracker.endings import cancels_itself
from saga.tracker.fold import Fold, TrackedEvent
from saga.tracker.installed import FLOW, MODEL
from saga.tracker.live import LiveTracked
from saga.tracker.live_svg import as_live_svg
from saga.tracker.live_text import as_live_json, as_live_text
from saga.tracker.moments import span
from saga.tracker.queries import Tracked, now
from saga.tracker.timeline import timeline
from saga.tracker.verdict import verdict
from tests.support.models.endings import (
    DEADLINE,
    DECLINED,
    GIVEN_BACK,
    LATE,
    MINUTE,
    PLACED,
    RELEASING,
    SILENT,
    UNHANDLED,
    UNRESERVED,
    UNWANTED,
    created,
    overdue,
    requested,
)
from tests.support.models.tracked import stored
from tests.unit.saga.test_ui import client_of

AT_ONCE = [created("silent", PLACED), overdue("silent", PLACED)]
"""Both events were published in the same millisecond."""
WHY = [
    (SILENT, "because its deadline had passed: payment-service had not answered"),
    (LATE, "because its deadline had passed: payment-service had not answered"),
    (UNRESERVED, "because its deadline had passed: inventory-service had not answered"),
    (UNHANDLED, "because its deadline had passed: order-service had not handled inventory.reserved"),
    (
        [created("silent", PLACED), overdue("silent", PLACED)],
        "because its deadline had passed: payment-service had not answered",
    ),
    (
        [overdue("silent", PLACED), created("silent", PLACED + 2)],
        "because its deadline had passed before order.created was published",
    ),
    (
        [overdue("silent", PLACED)._replace(cause="deadline/soon"), created("silent", PLACED + 2)],
        "because its deadline had passed: payment-service had not answered",
    ),
    (SILENT[1:], "because its deadline had passed"),
    (UNWANTED, "on request of ann: ordered twice"),
    ([UNWANTED[0], requested("unwanted", PLACED + 3_000, "by the shop")], "on request: by the shop"),
]


def saga(folder: Path, events: list[TrackedEvent], *arguments: str) -> str:
    """Return what a command prints about these events."""
    if not (folder / "tracker.db").exists():
        stored(folder / "tracker.db", events).close()
    result = CliRunner().invoke(main, [*arguments], env={"SAGA_TRACKER": str(folder / "tracker.db")})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(("events", "because"), WHY)
def test_an_ending_without_an_event_as_its_cause_is_explained(tmp_path, events, because):
    """Whose answers were due when the deadline had passed, whatever came later; who requested it, and why."""
    order_id, end = events[0].order_id, next(event for event in events if event.topic == "order.cancelled")
    headline = saga(tmp_path, events, "why", order_id).splitlines()[0]
    after = f" {span(end.at - events[0].at)} after order.created" if end is not events[0] else ""
    expected = f"cancelled{after}, {because}"
    assert headline == expected or headline.startswith(f"{expected}; ")
    shown = saga(tmp_path, events, "show", order_id)
    assert f"\n{'':26}{because.removeprefix('because ')}\n" in shown
    assert "nobody had answered" not in shown
    assert json.loads(saga(tmp_path, events, "show", order_id, "--json"))["why_ended"] == because.removeprefix(
        "because "
    )
    with Tracked.at(tmp_path / "tracker.db", MODEL) as reading:
        story = timeline(reading, order_id)
        assert story is not None
        assert verdict(story, now()).text.startswith(f"Cancelled {because}. ")


def test_an_order_that_was_published_after_its_deadline_blames_nobody(tmp_path):
    """No worker ran: nobody was asked, and the log does not say when it was placed."""
    late = PLACED + DEADLINE + 43_000
    events = [created("late", late, PLACED + DEADLINE), overdue("late", late)._replace(cause=f"deadline/{PLACED}")]
    because = "because its deadline had passed before order.created was published"
    assert saga(tmp_path, events, "why", "late").splitlines()[0] == f"cancelled, {because}"
    assert told(tmp_path / "a.db", events).startswith(f"Cancelled {because}. The customer pays nothing: ")


def test_of_one_millisecond_the_beginning_comes_first(tmp_path):
    """The names of events do not decide."""
    shown = saga(tmp_path, AT_ONCE, "show", "silent")
    assert shown.index("  order.created/") < shown.index("  order.cancelled/")


def test_the_verdict_says_what_it_means_in_money(tmp_path):
    """Nothing was charged, or what was charged late was given back."""
    assert told(tmp_path / "a.db", SILENT).endswith(
        "not answered. The customer pays nothing: no charge is known, and one still in flight will be refunded."
    )
    assert told(tmp_path / "b.db", GIVEN_BACK).endswith("The customer pays nothing: 29.33 USD was refunded.")


def told(file: Path, events: list[TrackedEvent]) -> str:
    stored(file, events).close()
    with Tracked.at(file, MODEL) as reading:
        story = timeline(reading, events[0].order_id)
    assert story is not None
    return verdict(story, now()).text


def test_a_refusal_is_explained_by_its_event(tmp_path):
    """As before."""
    assert saga(tmp_path, DECLINED, "why", "declined").splitlines()[0] == (
        "cancelled 9 ms after order.created, because the charge was refused: no cover"
    )
    assert json.loads(saga(tmp_path, DECLINED, "show", "declined", "--json"))["why_ended"] is None


def pending() -> list[TrackedEvent]:
    """Return the events of an order that cancels itself in 12 minutes from now."""
    soon = now() + 12 * MINUTE
    return [created("soon", soon - DEADLINE, soon)]


def test_a_pending_order_says_when_it_cancels_itself(tmp_path):
    """In `show`, also as it was then, in `why`, and in JSON; one that has ended, or has no deadline, does not."""
    events = [*pending(), *UNWANTED, created("forever", PLACED), created("late", PLACED, PLACED + MINUTE)]
    assert re.search(r"^cancels itself in 1[12](\.\d)? min \(20", saga(tmp_path, events, "show", "soon"), re.MULTILINE)
    assert re.search(
        r"; cancels itself in 1[12](\.\d)? min; payment-service has", saga(tmp_path, events, "why", "soon")
    )
    assert json.loads(saga(tmp_path, events, "show", "soon", "--json"))["order"]["cancel_at"] is not None
    for order_id in ("unwanted", "forever"):
        assert "cancels itself" not in saga(tmp_path, events, "show", order_id)
        assert json.loads(saga(tmp_path, events, "show", order_id, "--json"))["order"]["cancel_at"] is None
    then = saga(tmp_path, events, "show", "unwanted", "--at", to_iso(PLACED + 1_000))
    assert "cancels itself in 15 min" in then
    assert ", and no worker has cancelled it" in saga(tmp_path, events, "why", "late")


def test_a_deadline_is_told_as_of_now():
    """Before it, shortly after it, and long after it: then no worker does its work."""
    assert cancels_itself(None, 5) == ""
    assert cancels_itself(720_000, 0) == "cancels itself in 12 min"
    assert cancels_itself(1_000, 61_000) == "its deadline passed 1 min ago"
    assert cancels_itself(1_000, 61_001) == "its deadline passed 1 min ago, and no worker has cancelled it"


def test_orders_are_found_by_what_ended_them_and_by_their_deadline(tmp_path):
    """`--ended-by` and `--overdue`."""
    late = [created("late", PLACED, PLACED + MINUTE)]
    events = [*pending(), *late, *SILENT, *UNWANTED, *DECLINED]
    for option, expected in (
        (["--ended-by", "deadline"], ["silent"]),
        (["--ended-by", "request"], ["unwanted"]),
        (["--overdue"], ["late"]),
        (["--status", "pending"], ["soon", "late"]),
    ):
        listed = json.loads(saga(tmp_path, events, "orders", *option, "--json"))
        assert [order["order_id"] for order in listed] == expected, option
    ended = {order["order_id"]: order["ended_by"] for order in json.loads(saga(tmp_path, events, "orders", "--json"))}
    expected_ends = {"silent": "deadline", "unwanted": "request", "declined": "payment.failed"}
    assert ended == expected_ends | dict.fromkeys(("soon", "late"))


def test_statistics_say_how_many_failed_by_what(tmp_path):
    """In all, and as branches of the latest."""
    events = [*pending(), *SILENT, *UNWANTED, *DECLINED]
    stats = json.loads(saga(tmp_path, events, "stats", "--json"))
    assert stats["ended_by"] == {"deadline": 1, "payment.failed": 1, "request": 1}
    branches = {(b["cause"], b["event"]): (b["orders"], b["of"]) for b in stats["branches"]}
    assert branches["deadline", "order.cancelled"] == branches["request", "order.cancelled"] == (1, 4)
    assert branches["payment.failed", "order.cancelled"] == (1, 1)
    text = saga(tmp_path, events, "stats")
    assert "4 orders, 0 records behind\n" in text
    assert re.search(r"pending .*\n  cancelled .*\n    1 by deadline\n", text), "what is said of failures follows them"
    assert "branches of the latest 4 orders, by" in text, "there are no more, whatever --latest says"
    for line in ("1 by deadline", "1 on request", "1 after payment.failed"):
        assert f"    {line}\n" in text


def test_the_deadline_is_kept_whatever_arrives_first():
    """The end may be read before the beginning; then there is no deadline any more."""
    fold = Fold(MODEL)
    for events in (UNWANTED, UNWANTED[::-1]):
        order = None
        for event in events:
            order, _ = fold.merge(order, event)
        assert order is not None
        assert (order.cancel_at, order.ended_by, order.status) == (None, "request", "cancelled")
    [placed] = pending()
    order, _ = fold.merge(None, placed)
    assert (order.cancel_at, order.ended_by) == (placed.at + DEADLINE, None)


def test_the_flow_says_how_many_ended_without_an_arrow(tmp_path):
    """In the box of the event, in text and in JSON; only orders of the window count."""
    stored(tmp_path / "tracker.db", [*SILENT, *RELEASING]).close()
    shown = [("order.cancelled", "deadline"), ("order.cancelled", "request")]
    with LiveTracked.at(tmp_path / "tracker.db", MODEL) as reading:
        live = reading.live(2 * DEADLINE, PLACED + DEADLINE)
        assert live.began == dict.fromkeys(shown, 1)
        assert reading.live(1_000, PLACED + DEADLINE).began == {}
    picture = as_live_svg(FLOW, live)
    assert "1 by deadline" in picture
    assert "2 in total · 2 in 30 min" in picture
    assert "1 on request" in picture
    assert re.search(r"deadline +-> order\.cancelled +1\n", as_live_text(FLOW, live))
    told = as_live_json(FLOW, live)["began"]
    assert [(each["event"], each["by"], each["times"]) for each in told] == [(*each, 1) for each in shown]


def test_the_page_shows_deadlines_and_endings(tmp_path):
    """The verdict, when it cancels itself, what began the end in the picture; lists and counts."""
    late = created("late", PLACED, PLACED + MINUTE)
    older = created("older", PLACED - 1, PLACED)
    [soon] = pending()
    stored(tmp_path / "tracker.db", [soon, late, older, *SILENT, *RELEASING]).close()
    page = client_of(tmp_path / "tracker.db")

    def order(order_id: str) -> dict:
        return page.get("/api/order", params={"id": order_id}).json()

    assert order("soon")["verdict"]["text"] == (
        "Nothing has been charged so far; the order waits for payment-service, and cancels itself at its deadline."
    )
    assert order("late")["verdict"] == {
        "text": "Nothing has been charged so far; the order waits for payment-service. Its deadline has passed, and no"
        " worker has cancelled it.",
        "tone": "bad",
    }
    assert [order(name)["late"] for name in ("soon", "late", "silent")] == [False, True, False]
    assert order("soon")["order"]["cancel_at"] == to_iso(soon.at + DEADLINE)
    assert "by deadline" in order("silent")["picture"]
    released = order("released")
    assert released["verdict"]["text"] == (
        "Cancelled on request of ann: ordered twice. The customer pays nothing: 29.33 USD was refunded."
    )
    assert released["order"]["undone"] == ["refunded", "released"]
    for said in ("on request", "inventory.released", "undoes"):
        assert said in released["picture"]
    for wanted, expected in (({"ended_by": "request"}, ["released"]), ({"overdue": "1"}, ["late", "older"])):
        found = page.get("/api/orders", params=wanted).json()["orders"]
        assert [each["order_id"] for each in found] == expected
    services = {each["service"]: each for each in page.get("/api/health").json()["services"]}
    assert {name: each["overdue"] for name, each in services.items()} == {
        "order-service": 2,
        "payment-service": 0,
        "inventory-service": 0,
    }
    assert services["order-service"]["tone"] == "bad"
