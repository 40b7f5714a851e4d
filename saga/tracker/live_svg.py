"""The flow as a picture, with the observed traffic: counts, times, unused arrows, and undeclared events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from saga.flow.formats.svg import (
    BOX_HEIGHT,
    COLUMN_GAP,
    MARGIN,
    PADDING,
    ROW,
    STYLE,
    Box,
    Lane,
    arrow,
    document,
    drawn_arrows,
    drawn_boxes,
    layout,
    text_width,
)
from saga.flow.model import Flow
from saga.tracker.live import Live
from saga.tracker.moments import span
from saga.tracker.sentences import printable

MOST_STRANGERS, MOST_NAME = 5, 40
NOBODY = "unknown publisher"


def as_live_svg(flow: Flow, live: Live, style: str = STYLE) -> str:
    """Return the picture: arrows that were never seen are dotted, what no declaration allows is red."""
    lanes, boxes = layout(flow)
    strangers = _strangers(flow, live, lanes)
    parts = [*drawn_arrows(flow, boxes, live.edges), *_times(live, boxes), *drawn_boxes(flow, boxes)]
    parts += [*_passed(live, boxes), *_rogues(live, boxes, strangers)]
    return document(lanes, {**boxes, **{f"not declared: {name}": box for name, box in strangers.items()}}, parts, style)


def _passed(live: Live, boxes: Mapping[str, Box]) -> Iterator[str]:
    for event, box in boxes.items():
        ever, recent = live.events.get(event, (0, 0))
        told = f"{ever:,} orders, {recent:,} in {span(live.window)}" if ever else "never seen"
        kind = "count" if ever else "count unseen"
        yield f'<text class="{kind}" x="{box.x + PADDING:.0f}" y="{box.y + BOX_HEIGHT + 13:.0f}">{told}</text>'
        if wrong := live.violations_of(event):
            at = f'x="{box.x + box.width - 4:.0f}" y="{box.y - 4:.0f}"'
            yield f'<text class="wrong count" text-anchor="end" {at}>{wrong:,} not as declared</text>'


def _times(live: Live, boxes: Mapping[str, Box]) -> Iterator[str]:
    for (cause, event), taken in live.edges.items():
        if cause in boxes and event in boxes:
            start, end = boxes[cause], boxes[event]
            x, y = (start.x + start.width + end.x) / 2, (start.middle + end.middle) / 2
            told = f"{cause} to {event}: {taken.times:,} in {span(live.window)}; p50 {taken.p50} ms, p95 {taken.p95} ms"
            yield (
                f'<text class="count" text-anchor="middle" x="{x:.0f}" y="{y - 4:.0f}">'
                f"<title>{escape(told)}</title>{taken.p50} ms</text>"
            )


def _strangers(flow: Flow, live: Live, lanes: list[Lane]) -> dict[str, Box]:
    """Return the boxes of undeclared publishers, in a lane of their own that is added at the bottom."""
    known = {service.service for service in flow.services}
    named = {rogue.service for rogue in live.undeclared if rogue.kinds != ("undecodable",)}
    names = sorted(named - known)[:MOST_STRANGERS]
    if not names:
        return {}
    y = lanes[-1].y + lanes[-1].height if lanes else 0
    lanes.append(Lane("not declared", y, PADDING * 2 + ROW))
    boxes, x = {}, MARGIN + max(text_width(lane.service) for lane in lanes)
    for name in names:
        boxes[name] = Box(x, y + PADDING * 2, text_width(_shown(name)))
        x += boxes[name].width + COLUMN_GAP
    return boxes


def _rogues(live: Live, boxes: Mapping[str, Box], strangers: Mapping[str, Box]) -> Iterator[str]:
    for name, box in strangers.items():
        yield (
            f'<rect class="box wrong" rx="6" x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}"'
            f' height="{BOX_HEIGHT}"/><text class="wrong" x="{box.x + PADDING:.0f}" y="{box.middle + 4:.0f}">'
            f"{escape(_shown(name))}</text>"
        )
    for rogue in live.undeclared:
        start = strangers.get(rogue.service)
        if start is None and "undeclared-cause" in rogue.kinds:
            start = boxes.get(rogue.cause or "")
        if start is not None and rogue.event in boxes:
            told = f"{rogue.times} x by {_shown(rogue.service)}: {', '.join(rogue.kinds)}"
            yield arrow(start, boxes[rogue.event], "wrong", told)


def _shown(name: str) -> str:
    name = printable(name) or NOBODY
    return name if len(name) <= MOST_NAME else f"{name[:MOST_NAME]}…"
