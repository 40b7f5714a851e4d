"""The flow as a picture: a lane per service, a box per event, time from left to right, an arrow from cause to answer.

A box is in the lane of its publisher, and in the column of the longest path that leads to it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from saga.flow.formats.lanes import UNDOES, Drawing, LaneBox, Link, Sample
from saga.flow.model import Flow

TITLE = "The flow of events"
STYLE = """
  text { font: 12px ui-monospace, monospace; fill: #1f2328 } .name { font-weight: 600; fill: #59636e }
  .lane { fill: #f6f8fa } .lane:nth-of-type(even) { fill: #eaeef2 } .box { fill: #fff; stroke: #59636e }
  path, line { fill: none; stroke: #59636e } marker path { fill: #59636e; fill: context-stroke; stroke: none }
  .ending { stroke-width: 2.5 } .completes { stroke: #1a7f37 } .aborts { stroke: #59636e; stroke-width: 2.5 }
  .undoes { stroke: #0969da; stroke-dasharray: 5 4 } .unseen { stroke-dasharray: 1 5 }
  .count, .below, .legend, .mark { font-size: 10.5px; fill: #59636e } .wrong { stroke: #cf222e; stroke-width: 2.5 }
  text.wrong, .wrong text { stroke: none; fill: #cf222e; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .name, .count, .below, .legend { fill: #9198a1 }
    .lane { fill: #151b23 } .lane:nth-of-type(even) { fill: #212830 } .box { fill: #0d1117; stroke: #9198a1 }
    path, line { stroke: #9198a1 } .completes { stroke: #3fb950 } .undoes { stroke: #4493f8 } .wrong { stroke: #f85149 }
    text.wrong, .wrong text { stroke: none; fill: #f85149 }
  }
"""
ANSWERS = Sample("answers", "is answered with")
UNDOING = Sample(UNDOES, "undoes")


def as_svg(flow: Flow) -> str:
    """Return a self-contained picture, for light and dark mode; its tooltips name the handlers."""
    links = list(flow_links(flow))
    drawing = Drawing([service.service for service in flow.services], flow_nodes(flow), links)
    legend = [ANSWERS, *([UNDOING] if any(link.kind == UNDOES for link in links) else [])]
    return drawing.svg(TITLE, "head", STYLE, legend)


def flow_nodes(flow: Flow, below: Callable[[str], tuple[str, ...]] = lambda _event: ()) -> Iterator[LaneBox]:
    """Return the events, with the lines `below` their names."""
    for service in flow.services:
        for event in dict.fromkeys(service.publishes):
            if service.service == flow.publishers(event)[0]:
                kind = (
                    "completes ending" if event in flow.completes else "aborts ending" if event in flow.aborts else ""
                )
                told = flow.events[event].purpose
                yield LaneBox(event, service.service, flow.levels[event], (event, *below(event)), kind, told)


def flow_links(flow: Flow, seen: Container[tuple[str, str]] | None = None) -> Iterator[Link]:
    """Return the arrows from cause to answer; if `seen` is given, those not in it are styled as unseen.

    An arrow to an ending is a decision: what was done is undone by those who consume it.
    """
    for handler in flow.handlers:
        does = handler.does
        for event in does.publishes:
            undoes = bool(does.compensates) and event not in flow.endings
            unseen = seen is not None and (does.event, event) not in seen
            kinds = [*([UNDOES] if undoes else []), *(["unseen"] if unseen else [])]
            yield Link(does.event, event, " ".join(kinds), handler.name)
