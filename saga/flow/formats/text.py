"""The whole saga on one page of a terminal: its happy path, every branch, every ending, and the compensations.

A tree of events. Each is below the event that it answers, with its handler beside it; several events of one handler
below an event are alternatives. A line with a dot is a handler that consumes the event above but publishes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import NamedTuple

from saga.flow.model import Flow, Handler

COLUMNS, GAP = 80, 2


class TextLine(NamedTuple):
    """One line: the tree on the left, the handler on the right."""

    left: str
    right: str = ""


def as_text(flow: Flow) -> str:
    """Return the page; at most 80 columns with names of usual length."""
    declared_by = ", ".join(f"{service.service} {service.version}" for service in flow.services)
    tree = [line for start in flow.initiates for line in _start(flow, start)]
    blocks = [
        [TextLine(fill(f"Declared by {declared_by}.", COLUMNS))],
        tree,
        _titled("On request", _on_request(flow)),
        _titled("Compensations", _compensations(flow)),
        _titled("Deadlines", _deadlines(flow)),
        _titled("Events out of order", _out_of_order(flow)),
        _titled("Without a consumer here", _unconsumed(flow)),
    ]
    width = GAP + max((len(line.left) for block in blocks for line in block if line.right), default=0)
    shown = ["\n".join(f"{line.left:{width}}{line.right}".rstrip() for line in block) for block in blocks if block]
    return "\n\n".join(shown) + "\n"


def _titled(title: str, lines: Iterable[TextLine]) -> list[TextLine]:
    found = list(lines)
    return [TextLine(title), *found] if found else []


def _start(flow: Flow, start: str) -> Iterator[TextLine]:
    [publisher, *_] = flow.publishers(start)
    yield TextLine(start, f"{publisher} starts the saga")
    yield from _Tree(flow).below(start, frozenset({start}), "")


class _Tree:
    """The events that follow an event, given those that happened before it."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def below(self, event: str, happened: frozenset[str], indent: str) -> Iterator[TextLine]:
        branches: list[tuple[str, Handler]] = []
        for handler in self._flow.consumers(event):
            silent = self._why_silent(handler, happened)
            if silent is None:
                branches += [(answer, handler) for answer in self._flow.alternatives(handler)]
            else:
                yield TextLine(f"{indent}{'│' if self._answered(event, happened) else ' '}  · {silent}", handler.name)
        aside: frozenset[str] = frozenset()
        for number, (answer, handler) in enumerate(branches):
            last = number == len(branches) - 1
            elsewhere = frozenset(reply for reply, other in branches[:number] if other != handler)
            aside |= elsewhere
            yield self._branch(answer, handler, indent + ("└─ " if last else "├─ "))
            deeper = indent + ("   " if last else "│  ")
            yield from self.below(answer, happened | aside | {answer}, deeper)

    def _branch(self, event: str, handler: Handler, indent: str) -> TextLine:
        return TextLine(f"{indent}{event}{_ending(self._flow, event)}", handler.name)

    def _answered(self, event: str, happened: frozenset[str]) -> bool:
        return any(self._why_silent(handler, happened) is None for handler in self._flow.consumers(event))

    def _why_silent(self, handler: Handler, happened: frozenset[str]) -> str | None:
        """Return what a handler does that publishes nothing here; None if it answers."""
        does = handler.does
        undone = [event for event in does.compensates if event in happened]
        missing = [event for event in does.awaits if event not in happened]
        if does.compensates and not undone:
            return "nothing to undo"
        if missing:
            return f"waits for {' and '.join(missing)}"
        alternatives = self._flow.alternatives(handler)
        if not alternatives:
            return f"undoes {' and '.join(undone)}" if undone else "updates state"
        return None if happened.isdisjoint(alternatives) else "already answered"


def _on_request(flow: Flow) -> Iterator[TextLine]:
    for service in flow.services:
        for event in service.on_request:
            ending = "COMPLETED" if event in flow.completes else "ABORTED" if event in flow.aborts else ""
            yield TextLine(f"  {event}  {ending}", f"{service.service} publishes it")
            yield TextLine("", "  when a person asks for it")


def _compensations(flow: Flow) -> Iterator[TextLine]:
    for event in (event for event in flow.events if event in flow.compensates):
        for number, handler in enumerate(flow.compensates[event]):
            yield TextLine(f"  {'' if number else event}", handler.name)
            yield TextLine("", f"  on {handler.does.event}")


def _deadlines(flow: Flow) -> Iterator[TextLine]:
    for service, does in flow.deadlines:
        yield TextLine(f"  after {does.name}", f"{service} {does.handler}")
        for event in does.publishes:
            yield TextLine("", f"  publishes {event}{_ending(flow, event)}")


def _ending(flow: Flow, event: str) -> str:
    ending = "  COMPLETED" if event in flow.completes else ""
    return "  ABORTED" if event in flow.aborts else ending


def _out_of_order(flow: Flow) -> Iterator[TextLine]:
    for handler in flow.handlers:
        early = [event for event in handler.does.publishes if event not in flow.alternatives(handler)]
        for event in early:
            triggers = [h.does.event for h in flow.handlers if h.does.compensates and event in h.does.publishes]
            yield TextLine(f"  {' or '.join(triggers)} before {handler.does.event}", handler.name)
            yield TextLine("", f"  publishes {event}")


def _unconsumed(flow: Flow) -> Iterator[TextLine]:
    for event in flow.events:
        if not flow.consumers(event):
            yield TextLine(f"  {event}", f"published by {' and '.join(flow.publishers(event))}")
