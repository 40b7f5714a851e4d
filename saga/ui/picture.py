"""One order as a picture: a lane per service, a box per event, arrows from cause to answer, time from left to right."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from saga.tracker.moments import span
from saga.tracker.sentences import printable
from saga.tracker.timeline import Timeline

CHARACTER = 7.2
BOX, LANE, GAP, MARGIN, PADDING = 28, 68, 34, 12, 10
NOBODY, MOST_NAME = "unknown", 60


class StepBox(NamedTuple):
    """An event, or an answer that is due."""

    address: str
    lane: str
    x: float
    text: str
    below: str
    told: str
    kind: str

    @property
    def width(self) -> float:
        """Wide enough for its text."""
        return len(self.text) * CHARACTER + 2 * PADDING


class DrawnArrow(NamedTuple):
    """From a cause to its answer, or from a compensation to what it undid."""

    start: str
    end: str
    kind: str


def as_picture(story: Timeline, services: tuple[str, ...]) -> str:
    """Return the SVG; the page styles it. Text from the log is escaped, without control characters."""
    boxes = list(_boxes(story))
    lanes = [*services, *sorted({box.lane for box in boxes} - set(services))]
    left = MARGIN + max(len(lane) for lane in lanes) * CHARACTER + GAP
    boxes = [box._replace(x=box.x + left) for box in boxes]
    width = max(box.x + box.width for box in boxes) + MARGIN
    height = len(lanes) * LANE
    top = {lane: number * LANE for number, lane in enumerate(lanes)}
    parts = [*_lanes(top, width), *_arrows(story, boxes, top), *_drawn(boxes, top)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {width:.0f} {height}"'
        f' width="{width:.0f}" height="{height}" role="img"><title>{_safe(_title(story))}</title>'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
        ' markerUnits="userSpaceOnUse">'
        '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    return "\n".join([head, *parts, "</svg>"])


def _boxes(story: Timeline) -> Iterator[StepBox]:
    """Place each event to the right of its cause and of the events before it in its lane."""
    ends: dict[str, float] = {}
    free: dict[str, float] = {}
    wrong = {violation.address for violation in story.violations}
    last = 0.0
    for step in story.steps:
        event = step.event
        lane = event.service[:MOST_NAME] or NOBODY
        x = max(free.get(lane, 0), last, ends.get(step.cause.address, 0) + GAP if step.cause else 0)
        kind = "wrong" if event.address in wrong else "undoing" if step.undoes else "event"
        told = f"{event.address}: waited {span(step.waited or 0)}, handled in {span(step.handled or 0)}"
        box = StepBox(event.address, lane, x, event.topic, f"+{span(step.since_placed)}", told, kind)
        yield box
        ends[event.address] = x + box.width
        free[lane], last = x + box.width + GAP, x + GAP / 2
    for number, owed in enumerate(story.owed):
        cause = story.asked(owed)
        x = max(free.get(owed.service, 0), (ends[cause.address] if cause else 0) + GAP)
        box = StepBox(f"due/{number}", owed.service, x, owed.any_of, "due", f"answers {owed.event}", "due")
        yield box
        free[owed.service] = x + box.width + GAP


def _arrows(story: Timeline, boxes: list[StepBox], top: dict[str, int]) -> Iterator[str]:
    by_address = {box.address: box for box in boxes}
    arrows = [DrawnArrow(s.cause.address, s.event.address, "answers") for s in story.steps if s.cause]
    arrows += [DrawnArrow(s.event.address, s.undoes.address, "undoes") for s in story.steps if s.undoes]
    due = [(number, story.asked(owed)) for number, owed in enumerate(story.owed)]
    arrows += [DrawnArrow(cause.address, f"due/{number}", "due") for number, cause in due if cause]
    for arrow in arrows:
        start, end = by_address[arrow.start], by_address[arrow.end]
        y1, y2 = _middle(start, top), _middle(end, top)
        x1, x2 = start.x + start.width, end.x
        if arrow.kind == "undoes":
            x1, x2, y1, y2 = start.x + 12, end.x + end.width - 12, y1 - BOX / 2, y2 - BOX / 2
            bend = min(y1, y2) - LANE / 3
            path = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {bend:.0f} {x2:.0f} {bend:.0f} {x2:.0f} {y2:.0f}"
        else:
            half = max(GAP / 2, (x2 - x1) / 2)
            path = f"M{x1:.0f} {y1:.0f}C{x1 + half:.0f} {y1:.0f} {x2 - half:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
        yield f'<path class="{arrow.kind}" marker-end="url(#tip)" d="{path}"/>'


def _middle(box: StepBox, top: dict[str, int]) -> float:
    return top[box.lane] + PADDING + BOX / 2


def _lanes(top: dict[str, int], width: float) -> Iterator[str]:
    for lane, y in top.items():
        yield f'<rect class="lane" y="{y}" width="{width:.0f}" height="{LANE}"/>'
        yield f'<text class="name" x="{MARGIN}" y="{y + PADDING + BOX / 2 + 4:.0f}">{_safe(lane)}</text>'


def _drawn(boxes: list[StepBox], top: dict[str, int]) -> Iterator[str]:
    for box in boxes:
        y = top[box.lane] + PADDING
        yield (
            f'<g class="{box.kind}"><title>{_safe(box.told)}</title>'
            f'<rect rx="6" x="{box.x:.0f}" y="{y}" width="{box.width:.0f}" height="{BOX}"/>'
            f'<text x="{box.x + PADDING:.0f}" y="{y + BOX / 2 + 4:.0f}">{_safe(box.text)}</text>'
            f'<text class="below" x="{box.x + PADDING:.0f}" y="{y + BOX + 15:.0f}">{_safe(box.below)}</text></g>'
        )


def _title(story: Timeline) -> str:
    return f"Order {story.order.order_id}: {story.order.status}, {len(story.steps)} events"


def _safe(text: str) -> str:
    return escape(printable(text))
