"""How much memory each worker takes at most, while it handles a deep backlog."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from eventbus.log import Output
from tests.bench.ground import Ground, handled
from tests.bench.report import Figures

PATIENCE_SECONDS = 600
LARGE = 300


def memory(ground: Ground, events: int, say: Callable[[str], None]) -> Figures:
    """Return each worker's greatest resident set in MB (Linux), one after another, each on its own deep backlog."""
    ground.fresh()
    ground.load_stock()
    ground.import_orders(events)
    figures: Figures = {}
    backlogs = (
        ("order.created", "order_service", ()),
        ("order.created", "payment_service", ()),
        ("order.created and payment.charged", "inventory_service", ()),
        ("inventory.reserved", "order_service", ()),
    )
    for topic, module, arguments in backlogs:
        name = f"{module.replace('_', '-')}, {'publishing' if not figures else 'handling'} {topic}, MB"
        figures[name] = _peak(ground, module, events, *arguments)
        say(f"  {name}: {figures[name]}")
    figures[f"payment-service, dead-lettering {LARGE} records of 1 MB, MB"] = _peak_of_large(ground)
    return figures | {"events": events}


def _peak(ground: Ground, module: str, events: int, *arguments: str) -> float:
    with ground.worker(module, *arguments) as worker:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while handled(worker.log).published < events:
            if time.monotonic() > deadline or not worker.running:
                raise RuntimeError(f"{handled(worker.log)} of {events}: {worker.log[-2000:]}")
            time.sleep(0.5)
        return worker.peak_mb


def _peak_of_large(ground: Ground) -> float:
    """A burst of the largest records that a topic takes, none of which can be read."""
    ground.fresh()
    body = os.urandom(1_000_000)
    ground.admin.produce_many(Output("order.created", str(n).encode(), body, []) for n in range(LARGE))
    return _peak(ground, "payment_service", LARGE, "--dead-letter-limit", str(10 * LARGE))
