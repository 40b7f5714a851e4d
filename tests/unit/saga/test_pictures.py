"""The pictures can be read: no arrow runs under a box or through a text, nothing is cut off or dashed in vain."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from saga.flow.formats.lanes import SMALL, UNDOES, Drawing, LaneBox, Link
from saga.flow.formats.svg import as_svg, flow_links
from saga.tracker.installed import FLOW, MODEL
from saga.tracker.live import LiveTracked
from saga.tracker.live_svg import as_live_svg
from saga.tracker.queries import Tracked
from saga.tracker.timeline import timeline
from saga.ui.picture import as_picture
from tests.support.models.endings import GIVEN_BACK, RELEASING
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

SVG = "{http://www.w3.org/2000/svg}"
EVENTS = tracked_events(60)
SERVICES = ("order-service", "payment-service", "inventory-service")
HEIGHT = 8
"""Of small letters, above the line that a text stands on."""

Area = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every kind: the flow as declared, with traffic and a stranger in it, and orders of all ends."""
    path = tmp_path_factory.mktemp("pictures") / "tracker.db"
    ways = {
        "confirmed": (CREATED, CHARGED, RESERVED, CONFIRMED),
        "refunded": (CREATED, CHARGED, SHORT, CANCELLED, REFUNDED),
        "declined": (CREATED, FAILED, CANCELLED),
    }
    orders = {name: of_order(EVENTS, *way) for name, way in ways.items()}
    rogue = orders["confirmed"][-1]._replace(offset=9_000, service="a-stranger")
    waiting = orders["confirmed"][0]._replace(order_id="waiting", offset=9_001)
    charged = [event._replace(order_id="charged", offset=9_002) for event in orders["confirmed"][:2]]
    stored(path, [*EVENTS, rogue, waiting, *charged, *GIVEN_BACK, *RELEASING]).close()
    ids = {name: events[0].order_id for name, events in orders.items()} | {"waiting": "waiting", "charged": "charged"}
    ids |= {"late": "silent", "released": "released"}
    with Tracked.at(path, MODEL) as tracked:
        found = {name: as_picture(timeline(tracked, order_id), SERVICES) for name, order_id in ids.items()}
    with LiveTracked.at(path, MODEL) as watched:
        live = watched.live(10**12, 10**12)
    return found | {"flow": as_svg(FLOW), "live": as_live_svg(FLOW, live)}


NAMES = ["confirmed", "refunded", "declined", "waiting", "charged", "late", "released", "flow", "live"]


def areas(picture: ET.Element, kind: str) -> list[Area]:
    rects = [rect for rect in picture.iter(f"{SVG}rect") if kind in (rect.get("class") or "").split()]
    found = [[float(rect.get(name) or 0) for name in ("x", "y", "width", "height")] for rect in rects]
    return [(x, y, x + width, y + height) for x, y, width, height in found]


def texts(picture: ET.Element) -> list[Area]:
    """Return where texts are that are in no box: lanes' names and what is written on arrows."""
    found = []
    for text in picture.findall(f"{SVG}text"):
        x, y, width = float(text.get("x") or 0), float(text.get("y") or 0), len(text.text or "") * SMALL
        left = x - width if text.get("text-anchor") == "end" else x
        found.append((left, y - HEIGHT, left + width, y))
    return found


def segments(picture: ET.Element) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the straight parts of all arrows."""
    found = []
    for path in picture.findall(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d") or "")]
        found += list(pairwise(zip(numbers[::2], numbers[1::2], strict=True)))
    return found


def meets(area: Area, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Return whether a part of an arrow is inside of an area, not only at its edge."""
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    return right > area[0] + 0.5 and left < area[2] - 0.5 and bottom > area[1] + 0.5 and top < area[3] - 0.5


@pytest.mark.parametrize("name", NAMES)
def test_no_arrow_runs_under_a_box_or_through_a_text(pictures, name):
    """Its own two boxes included: it begins and ends at their edges."""
    picture = ET.fromstring(pictures[name])
    lines = segments(picture)
    assert lines
    for area in [*areas(picture, "box"), *texts(picture)]:
        assert not [line for line in lines if meets(area, *line)], area


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_inside_of_the_picture(pictures, name):
    """And the lanes reach from its left edge to its right one."""
    picture = ET.fromstring(pictures[name])
    width, height = (float(picture.get(side) or 0) for side in ("width", "height"))
    for start, end in segments(picture):
        assert all(0 <= x <= width and 0 <= y <= height for x, y in (start, end))
    for left, top, right, bottom in [*areas(picture, "box"), *texts(picture)]:
        assert left >= 0
        assert top >= 0
        assert (right <= width, bottom <= height) == (True, True)
    lanes = areas(picture, "lane")
    assert {(left, right) for left, _, right, _ in lanes} == {(0, width)}


@pytest.mark.parametrize("name", NAMES)
def test_texts_do_not_cover_each_other(pictures, name):
    """Nor do they cover boxes; each is there once."""
    picture = ET.fromstring(pictures[name])
    found = [*texts(picture), *areas(picture, "box")]
    for number, area in enumerate(found):
        for other in found[number + 1 :]:
            apart = area[2] <= other[0] or other[2] <= area[0] or area[3] <= other[1] or other[3] <= area[1]
            assert apart, (area, other)


def test_only_what_is_undone_is_dashed(pictures):
    """The decision to cancel undoes nothing yet; the refund does, in the flow and in an order."""
    dashed = [link for link in flow_links(FLOW) if UNDOES in link.kind]
    assert [(link.start, link.end) for link in dashed] == [(CANCELLED, REFUNDED), (CANCELLED, RELEASED)]
    counts = {name: pictures[name].count('<path class="undoes') for name in NAMES}
    assert counts == dict.fromkeys(NAMES, 0) | {"refunded": 1, "late": 1, "released": 2, "flow": 2, "live": 2}


def test_the_legend_says_what_the_lines_mean(pictures):
    """Of those lines that are there."""
    samples = {
        name: [line.get("class") for line in ET.fromstring(pictures[name]).findall(f"{SVG}line")] for name in NAMES
    }
    assert samples["declined"] == ["answers"]
    assert samples["refunded"] == ["answers", "undoes"]
    assert samples["waiting"] == ["answers", "due"]
    assert samples["confirmed"] == ["answers", "wrong"]
    assert samples["live"] == ["answers", "undoes", "unseen", "wrong"]
    assert "median / p95" in pictures["live"]


@pytest.mark.parametrize("name", NAMES)
def test_the_legend_is_read_on_a_phone_without_moving_the_picture(pictures, name):
    """All of it is within the first 350 px, whatever the width of the picture; in `live`, in rows."""
    legend = [text for text in ET.fromstring(pictures[name]).findall(f"{SVG}text") if text.get("class") == "legend"]
    assert legend
    assert max(float(text.get("x") or 0) + len(text.text or "") * SMALL for text in legend) <= 350


def test_arrows_have_counts_and_times(pictures):
    """How often, the median and the 95th percentile, once a step."""
    labels = [t.text for t in ET.fromstring(pictures["live"]).iter(f"{SVG}text") if t.get("class") == "count"]
    times = [text for text in labels if " / " in (text or "")]
    with_both = pictures["live"].count(", p50 ")
    assert len(labels) == 2 * len(times) == 2 * with_both


def test_an_arrow_back_and_one_past_many_columns_turn_in_the_gaps():
    """A cycle, and boxes in every row between."""
    nodes = [LaneBox(f"{lane}{column}", lane, column, (f"{lane}.{column}",)) for lane in "ab" for column in range(4)]
    links = [Link("a0", "b3"), Link("a3", "a0"), Link("b3", "a0"), Link("a0", "a1"), Link("b2", "a2"), Link("b0", "a3")]
    picture = ET.fromstring(Drawing(["a", "b"], nodes, links).svg("a test", "head"))
    assert len(picture.findall(f"{SVG}path")) == len(links)
    for area in areas(picture, "box"):
        assert not [line for line in segments(picture) if meets(area, *line)], area


def test_a_flow_without_events_is_drawn(tmp_path: Path):
    """No box, no arrow, and no error."""
    stored(tmp_path / "tracker.db", []).close()
    with LiveTracked.at(tmp_path / "tracker.db", MODEL) as watched:
        picture = ET.fromstring(as_live_svg(FLOW, watched.live(1_000, 1_000)))
    assert all("unseen" in (path.get("class") or "") for path in picture.findall(f"{SVG}path"))
