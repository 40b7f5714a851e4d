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


class Clock:
    """A stopwatch, and a meter of the process's processor time: from the first order, and from the middle, to the end.

    The second half of a backlog does not include start-up costs.
    """

    def __init__(self, events: int) -> None:
        self._events, self._done = events, 0
        self._marks: list[tuple[int, float, float]] = []

    def handling(self, done: int) -> None:
        """Note that more is to be handled, and that so many were before."""
        if not self._marks or (len(self._marks) == 1 and 2 * done >= self._events):
            self._marks.append((done, time.monotonic(), time.process_time()))

    def published(self, count: int) -> bool:
        """Count what was published; print the figures when that is everything, and say so."""
        self._done += count
        if self._done < self._events:
            return False
        seconds, cpu = time.monotonic(), time.process_time()
        whole, half = (
            {"events": self._done - done, "seconds": seconds - began, "cpu_seconds": cpu - used}
            for done, began, used in (self._marks[0], self._marks[-1])
        )
        print(json.dumps({"whole": whole, "half": half}), flush=True)
        return True


def read(value: bytes) -> dict[str, Any]:
    """Return an order."""
    body = io.BytesIO(value)
    body.seek(len(FRAME))
    order: Any = fastavro.schemaless_reader(body, ORDER, None)
    return order


def write(charged: dict[str, Any]) -> bytes:
    """Return a charge as Avro, framed."""
    body = io.BytesIO()
    body.write(FRAME)
    fastavro.schemaless_writer(body, CHARGED, charged)
    return body.getvalue()


class Job(Clock):
    """The work on one backlog."""

    def __init__(self, path: str, events: int) -> None:
        super().__init__(events)
        self._handled = 0
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.execute(DDL)
        self._books: dict[str, str] = {}

    def handle(self, values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Charge a batch, which has something in it: the time begins with the first; return what to publish."""
        assert values
        self.handling(self._handled)
        self._handled += len(values)
        answers, rows = [], []
        for value in values:
            order = read(value)
            key, amount, currency = order["order_id"], order["total"], order["currency"]
            payment = self._books.setdefault(key, f"p-{len(self._books)}")
            rows.append((key, payment, amount, currency, "charged", None))
            charged = {"order_id": key, "payment_id": payment, "amount": amount, "currency": currency}
            answers.append((key.encode(), write(charged)))
        self._connection.execute("begin immediate")
        self._connection.executemany("insert or ignore into payment values (?,?,?,?,?,?)", rows)
        self._connection.execute("commit")
        return answers


def given() -> argparse.Namespace:
    """Return where to read and write, and how much."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap-servers", "group", "sink", "file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--events", type=int, required=True)
    return parser.parse_args()


def arguments() -> tuple[argparse.Namespace, Job]:
    """Return where to read and write, and the job."""
    where = given()
    return where, Job(where.file, where.events)
