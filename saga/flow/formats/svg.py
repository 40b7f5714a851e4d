"""The flow as a picture: a lane per service, a box per event, time from left to right, an arrow from cause to answer.

No layout engine: a box is in the lane of its publisher, and in the column of the longest path that leads to it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from html import escape
from typing import NamedTuple

from saga.flow.model import Flow

CHARACTER = 7.2
BOX_HEIGHT, ROW, COLUMN_GAP, MARGIN, PADDING = 30, 52, 56, 16, 12
STYLE = """
  text { font: 12px ui-monospace, monospace; fill: #1f2328 } .name { font-weight: 600; fill: #59636e }
  .lane { fill: #f6f8fa } .lane:nth-of-type(even) { fill: #eef1f4 } .box { fill: #fff; stroke: #59636e }
  path { fill: none; stroke: #59636e } marker path { fill: #59636e; stroke: none }
  .ending { stroke-width: 2.5 } .completes { stroke: #1a7f37 } .aborts { stroke: #cf222e }
  .undoes { stroke: #cf222e; stroke-dasharray: 5 4 }
  .unseen { stroke: #8b949e; stroke-dasharray: 1 5 } text.unseen { stroke: none; fill: #8b949e }
  .count { font-size: 10.5px } .wrong { stroke: #cf222e; stroke-width: 2.5 }
  text.wrong { stroke: none; fill: #cf222e; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .name { fill: #9198a1 }
    .lane { fill: #151b23 } .lane:nth-of-type(even) { fill: #212830 } .box { fill: #0d1117 }
    path { stroke: #9198a1 } marker path { fill: #9198a1 }
    .completes { stroke: #3fb950 } .aborts, .undoes, .wrong { stroke: #f85149 }
    text.wrong { stroke: none; fill: #f85149 } path.unseen { stroke: #8b949e }
  }
"""


class Box(NamedTuple):
    """The position of an event's box."""

    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        """The height at which arrows begin and end."""
        return self.y + BOX_HEIGHT / 2


class Lane(NamedTuple):
    """The lane of a service's events."""

    service: str
    y: float
    height: float


def as_svg(flow: Flow) -> str:
    """Return a self-contained picture, for light and dark mode; its tooltips name the handlers."""
    lanes, boxes = layout(flow)
    return document(lanes, boxes, [*drawn_arrows(flow, boxes), *drawn_boxes(flow, boxes)])


def document(lanes: list[Lane], boxes: Mapping[str, Box], parts: Iterable[str], style: str = STYLE) -> str:
    """Return the picture with these parts; a page with a stylesheet of its own passes an empty `style`."""
    width = MARGIN + max((box.x + box.width for box in boxes.values()), default=0)
    height = lanes[-1].y + lanes[-1].height if lanes else 0
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" role="img"><title>The flow of events</title>'
    )
    marker = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
        ' markerUnits="userSpaceOnUse">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    styled = [f"<style>{style}</style>"] if style else []
    return "\n".join([head, *styled, marker, *_lanes(lanes, width), *parts, "</svg>"]) + "\n"


def layout(flow: Flow) -> tuple[list[Lane], dict[str, Box]]:
    """Return the lanes of the services and the boxes of the events."""
    columns = _columns(flow)
    lanes: list[Lane] = []
    boxes: dict[str, Box] = {}
    y = 0.0
    for service in flow.services:
        used: dict[int, int] = {}
        for event in dict.fromkeys(service.publishes):
            level = flow.levels[event]
            row = used[level] = used.get(level, -1) + 1
            boxes.setdefault(event, Box(columns[level], y + PADDING * 2 + row * ROW, text_width(event)))
        height = PADDING * 2 + (max(used.values(), default=0) + 1) * ROW
        lanes.append(Lane(service.service, y, height))
        y += height
    return lanes, boxes


def _columns(flow: Flow) -> Mapping[int, float]:
    """Return where each column begins: to the right of the longest name before it."""
    columns, x = {}, MARGIN + max((text_width(service.service) for service in flow.services), default=0.0)
    for level in range(1 + max(flow.levels.values(), default=0)):
        columns[level] = x
        x += COLUMN_GAP + max((text_width(event) for event, at in flow.levels.items() if at == level), default=0)
    return columns


def text_width(name: str) -> float:
    """Return the width of a box with this text."""
    return len(name) * CHARACTER + PADDING * 2


def _lanes(lanes: list[Lane], width: float) -> Iterator[str]:
    for lane in lanes:
        yield f'<rect class="lane" y="{lane.y:.0f}" width="{width:.0f}" height="{lane.height:.0f}"/>'
    for lane in lanes:
        middle = lane.y + lane.height / 2
        yield f'<text class="name" x="{MARGIN}" y="{middle:.0f}">{escape(lane.service)}</text>'


def drawn_boxes(flow: Flow, boxes: Mapping[str, Box]) -> Iterator[str]:
    """Return the events."""
    for event, box in boxes.items():
        kind = "completes ending" if event in flow.completes else "aborts ending" if event in flow.aborts else ""
        yield (
            f'<g><title>{escape(flow.events[event].purpose)}</title><rect class="box {kind}" rx="6" x="{box.x:.0f}"'
            f' y="{box.y:.0f}" width="{box.width:.0f}" height="{BOX_HEIGHT}"/>'
            f'<text x="{box.x + PADDING:.0f}" y="{box.middle + 4:.0f}">{escape(event)}</text></g>'
        )


def drawn_arrows(flow: Flow, boxes: Mapping[str, Box], seen: Container[tuple[str, str]] | None = None) -> Iterator[str]:
    """Return the arrows from cause to answer; if `seen` is given, those not in it are styled as unseen."""
    for handler in flow.handlers:
        does = handler.does
        for event in does.publishes:
            if does.event in boxes:
                unseen = seen is not None and (does.event, event) not in seen
                kinds = [*(["undoes"] if does.compensates else []), *(["unseen"] if unseen else [])]
                yield arrow(boxes[does.event], boxes[event], " ".join(kinds), handler.name)


def arrow(cause: Box, answer: Box, kind: str, told: str) -> str:
    """Return one arrow, of a kind that the style defines, with a tooltip."""
    start, end = cause.x + cause.width, answer.x
    bend = max(COLUMN_GAP / 2, (end - start) / 2)
    styled = f' class="{kind}"' if kind else ""
    return (
        f'<path{styled} marker-end="url(#head)" d="M{start:.0f} {cause.middle:.0f}C{start + bend:.0f}'
        f' {cause.middle:.0f} {end - bend:.0f} {answer.middle:.0f} {end:.0f} {answer.middle:.0f}">'
        f"<title>{escape(told)}</title></path>"
    )
