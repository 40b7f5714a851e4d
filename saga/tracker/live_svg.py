"""The flow as a picture, with the observed traffic: counts, times, unused arrows, and undeclared events."""

from __future__ import annotations

from collections.abc import Iterator

from saga.flow.formats.lanes import Drawing, LaneBox, Link, Sample
from saga.flow.formats.svg import ANSWERS, STYLE, TITLE, UNDOING, flow_links, flow_nodes
from saga.flow.model import Flow
from saga.tracker.endings import BEGAN
from saga.tracker.live import Live
from saga.tracker.moments import span
from saga.tracker.sentences import printable

MOST_STRANGERS, MOST_NAME = 5, 40
NOBODY = "unknown publisher"
NOT_DECLARED = "not declared"
UNSEEN, WRONG = Sample("unseen", "not seen"), Sample("wrong", "not declared")


def as_live_svg(flow: Flow, live: Live, style: str = STYLE) -> str:
    """Return the picture: arrows that were not seen are dotted, what no declaration allows is red."""
    lanes = [service.service for service in flow.services]
    strangers = _strangers(flow, live)
    if strangers:
        lanes.append(NOT_DECLARED)
    links = [*_declared(flow, live), *_rogues(live, strangers)]
    drawing = Drawing(lanes, [*_nodes(flow, live), *strangers.values()], links)
    counted = Sample("", f"on arrows: how often in {span(live.window)}, median / p95")
    legend = [ANSWERS, UNDOING, UNSEEN, *([WRONG] if live.undeclared else []), counted]
    return drawing.svg(TITLE, "flow-head", style, legend)


def _nodes(flow: Flow, live: Live) -> Iterator[LaneBox]:
    def below(event: str) -> tuple[str, ...]:
        ever, recent = live.events.get(event, (0, 0))
        if not ever:
            return ("never seen",)
        began = [f"{live.began[event, what]:,} {word}" for what, word in BEGAN.items() if live.began.get((event, what))]
        return (f"{ever:,} in total · {recent:,} in {span(live.window)}", *began)

    for node in flow_nodes(flow, below):
        wrong = live.violations_of(node.name)
        yield node._replace(mark=f"{wrong:,} not as declared") if wrong else node


def _declared(flow: Flow, live: Live) -> Iterator[Link]:
    """Return the declared arrows; those that were taken say how often and how long it took."""
    for link in flow_links(flow, live.edges):
        taken = live.edges.get((link.start, link.end))
        if taken is None:
            yield link
            continue
        told = f"{link.told}: {taken.times:,} in {span(live.window)}, p50 {span(taken.p50)}, p95 {span(taken.p95)}"
        yield link._replace(told=told, label=(f"{taken.times:,}", _times(span(taken.p50), span(taken.p95))))


def _times(p50: str, p95: str) -> str:
    """Return both times; the unit once if it is the same."""
    number, unit = p50.split(" ", 1)
    return f"{number} / {p95}" if p95.endswith(f" {unit}") else f"{p50} / {p95}"


def _strangers(flow: Flow, live: Live) -> dict[str, LaneBox]:
    """Return the boxes of undeclared publishers, in a lane of their own."""
    known = {service.service for service in flow.services}
    named = {rogue.service for rogue in live.undeclared if rogue.kinds != ("undecodable",)}
    return {
        name: LaneBox(f"publisher/{column}", NOT_DECLARED, column, (_shown(name),), "wrong")
        for column, name in enumerate(sorted(named - known)[:MOST_STRANGERS])
    }


def _rogues(live: Live, strangers: dict[str, LaneBox]) -> Iterator[Link]:
    for rogue in live.undeclared:
        stranger = strangers.get(rogue.service)
        start = stranger.name if stranger else rogue.cause if "undeclared-cause" in rogue.kinds else None
        if start is not None:
            told = f"{rogue.times} x by {_shown(rogue.service)}: {', '.join(rogue.kinds)}"
            yield Link(start, rogue.event, "wrong", told)


def _shown(name: str) -> str:
    name = printable(name) or NOBODY
    return name if len(name) <= MOST_NAME else f"{name[:MOST_NAME]}…"
