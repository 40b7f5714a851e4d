"""What is told at the end: how the orders ended, why, and how two of them got there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from choreography.demo.history import History, Step
from choreography.demo.plan import Ending, Plan
from order_service.currency import to_text
from order_service.domain import Order
from schemas import OrderCreated

NUMBER = re.compile(r"[0-9]+")
ENDINGS: dict[str, Ending] = {
    "order.confirmed": "confirmed",
    "order.cancelled": "declined",
    "payment.refunded": "short",
}
NAMES: dict[Ending, str] = {"confirmed": "confirmed", "declined": "cancelled", "short": "cancelled, money back"}


def print_outcomes(console: Console, orders: list[Order], history: History) -> None:
    """Print how many orders ended how, and the reasons that the order service has."""
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


def print_path(console: Console, history: History, order_id: str) -> None:
    """Print the events of one order, causes before effects, with when and why."""
    path = history.path(order_id)
    table = _table(f"Order {order_id}: {NAMES[ENDINGS[history.state(order_id)]]}")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("event at", no_wrap=True)
    table.add_column("by", no_wrap=True)
    table.add_column("because of", no_wrap=True)
    table.add_column("saying")
    for step in path:
        since = f"{step.at_ms - path[0].at_ms} ms"
        table.add_row(since, step.address, step.source, step.cause or "a customer", escape(_saying(step)))
    console.print(table)


def examples(history: History) -> Iterator[str]:
    """Return one confirmed and one refunded order, where there are any."""
    for state in ("order.confirmed", "payment.refunded"):
        yield from [order_id for order_id in sorted(history.orders) if history.state(order_id) == state][:1]


def surprises(plan: Plan, orders: list[Order], history: History) -> list[str]:
    """Return which orders ended otherwise than they had to."""
    endings = {str(order.request_id): ENDINGS.get(history.state(order.order_id)) for order in orders}
    return [
        f"{request_id} had to be {NAMES[ending]}, and is {endings.get(request_id)}"
        for request_id, ending in plan.endings.items()
        if endings.get(request_id) != ending
    ]


def _ending(order: Order, history: History) -> str:
    ending = ENDINGS.get(history.state(order.order_id))
    return NAMES[ending] if ending else order.status


def _saying(step: Step) -> str:
    values = step.values
    if step.event == OrderCreated.topic:
        items = ", ".join(f"{item['quantity']} x {item['sku']}" for item in values["items"])
        return f"{values['customer_id']}: {items} for {to_text(values['total'], values['currency'])}"
    if "amount" in values:
        return to_text(values["amount"], values["currency"])
    return str(values.get("error") or values.get("reason") or "")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
