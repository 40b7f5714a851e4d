"""The payment and the inventory service on PostgreSQL, each in turns with a textbook loop on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench import workload
from tests.bench.ground import Ground
from tests.bench.payment import IN_MEMORY, Say, service, textbook_loop, worker
from tests.bench.report import Figures, median
from tests.support.databases import postgres as servers

TEXTBOOK = "textbook beside "


def postgres(ground: Ground, events: int, rounds: int, say: Say) -> Figures:
    """Return events/s and ratios; the inventory service has two events an order, and answers one of them."""
    ground.fresh()
    workload.publish_backlog(ground.bootstrap_servers, events)
    service(ground, events, IN_MEMORY)
    runs: dict[str, list[float]] = {}
    with _server() as port:
        # The inventory service first: the payment service publishes its charges again in each of its rounds.
        for name, run in {"inventory": _inventory, "payment": _payment}.items():
            for number in range(rounds):
                for what, each in {name: run, f"{TEXTBOOK}{name}": _textbook}.items():
                    runs.setdefault(what, []).append(_on_new_database(port, ground, events, each))
                rates = f"{runs[name][-1]:,.0f}/s, {TEXTBOOK}{runs[TEXTBOOK + name][-1]:,.0f}/s"
                say(f"  {name}, round {number + 1}: {rates}")
    figures: Figures = {f"{name}, events/s": round(median(rates)) for name, rates in runs.items()}
    for name in ("inventory", "payment"):
        ratios = [ours / theirs for ours, theirs in zip(runs[name], runs[TEXTBOOK + name], strict=True)]
        figures |= {f"{name} / textbook": round(median(ratios), 3), f"{name}: ratios": [round(r, 3) for r in ratios]}
    return figures | {"events": events, "rounds": rounds}


@contextmanager
def _server() -> Iterator[int]:
    server = servers.server()
    server.start()
    try:
        yield server.port
    finally:
        server.remove()


def _on_new_database(port: int, ground: Ground, events: int, run: Callable[[Ground, int], float]) -> float:
    ground.fresh(topics=False)
    name = servers.create_database(port)
    for setting in ("PAYMENT_SERVICE_DATABASE", "INVENTORY_SERVICE_DATABASE"):
        ground.env[setting] = servers.url(port, name)
    try:
        return run(ground, events)
    finally:
        servers.drop_database(port, name)


def _payment(ground: Ground, events: int) -> float:
    return service(ground, events, IN_MEMORY).whole.rate


def _inventory(ground: Ground, events: int) -> float:
    ground.load_stock()
    return worker(ground, "inventory_service", 2 * events, events).whole.rate


def _textbook(ground: Ground, events: int) -> float:
    database = ground.env["PAYMENT_SERVICE_DATABASE"]
    return textbook_loop(ground, events, None, "tests.bench.textbook_postgres", "--database", database).whole.rate
