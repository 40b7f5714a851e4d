"""A picture of boxes in lanes, in columns from left to right, with arrows that run under no box and through no text.

An arrow leaves a box on its right and enters the next on its left. It turns only in the gaps between columns, each in
a track of its own; past a column it runs along a row without a box there, or above the boxes of a lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from math import ceil
from typing import NamedTuple

CHARACTER, SMALL = 7.3, 6.4
"""Widths of a character of the two sizes of text."""
MARGIN, PADDING, LINE, ROW_GAP, BAND = 14, 11, 16, 16, 26
TRACK, TIP, BARE_PORT, LABELLED_PORT = 9, 20, 12, 29
CORNER, SAMPLE, LEGEND, LEGEND_WIDTH = 6, 26, 30, 350
"""The legend is as narrow as a telephone, where the picture itself is moved sideways."""
UNDOES = "undoes"


class LaneBox(NamedTuple):
    """A box: `lines` of text, the first is its name; `kind` are classes of the style; `told` is its tooltip."""

    name: str
    lane: str
    column: int
    lines: tuple[str, ...]
    kind: str = ""
    told: str = ""
    mark: str = ""
    """A warning, the last line in the box."""

    @property
    def rows(self) -> int:
        """The number of lines in it."""
        return len(self.lines) + bool(self.mark)

    @property
    def width(self) -> float:
        """Wide enough for its text."""
        first, *rest = [*self.lines, self.mark]
        return ceil(max([len(first) * CHARACTER, *(len(line) * SMALL for line in rest)])) + 2 * PADDING


class Link(NamedTuple):
    """An arrow between two boxes. `label`: a text above and one below its end, or none."""

    start: str
    end: str
    kind: str = ""
    told: str = ""
    label: tuple[str, str] = ("", "")


class Sample(NamedTuple):
    """An entry of the legend."""

    kind: str
    text: str


class Place(NamedTuple):
    """Where a box is."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Half its height."""
        return self.y + self.height / 2


@dataclass
class Route:
    """The way of an arrow: a port at both ends, and where it turns."""

    link: Link
    first: int
    """The gap in which it turns first; gap n is to the right of column n."""
    last: int
    row: str = ""
    """Past columns it runs along the row of its `source` or `target`, or `above` the boxes of the target's lane."""
    level: int = 0
    y1: float = 0
    y2: float = 0
    tracks: dict[int, int] = field(default_factory=dict)


class Drawing:
    """The layout of a picture. `lanes` from top to bottom; boxes of one column and lane are below each other."""

    def __init__(self, lanes: Sequence[str], nodes: Iterable[LaneBox], links: Iterable[Link]) -> None:
        self.lanes = list(lanes)
        self.nodes = {node.name: node for node in nodes}
        self._rows: dict[str, int] = {}
        used: dict[tuple[str, int], int] = {}
        for node in self.nodes.values():
            at = (node.lane, node.column)
            self._rows[node.name] = used[at] = used.get(at, -1) + 1
        self._taken: dict[tuple[str, int, int], str] = {
            (node.lane, self._rows[name], node.column): name for name, node in self.nodes.items()
        }
        self._above = dict.fromkeys(self.lanes, 0)
        there = [link for link in links if link.start in self.nodes and link.end in self.nodes]
        self._undoing = [link for link in there if self._is_arc(link)]
        self._routes = [self._route(link) for link in there if not self._is_arc(link)]
        for link in self._undoing:
            self._above[self.nodes[link.start].lane] += 1
        self.places: dict[str, Place] = {}
        self._tops: dict[str, float] = {}
        self.height = self._set_rows()
        self._set_ports()
        self._gaps: dict[int, float] = {}
        self.width = self._set_columns()

    def svg(self, title: str, name: str, style: str = "", legend: Sequence[Sample] = ()) -> str:
        """Return the picture. `name` is unique on a page; a page with a stylesheet of its own passes no `style`."""
        rows = list(_legend_rows(legend))
        entries = list(self._legend(rows))
        height = self.height + (LEGEND + LINE * (len(rows) - 1) if rows else 0)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {self.width:.0f} {height:.0f}"'
            f' width="{self.width:.0f}" height="{height:.0f}" role="img"><title>{escape(title)}</title>'
            f'<defs><marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        )
        styled = [f"<style>{style}</style>"] if style else []
        return (
            "\n".join([head, *styled, *self._lanes(), *self._arrows(name), *self._boxes(), *entries, "</svg>"]) + "\n"
        )

    def _is_arc(self, link: Link) -> bool:
        start, end = self.nodes[link.start], self.nodes[link.end]
        return link.kind == UNDOES and start.lane == end.lane and end.column < start.column

    def _route(self, link: Link) -> Route:
        start, end = self.nodes[link.start], self.nodes[link.end]
        route = Route(link, start.column, end.column - 1)
        if route.first == route.last:
            return route
        passed = range(route.first + 1, route.last + 1)
        for row, node in (("target", end), ("source", start)):
            cells = [(node.lane, self._rows[node.name], column) for column in passed]
            if passed and all(self._taken.get(cell, node.name) == node.name for cell in cells):
                self._taken.update(dict.fromkeys(cells, node.name))
                route.row = row
                return route
        route.row, route.level = "above", self._above[end.lane]
        self._above[end.lane] += 1
        return route

    def _set_rows(self) -> float:
        """Place lanes and rows, and return the height."""
        top = 0.0
        for lane in self.lanes:
            self._tops[lane] = top
            y = top + BAND + TRACK * self._above[lane]
            here = [node for node in self.nodes.values() if node.lane == lane]
            for row in range(1 + max((self._rows[node.name] for node in here), default=0)):
                level = [node for node in here if self._rows[node.name] == row]
                height = max(map(self._height, level), default=2 * LINE)
                for node in level:
                    own = self._height(node)
                    self.places[node.name] = Place(0, y + (height - own) / 2, node.width, own)
                y += height + ROW_GAP
            top = y
        return top

    def _height(self, node: LaneBox) -> float:
        ports = max(
            sum(r.link.end == node.name for r in self._routes), sum(r.link.start == node.name for r in self._routes)
        )
        return max(LINE * node.rows + 12, ports * self._step(node.name) + 4)

    def _step(self, name: str) -> float:
        """Return the distance between ports: more where arrows have labels."""
        return LABELLED_PORT if any(any(r.link.label) for r in self._routes if r.link.end == name) else BARE_PORT

    def _set_ports(self) -> None:
        """Give each end of an arrow its own height; arrows that come from above enter above."""
        for name, place in self.places.items():
            leaving = [route for route in self._routes if route.link.start == name]
            arriving = [route for route in self._routes if route.link.end == name]
            leaving.sort(key=lambda route: self._corridor(route) or self.places[route.link.end].middle)
            arriving.sort(key=lambda route: self._corridor(route) or self.places[route.link.start].middle)
            for number, route in enumerate(leaving):
                route.y1 = place.middle + (number - (len(leaving) - 1) / 2) * BARE_PORT
            for number, route in enumerate(arriving):
                route.y2 = place.middle + (number - (len(arriving) - 1) / 2) * self._step(name)

    def _corridor(self, route: Route) -> float | None:
        """Return the height at which it runs above the boxes of a lane, if it does."""
        if route.row != "above":
            return None
        return self._tops[self.nodes[route.link.end].lane] + BAND - 4 + TRACK * route.level

    def _turns(self, route: Route) -> list[tuple[int, float, float]]:
        """Return where it changes its height: the gap, from, to."""
        if route.first == route.last or route.row == "target":
            turns = [(route.first, route.y1, route.y2)]
        elif route.row == "source":
            turns = [(route.last, route.y1, route.y2)]
        else:
            middle = self._corridor(route) or 0
            turns = [(route.first, route.y1, middle), (route.last, middle, route.y2)]
        return [turn for turn in turns if turn[1] != turn[2]]

    def _set_columns(self) -> float:
        """Assign the tracks, longer turns to the left, place the columns, and return the width."""
        turns = [(gap, abs(y2 - y1), route) for route in self._routes for gap, y1, y2 in self._turns(route)]
        count: dict[int, int] = {}
        for gap, _, route in sorted(turns, key=lambda turn: (turn[0], -turn[1])):
            route.tracks[gap] = count.get(gap, 0)
            count[gap] = count.get(gap, 0) + 1
        x = float(MARGIN)
        if count.get(-1):  # an arrow back to the first column
            self._gaps[-1] = x
            x += TRACK * count[-1] + TIP
        last = max((node.column for node in self.nodes.values()), default=0)
        for column in range(last + 1):
            here = [node for node in self.nodes.values() if node.column == column]
            for node in here:
                self.places[node.name] = self.places[node.name]._replace(x=x)
            names = [ceil(len(lane) * CHARACTER) for lane in self.lanes] if column == 0 else []
            x += max([0, *names, *(node.width for node in here)])
            self._gaps[column] = x + TRACK
            if column < last or count.get(column):
                labels = [text for route in self._routes if route.last == column for text in route.link.label]
                x += TRACK * (1 + count.get(column, 0)) + max((len(text) * SMALL for text in labels), default=0.0) + TIP
        return x + MARGIN

    def _arrows(self, name: str) -> Iterator[str]:
        for route in self._routes:
            link = route.link
            start, end = self.places[link.start], self.places[link.end]
            points = [(start.x + start.width, route.y1)]
            for gap, y1, y2 in self._turns(route):
                x = self._gaps[gap] + TRACK * route.tracks[gap]
                points += [(x, y1), (x, y2)]
            points.append((end.x, route.y2))
            yield _arrow(points, link, name)
            for text, y in zip(link.label, (route.y2 - 4, route.y2 + 11), strict=True):
                if text:
                    at = f'x="{end.x - 10:.0f}" y="{y:.0f}"'
                    yield f'<text class="count" text-anchor="end" {at}>{escape(text)}</text>'
        for number, link in enumerate(self._undoing):
            start, end = self.places[link.start], self.places[link.end]
            lane = self.nodes[link.start].lane
            y = self._tops[lane] + BAND - 6 + TRACK * (self._above[lane] - len(self._undoing) + number)
            x1, x2 = start.x + start.width / 2, end.x + end.width / 2
            yield _arrow([(x1, start.y), (x1, y), (x2, y), (x2, end.y)], link, name)

    def _lanes(self) -> Iterator[str]:
        tops = [*self._tops.values(), self.height]
        for (y, below), lane in zip(pairwise(tops), self.lanes, strict=True):
            yield f'<rect class="lane" y="{y:.0f}" width="{self.width:.0f}" height="{below - y:.0f}"/>'
            yield f'<text class="name" x="{MARGIN}" y="{y + 17:.0f}">{escape(lane)}</text>'

    def _boxes(self) -> Iterator[str]:
        newline = "\n"  # a reader of the page's texts must not read two lines as one word
        for name, node in self.nodes.items():
            at = self.places[name]
            x, y = at.x + PADDING, at.middle - LINE * node.rows / 2 + 12
            first, *rest = node.lines
            texts = [f'<text x="{x:.0f}" y="{y:.0f}">{escape(first)}</text>']
            for number, line in enumerate(rest, 1):
                texts.append(f'<text class="below" x="{x:.0f}" y="{y + LINE * number - 1:.0f}">{escape(line)}</text>')
            if node.mark:
                y += LINE * len(node.lines) - 1
                texts.append(f'<text class="wrong mark" x="{x:.0f}" y="{y:.0f}">{escape(node.mark)}</text>')
            yield (
                f'<g class="node {node.kind}" data-name="{escape(name)}"><title>{escape(node.told)}</title>\n'
                f'<rect class="box {node.kind}" rx="6" x="{at.x:.0f}" y="{at.y:.0f}" width="{at.width:.0f}"'
                f' height="{at.height:.0f}"/>\n{newline.join(texts)}</g>'
            )

    def _legend(self, rows: Iterable[Sequence[Sample]]) -> Iterator[str]:
        """Return the entries below the lanes; a narrow picture becomes wider for them."""
        for number, row in enumerate(rows):
            x, y = float(MARGIN), self.height + 19 + LINE * number
            for kind, text in row:
                if kind:
                    yield f'<line class="{kind}" x1="{x:.0f}" y1="{y - 4:.0f}" x2="{x + SAMPLE:.0f}" y2="{y - 4:.0f}"/>'
                    x += SAMPLE + 6
                yield f'<text class="legend" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'
                x += len(text) * SMALL + 20
            self.width = max(self.width, x)


def _legend_rows(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    row, width = list[Sample](), float(MARGIN)
    for sample in samples:
        own = (SAMPLE + 6 if sample.kind else 0) + len(sample.text) * SMALL
        if row and width + own > LEGEND_WIDTH:
            yield row
            row, width = [], float(MARGIN)
        row.append(sample)
        width += own + 20
    if row:
        yield row


def _arrow(points: list[tuple[float, float]], link: Link, name: str) -> str:
    told = f"<title>{escape(link.told)}</title>" if link.told else ""
    styled = f' class="{link.kind}"' if link.kind else ""
    return f'<path{styled} marker-end="url(#{name})" d="{_rounded(points)}">{told}</path>'


def _rounded(points: list[tuple[float, float]]) -> str:
    """Return a line through these points, with round corners."""
    parts = ["M{:.1f} {:.1f}".format(*points[0])]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        into, out = _towards(corner, before), _towards(corner, after)
        parts.append("L{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*into, *corner, *out))
    return "".join([*parts, "L{:.1f} {:.1f}".format(*points[-1])])


def _towards(corner: tuple[float, float], point: tuple[float, float]) -> tuple[float, float]:
    dx, dy = point[0] - corner[0], point[1] - corner[1]
    length = abs(dx) + abs(dy)
    part = min(CORNER, length / 2) / length if length else 0
    return corner[0] + dx * part, corner[1] + dy * part
