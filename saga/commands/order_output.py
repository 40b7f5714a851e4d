"""Output that the commands which query the tracker share."""

from __future__ import annotations

from typing import NoReturn

from eventbus.cli import options as cli
from eventbus.log import to_iso
from eventbus.text.plural import plural
from saga.tracker.moments import span
from saga.tracker.queries import Tracked, now
from saga.tracker.timeline import Timeline, timeline


def order_timeline(tracked: Tracked, order_id: str, at: int | None = None) -> Timeline:
    """Return an order's timeline from the tracker; exit 1 if it has no event of the order."""
    order_id = tracked.whole_id(order_id)
    story = timeline(tracked, order_id, at)
    if story is None:
        _unknown(tracked, order_id, at)
    return story


def _unknown(tracked: Tracked, order_id: str, at: int | None) -> NoReturn:
    behind = tracked.behind()
    when = "" if at is None else f" at {to_iso(at)}"
    ago = f"last wrote {span(now() - behind.written_at)} ago" if behind.written_at else "has not written anything yet"
    service = " or ".join(sorted({tracked.model.publisher[topic] for topic in tracked.model.starts}))
    lag = f" and was {plural(behind.offsets, 'record')} behind" if behind.offsets else " and had read the whole log"
    cli.fail(
        f"no event of order {order_id!r}{when} in {tracked.path}. The tracker {ago}"
        f"{lag if behind.written_at else ''}. Check the id, and that `saga track` is running. An order that"
        f" {service} has not published yet is only in its database: `{service} show {order_id}`"
    )
