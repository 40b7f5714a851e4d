"""One order as a picture: a lane per service, a box per event, arrows from cause to answer, time from left to right."""

from __future__ import annotations

from collections.abc import Iterator

from eventbus.text.plural import plural
from saga.flow.formats.lanes import UNDOES, Drawing, LaneBox, Link, Sample
from saga.flow.formats.svg import ANSWERS, UNDOING
from saga.tracker.endings import BEGAN
from saga.tracker.live_svg import WRONG
from saga.tracker.model import OVERDUE, REQUEST
from saga.tracker.moments import span
from saga.tracker.sentences import printable
from saga.tracker.timeline import Timeline, TimelineStep

NOBODY, MOST_NAME = "unknown", 60
DUE = Sample("due", "is due")


def as_picture(story: Timeline, services: tuple[str, ...]) -> str:
    """Return the SVG; the page styles it. Text from the log is escaped, without control characters."""
    nodes = [_safe(node) for node in _nodes(story)]
    lanes = [*services, *sorted({node.lane for node in nodes} - set(services))]
    links = list(_links(story))
    legend = [ANSWERS]
    legend += [UNDOING] if any(link.kind == UNDOES for link in links) else []
    legend += [DUE] if story.owed else []
    legend += [WRONG] if any(node.kind == "wrong" for node in nodes) else []
    title = f"Order {story.order.order_id}: {story.order.status}, {plural(len(story.steps), 'event')}"
    return Drawing(lanes, nodes, links).svg(printable(title), "order-head", legend=legend)


def _nodes(story: Timeline) -> Iterator[LaneBox]:
    """Place each event to the right of its cause and of those before it in its lane, and not left of an earlier one."""
    columns: dict[str, int] = {}
    free: dict[str, int] = {}
    wrong = {violation.address for violation in story.violations}
    last = 0
    for step in story.steps:
        event = step.event
        lane = event.service[:MOST_NAME] or NOBODY
        after = columns[step.cause.address] + 1 if step.cause and step.cause.address in columns else 0
        column = max(free.get(lane, 0), last, after)
        undoing = step.undoes and event.topic != story.order.ending
        kind = "wrong" if event.address in wrong else "undoing" if undoing else "event"
        lines = (event.topic, f"+{span(step.since_placed)}", *_began(story, step))
        told = f"{event.address}: waited {span(step.waited or 0)}, handled in {span(step.handled or 0)}"
        yield LaneBox(event.address, lane, column, lines, kind, told)
        columns[event.address] = last = column
        free[lane] = column + 1
    for number, owed in enumerate(story.owed):
        cause = story.asked(owed)
        column = max(free.get(owed.service, 0), columns[cause.address] + 1 if cause else 0)
        answers = tuple(" or " + answer for answer in sorted(owed.answers)) or (owed.any_of,)
        lines = (answers[0].removeprefix(" or "), *answers[1:], "due")
        yield LaneBox(f"due/{number}", owed.service, column, lines, "due", f"answers {owed.event}")
        free[owed.service] = column + 1


def _began(story: Timeline, step: TimelineStep) -> tuple[str, ...]:
    """Return what began an ending that no event caused: then no arrow leads to its box."""
    if step.event.topic != story.order.ending or not story.why_ended:
        return ()
    return (BEGAN[REQUEST if story.order.ended_by == REQUEST else OVERDUE],)


def _links(story: Timeline) -> Iterator[Link]:
    for step in story.steps:
        if step.cause:
            yield Link(step.cause.address, step.event.address, "answers")
        if step.undoes and step.event.topic != story.order.ending:
            yield Link(step.event.address, step.undoes.address, UNDOES, "undoes")
    due = [(number, story.asked(owed)) for number, owed in enumerate(story.owed)]
    yield from (Link(cause.address, f"due/{number}", "due") for number, cause in due if cause)


def _safe(node: LaneBox) -> LaneBox:
    """Return it with texts that XML can have."""
    lines = tuple(map(printable, node.lines))
    return node._replace(lane=printable(node.lane), lines=lines, told=printable(node.told))
