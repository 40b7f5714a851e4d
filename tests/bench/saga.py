"""The whole saga: three workers, and orders placed through the order service's command."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

from tests.bench.ground import Ground
from tests.bench.report import Figures

PATIENCE_SECONDS = 300


def saga(ground: Ground, orders: int, beside: AbstractContextManager[None] | None = None) -> Figures:
    """Return orders/s from the first order.created to the last order.confirmed, by the records' timestamps.

    `beside` is entered while the workers wait for the orders.
    """
    ground.fresh()
    ground.load_stock()
    with ground.all_workers(), beside or nullcontext():
        ground.import_orders(orders)
        confirmed = _confirmed(ground, orders)
    begun = min(message.timestamp()[1] for message in ground.admin.read("order.created"))
    seconds = (max(confirmed) - begun) / 1000
    return {"orders/s": round(orders / seconds), "seconds": round(seconds, 2), "orders": orders}


def _confirmed(ground: Ground, orders: int) -> list[int]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(1)
        times = [message.timestamp()[1] for message in ground.admin.read("order.confirmed")]
        if len(times) >= orders:
            return times
    raise TimeoutError(f"{len(times)} of {orders} orders were confirmed")
