"""The whole saga as its users run it: databases in a folder, worker processes, commands, what lies on the topics."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Message

from eventbus.serde.codec import Codec
from eventbus.serde.registry import registry_at
from saga.kafka.topics_file import read_topics
from schemas import EVENTS
from tests.support.brokers.admin import Admin
from tests.support.saga.processes import PATIENCE, Done, Worker, Workers, command, saga_environment

SERVICES = ("order_service", "payment_service", "inventory_service")
SESSION = ("--kafka-config", "session.timeout.ms=6000")
"""For tests that wait for a session to end: the shortest that brokers allow by default."""


class Saga:
    """One saga on one broker. Workers have stable names, so that one that is started again is soon back at work."""

    def __init__(self, folder: Path, bootstrap_servers: str, **settings: str) -> None:
        self.folder, self.bootstrap_servers = folder, bootstrap_servers
        self.env = saga_environment(folder, bootstrap_servers, **settings)
        self.admin = Admin(bootstrap_servers)
        self.workers = Workers(folder)
        self.codec = Codec(registry_at(None, EVENTS), EVENTS)

    def start(self, module: str, *arguments: str, instance: str = "a", **env: str) -> Worker:
        """Start a worker of a service; it is not ready yet."""
        return self.workers.start(module, "--instance", instance, *arguments, env=self.env | env)

    def start_all(self, *arguments: str, instance: str = "a") -> list[Worker]:
        """Start one worker of each service and wait until all have partitions."""
        started = [self.start(module, *arguments, instance=instance) for module in SERVICES]
        for worker in started:
            worker.wait_ready()
        return started

    def run(self, module: str, *arguments: str, stdin: str = "", seconds: float = PATIENCE) -> Done:
        """Run a command to its end."""
        return command(module, *arguments, env=self.env, folder=self.folder, stdin=stdin, seconds=seconds)

    def ask(self, module: str, *arguments: str, stdin: str = "", seconds: float = PATIENCE) -> Any:
        """Return what a command that succeeds reports with --json."""
        done = self.run(module, *arguments, "--json", stdin=stdin, seconds=seconds)
        assert done.code == 0, f"{module} {arguments}: {done}"
        return json.loads(done.stdout)

    def make_topics(self, partitions: int) -> None:
        """Make all topics, as users do."""
        done = self.run("saga", "topics", "create", "--partitions", str(partitions))
        assert done.code == 0, done

    def remove_topics(self) -> None:
        """Delete all topics; the workers must have been ended."""
        self.admin.remove([topic.name for topic in read_topics()])

    def stock(self, **counts: int) -> None:
        """Say how many there are of each article; `cd_1=5` is 5 of the SKU cd-1."""
        lines = "".join(f"{sku.replace('_', '-')},{count}\n" for sku, count in counts.items())
        done = self.run("inventory_service", "stock", "load", "-", stdin=lines)
        assert done.code == 0, done

    def shelf(self) -> dict[str, dict[str, int]]:
        """Return what `stock show` says, by SKU."""
        return {article["sku"]: article for article in self.ask("inventory_service", "stock", "show")}

    def place(self, *items: str, total: str = "29.33", wait: int = 120, more: Iterable[str] = ()) -> dict[str, Any]:
        """Place an order of items as in `cd-1=2` and wait until it has ended."""
        options = [option for item in items for option in ("--item", item)]
        waiting = ("--wait", str(wait)) if wait else ()
        placed: dict[str, Any] = self.ask(
            "order_service", "place", "--customer", "42", "--total", total, *options, *waiting, *more
        )
        return placed

    def import_orders(
        self, name: str, count: int, sku: str, total: int = 100, more: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Place so many orders of one article at once; `name` keeps their request ids apart from other tests'."""
        orders = (
            {
                "request_id": f"{name}-{number}",
                "customer_id": f"customer-{number % 7}",
                "total": total,
                "currency": "USD",
                "items": [{"sku": sku, "quantity": 1}],
            }
            for number in range(count)
        )
        result: dict[str, Any] = self.ask(
            "order_service", "import", *more, "-", stdin="".join(json.dumps(order) + "\n" for order in orders)
        )
        assert result == {"placed": count, "repeated": 0, "rejected": []}
        return result

    def in_the_middle(self, name: str, count: int, sku: str) -> int:
        """Place so many orders, return when some of them have ended and others have not; return how many were placed.

        Where the workers are so quick that all have ended when one looks, as many again are placed.
        """
        placed = 0
        while not placed or not self.pending():
            self.import_orders(f"{name}-{placed}", count, sku)
            placed += count
            self.until(lambda: self.pending() < count * 0.95, "the work did not begin")
        return placed

    def rows(self, service: str, sql: str) -> list[Any]:
        """Return what is in a service's database, for what is asked often: a command takes most of a second."""
        schema = service.replace("-", "_")
        url = self.env[f"{schema.upper()}_DATABASE"]
        if url.startswith("postgresql:"):
            with psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}") as server:
                return server.execute(sql.encode()).fetchall()
        file = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=PATIENCE)) as database:
            return database.execute(sql).fetchall()

    def summary(self) -> dict[str, int]:
        """Return how many orders there are in each state."""
        return dict(self.rows("order-service", "select status, count(*) from orders group by status"))

    def pending(self) -> int:
        """Return how many orders have not ended."""
        return self.summary().get("pending", 0)

    def until(self, so: Callable[[], Any], otherwise: str, seconds: float = PATIENCE) -> Any:
        """Wait until something is so and return it; TimeoutError says what is not."""
        deadline = time.monotonic() + seconds
        while not (found := so()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{otherwise} within {seconds:.0f} s")
            time.sleep(0.1)
        return found

    def settle(self, *check: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until every order has ended and `saga check --finished` is clean, and return its report."""
        self.until(lambda: not self.pending(), "not every order had ended", seconds)
        deadline = time.monotonic() + PATIENCE
        while True:
            done = self.run("saga", "check", "--finished", "--json", *check)
            late = time.monotonic() > deadline
            if not done.stdout and not late:
                continue  # it could not be made: no broker answered in time, say
            assert done.stdout, done
            report: dict[str, Any] = json.loads(done.stdout)
            if done.code == 0 or late:
                assert report["violations"] == [], f"{len(report['violations'])}: {report['violations'][:5]}"
                assert (done.code, report["open"]) == (0, 0)
                return report

    def records(self, topic: str, order_id: str | None = None) -> list[Message]:
        """Return the committed records of a topic, of one order or of all."""
        found = self.admin.read(topic)
        return [record for record in found if order_id is None or record.key() == order_id.encode()]

    def close(self) -> None:
        """End whatever still runs."""
        self.workers.kill_all()


def headers_of(record: Message) -> dict[str, str]:
    """Return a record's headers as text."""
    return {name: content.decode() for name, content in record.headers() or []}


def address_of(record: Message) -> str:
    """Return where a record lies: topic/partition/offset."""
    return f"{record.topic()}/{record.partition()}/{record.offset()}"
