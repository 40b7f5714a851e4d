"""Endings that no event caused, a deadline or a person, and the deadline of an order that is pending, in words."""

from __future__ import annotations

from collections.abc import Sequence

from saga.tracker.fold import TrackedEvent
from saga.tracker.model import OVERDUE, REQUEST, Owed, TrackerModel
from saga.tracker.moments import span
from saga.tracker.sentences import printable

ON_REQUEST = "on request"
BEGAN = {OVERDUE: "by deadline", REQUEST: ON_REQUEST}
"""What began events that no event caused, where orders are counted and in pictures: no arrow leads to them."""
PATIENCE_MS = 60_000
"""An order that is pending this long after its deadline is in trouble: no worker cancels it."""


def silent(model: TrackerModel, events: Sequence[TrackedEvent], end: TrackedEvent) -> tuple[Owed, ...]:
    """Return the answers that were due when a deadline ended the order; `events` are all of the order, by time.

    What starts an order was there, whatever its timestamp: both may be published within two milliseconds.
    """
    after = model.endings | model.following[end.topic]
    before = {event.topic for event in events if event.at <= end.at or event.topic in model.starts} - after
    seen = sum(model.bits[topic] for topic in before)
    return tuple(owed for owed in model.state(seen, None).owed if owed.event)


def why_ended(model: TrackerModel, events: Sequence[TrackedEvent], end: TrackedEvent) -> str:
    """Return why it ended with this event, for people, if no event caused that; otherwise an empty text.

    `its deadline had passed: payment-service had not answered`, or `on request of ann: ordered twice`. Nobody is to
    blame for an answer that was not asked for: no worker had published the order's first event.
    """
    began = model.began(end.topic, end.cause)
    if began == OVERDUE:
        start = next((event for event in events if event.topic in model.starts), None)
        if start and passed_before(end, start.at):
            return f"its deadline had passed before {start.topic} was published"
        owed = silent(model, events, end)
        missing = dict.fromkeys(_missing(each, end.service) for each in owed)
        return "its deadline had passed" + (f": {' and '.join(missing)}" if missing else "")
    if began == REQUEST:
        reason = printable(str(end.values.get("reason") or ON_REQUEST))
        return reason if reason.startswith(ON_REQUEST) else f"{ON_REQUEST}: {reason}"
    return ""


def passed_before(end: TrackedEvent, at: int) -> bool:
    """Return whether a deadline ended the order, and that deadline had passed before this time (ms since 1970)."""
    cause, _, due = (end.cause or "").partition("/")
    return cause == OVERDUE and due.isdecimal() and int(due) < at


def cancels_itself(cancel_at: int | None, now: int) -> str:
    """Return when a pending order cancels itself, for people; an empty text if the log does not say it."""
    if cancel_at is None:
        return ""
    if now <= cancel_at:
        return f"cancels itself in {span(cancel_at - now)}"
    late = f"its deadline passed {span(now - cancel_at)} ago"
    return f"{late}, and no worker has cancelled it" if is_late(cancel_at, now) else late


def is_late(cancel_at: int | None, now: int) -> bool:
    """Return whether an order is pending so long after its deadline that no worker seems to fire it."""
    return cancel_at is not None and now - cancel_at > PATIENCE_MS


def _missing(owed: Owed, by: str) -> str:
    return f"{by} had not handled {owed.event}" if owed.service == by else f"{owed.service} had not answered"
