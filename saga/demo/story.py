"""The summary at the end: how the orders ended, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from order_service.domain import Order
from saga.demo.history import DemoHistory
from saga.demo.plan import DemoPlan, Ending
from saga.tracker.installed import SENTENCES
from saga.tracker.queries import Tracked, now
from saga.tracker.render import timeline_text, why_text
from saga.tracker.timeline import timeline
from saga.tracker.why import explain

NUMBER = re.compile(r"[0-9]+")
NAMES = {
    "order.confirmed": "confirmed",
    "order.cancelled": "cancelled",
    "payment.refunded": "cancelled, refunded",
}
"""How an order ended, by the last of its events."""
EXPECTED: dict[Ending, tuple[str, ...]] = {
    "confirmed": ("order.confirmed",),
    "declined": ("order.cancelled",),
    "short": ("payment.refunded",),
    "cancelled": ("order.cancelled", "payment.refunded", "order.confirmed"),
    "silent": ("order.cancelled", "payment.refunded"),
}
"""A customer may be too late to cancel an order, and may have been charged before: then it is refunded."""


def print_outcomes(console: Console, orders: list[Order], history: DemoHistory) -> None:
    """Print the number of orders per outcome, and the reasons that the order service stored."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for order in orders:
        reason = order.reason or ""
        reasons.setdefault((_ending(order, history), NUMBER.sub("#", reason)), []).append(reason)
    table = _table("How the orders ended")
    table.add_column("outcome", no_wrap=True)
    table.add_column("orders", justify="right")
    table.add_column("reason")
    for (ending, _), alike in sorted(reasons.items()):
        more = f" (and {len(alike) - 1} like it)" if len(set(alike)) > 1 else ""
        table.add_row(ending, str(len(alike)), escape(alike[0]) + more)
    console.print(table)


def print_order(console: Console, tracked: Tracked, order_id: str) -> None:
    """Print the output of `saga show` and `saga why` for one order."""
    story = timeline(tracked, order_id)
    if story is None:
        return
    console.print(f"saga show {order_id}", style="bold")
    console.out("\n".join(timeline_text(story, SENTENCES, now())), end="\n\n")
    console.print(f"saga why {order_id}", style="bold")
    console.out("\n".join(why_text(explain(story, SENTENCES, now()))), end="\n\n")


def examples(history: DemoHistory) -> Iterator[str]:
    """Return one confirmed and one refunded order, and one that its deadline or its customer cancelled, if any.

    The refunded one is rather one without stock than one that its customer cancelled after the charge.
    """
    for state in ("order.confirmed", "payment.refunded"):
        alike = [order_id for order_id in sorted(history.orders) if history.state(order_id) == state]
        yield from sorted(alike, key=lambda order_id: not history.had_no_stock(order_id))[:1]
    yield from [order_id for order_id in sorted(history.orders) if history.ended_by_nobodys_answer(order_id)][:1]


def surprises(plan: DemoPlan, orders: list[Order], history: DemoHistory) -> list[str]:
    """Return the orders whose outcome is not the expected one."""
    ended = {str(order.request_id): history.state(order.order_id) for order in orders}
    return [
        f"{request_id} should be {NAMES[EXPECTED[ending][0]]}, but is {NAMES.get(ended.get(request_id, ''), 'open')}"
        for request_id, ending in plan.endings.items()
        if ended.get(request_id) not in EXPECTED[ending]
    ]


def _ending(order: Order, history: DemoHistory) -> str:
    return NAMES.get(history.state(order.order_id), order.status)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
