"""The observed traffic of the flow, for a terminal and for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eventbus.text.plural import plural
from saga.flow.model import Flow
from saga.tracker.live import LATEST, Live
from saga.tracker.moments import span
from saga.tracker.sentences import printable


def as_live_text(flow: Flow, live: Live) -> str:
    """Return how often each event and each declared answer was seen, and the undeclared events."""
    return "\n".join(_lines(flow, live)) + "\n"


def as_live_json(flow: Flow, live: Live) -> dict[str, Any]:
    """Return the same with stable keys."""
    steps = []
    for cause, event, service in _answers(flow):
        taken = live.edges.get((cause, event))
        times, p50, p95 = taken or (0, None, None)
        steps.append({"cause": cause, "event": event, "service": service, "times": times, "p50_ms": p50, "p95_ms": p95})
    return {
        "window_ms": live.window,
        "orders": live.orders,
        "events": {event: live.events[event]._asdict() for event in flow.events if event in live.events},
        "steps": steps,
        "steps_of_latest": LATEST,
        "began": [{"event": event, "by": by, "times": times} for (event, by), times in sorted(live.began.items())],
        "not_declared": [rogue._asdict() for rogue in live.undeclared],
    }


def _lines(flow: Flow, live: Live) -> Iterator[str]:
    yield f"{plural(live.orders, 'order')} placed in the last {span(live.window)}."
    yield ""
    yield f"{'event':63}{'in total':>12}{f'in {span(live.window)}':>12}"
    for event in flow.events:
        ever, recent = live.events.get(event, (0, 0))
        yield f"  {event:61}{ever:>12,}{recent:>12,}" if ever else f"  {event:61}{'never seen':>12}"
    yield ""
    yield f"Answers in the last {span(live.window)}, of at most the latest {LATEST:,} orders."
    yield f"{'answer':63}{'times':>12}{'p50':>12}{'p95':>12}"
    for cause, event, _ in _answers(flow):
        taken = live.edges.get((cause, event))
        seen = f"{taken.times:>12,}{span(taken.p50):>12}{span(taken.p95):>12}" if taken else f"{'not seen':>12}"
        yield f"  {cause:29} -> {event:28}{seen}"
    for (event, began), times in sorted(live.began.items()):
        yield f"  {began:29} -> {event:28}{times:>12,}"
    if live.undeclared:
        yield ""
        yield "Not declared (see `saga violations`)"
        for rogue in live.undeclared:
            cause = f" in answer to {rogue.cause}" if rogue.cause else ""
            by = rogue.service or "an unknown service"
            yield printable(f"  {rogue.times:,} x {rogue.event} by {by}{cause}: {', '.join(rogue.kinds)}")


def _answers(flow: Flow) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((edge.cause, edge.event, edge.service) for edge in flow.edges if edge.cause is not None))
