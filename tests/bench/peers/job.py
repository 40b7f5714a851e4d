"""What every peer does with orders: charge them in memory, note that in SQLite (FULL), and answer with payment.charged.

As the textbook loop does it, without headers, guards, checkpoint or outbox either. Needs fastavro and nothing of ours
but the schemas, so that it runs in the peers' own environment.
"""

from __future__ import annotations

import argparse
import io
import json
import sqlite3
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro

SCHEMAS = Path(__file__).parents[3] / "schemas"
FRAME = struct.pack(">BI", 0, 2)
BATCH = 1_000
DDL = """create table payment (
    order_id text primary key, payment_id text, amount integer, currency text, status text, error text
) without rowid"""


def schema(topic: str) -> Any:
    """Return the schema of a topic's values."""
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{topic}.avsc").read_text(encoding="utf-8")))


ORDER, CHARGED = schema("order.created"), schema("payment.charged")


class Job:
    """The work on one backlog, and a stopwatch."""

    def __init__(self, path: str, events: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.execute(DDL)
        self._events, self._done, self._started = events, 0, 0.0
        self._books: dict[str, str] = {}

    def handle(self, values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Charge a batch, which has something in it: the time begins with the first; return what to publish."""
        assert values
        self._started = self._started or time.monotonic()
        answers, rows = [], []
        for value in values:
            body = io.BytesIO(value)
            body.seek(5)
            order: Any = fastavro.schemaless_reader(body, ORDER, None)
            key, amount, currency = order["order_id"], order["total"], order["currency"]
            payment = self._books.setdefault(key, f"p-{len(self._books)}")
            rows.append((key, payment, amount, currency, "charged", None))
            body = io.BytesIO()
            body.write(FRAME)
            charged = {"order_id": key, "payment_id": payment, "amount": amount, "currency": currency}
            fastavro.schemaless_writer(body, CHARGED, charged)
            answers.append((key.encode(), body.getvalue()))
        self._connection.execute("begin immediate")
        self._connection.executemany("insert or ignore into payment values (?,?,?,?,?,?)", rows)
        self._connection.execute("commit")
        return answers

    def published(self, count: int) -> bool:
        """Count what was published; print the time when that is everything, and say so."""
        self._done += count
        if self._done < self._events:
            return False
        print(json.dumps({"events": self._done, "seconds": time.monotonic() - self._started}), flush=True)
        return True


def arguments() -> tuple[argparse.Namespace, Job]:
    """Return where to read and write, and the job."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap-servers", "group", "sink", "file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--events", type=int, required=True)
    given = parser.parse_args()
    return given, Job(given.file, given.events)
