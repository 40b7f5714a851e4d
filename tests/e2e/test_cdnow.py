"""The main job on real input: 6,919 purchases, two workers a service, one of each killed in between."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.brokers.kafka_node import Broker
from tests.support.saga import SERVICES, SESSION, Saga
from tests.support.saga.processes import PATIENCE

PURCHASES = Path(__file__).parents[1] / "data" / "cdnow_sample.jsonl"
ORDERS, CONFIRMED, CANCELLED = 6_919, 6_616, 303
TOTAL_CENTS, CHARGED_CENTS, CDS_RESERVED = 24_409_194, 19_802_065, 13_720
"""Sums of the data, with charges above 100.00 declined: counted by hand, not by this code."""


@pytest.fixture(scope="module")
def shop(fresh_broker: Broker, tmp_path_factory: pytest.TempPathFactory):
    """A saga with plenty of stock of all 50 articles that declines charges above 100.00."""
    folder = tmp_path_factory.mktemp("shop")
    # A provider that takes its time, so that workers are killed in the middle of the work and not after it.
    provider = f"simulated:///{folder}/provider.db?decline-above=10000&latency-ms=100"
    shop = Saga(folder, fresh_broker.bootstrap_servers, PAYMENT_GATEWAY=provider)
    shop.make_topics(6)
    shop.ask("order_service", "import", "-")  # of nothing: makes the database
    shop.stock(**{f"CD_{number:02}": 1_000_000 for number in range(50)})
    yield shop
    shop.close()


def interrupt_import(shop, lines: int, number: signal.Signals) -> subprocess.CompletedProcess[bytes]:
    """Let an import have so many lines and wait for more; send it a signal when it has placed most of them."""
    run = [sys.executable, "-m", "order_service", "import", "-", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(run, env=shop.env, cwd=shop.folder, stdin=pipe, stdout=pipe, stderr=pipe) as importing:
        assert importing.stdin is not None
        with PURCHASES.open("rb") as purchases:
            importing.stdin.write(b"".join(next(purchases) for _ in range(lines)))
        importing.stdin.flush()
        shop.until(lambda: shop.pending() > lines - 1_000, "the lines were not placed")
        importing.send_signal(number)
        importing.stdin.close()
        importing.stdin = None
        stdout, stderr = importing.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(run, importing.returncode, stdout, stderr)


def test_an_interrupted_import_that_is_run_again_places_no_order_twice(shop):
    """Stopped by Ctrl-C, then killed; the last run places what is missing."""
    interrupted = interrupt_import(shop, 1_700, signal.SIGINT)
    assert interrupted.returncode not in (0, -signal.SIGKILL)
    assert b"Traceback" not in interrupted.stderr
    assert re.search(rb"interrupted \(1[05]00 placed and 0 repeated so far; run it again", interrupted.stderr)
    assert interrupt_import(shop, 3_700, signal.SIGKILL).returncode == -signal.SIGKILL
    before = shop.pending()
    assert 2_700 < before < ORDERS
    result = shop.ask("order_service", "import", str(PURCHASES))
    assert result == {"placed": ORDERS - before, "repeated": before, "rejected": []}
    assert shop.summary() == {"pending": ORDERS}


def test_every_purchase_ends_as_it_must_although_a_worker_of_each_service_is_killed(shop):
    """No order is lost, none charged twice: every sum is the one of the data."""
    shop.ask("order_service", "import", str(PURCHASES))
    workers = {(module, name): shop.start(module, *SESSION, instance=name) for name in "ab" for module in SERVICES}
    for number, module in enumerate(("payment_service", "order_service", "inventory_service"), 1):
        left = ORDERS - number * 800
        shop.until(lambda left=left: shop.pending() <= left, "the work did not go on")
        workers[module, "a"].kill()
        assert shop.pending() > 0, "the worker was killed when everything was over"
        workers[module, "a"] = shop.start(module, *SESSION, instance="a")
    report = shop.settle()
    assert (report["orders"], report["undecodable"]) == (ORDERS, 0)
    assert shop.ask("order_service", "list", "--summary") == {
        "total": ORDERS,
        "pending": 0,
        "confirmed": CONFIRMED,
        "cancelled": CANCELLED,
        "refunded": 0,
    }
    charged = {"USD": {"charged": CHARGED_CENTS, "refunded": 0, "net": CHARGED_CENTS}}
    assert shop.ask("payment_service", "ledger") == {"service": charged, "provider": charged}
    assert sum(article["reserved"] for article in shop.shelf().values()) == CDS_RESERVED
    assert shop.rows("order-service", "select sum(total) from orders") == [(TOTAL_CENTS,)]
    assert {worker.terminate() for worker in workers.values()} == {0}


def test_importing_again_places_nothing(shop):
    """Every line is known by its request id."""
    shop.ask("order_service", "import", str(PURCHASES))
    before = shop.summary()
    result = shop.ask("order_service", "import", str(PURCHASES))
    assert result == {"placed": 0, "repeated": ORDERS, "rejected": []}
    assert shop.summary() == before
