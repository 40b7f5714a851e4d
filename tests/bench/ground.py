"""What a measurement stands on: a broker, its topics, a folder for databases, and workers as processes of their own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from saga.kafka.topics_file import read_topics
from tests.bench import workload
from tests.support.brokers.admin import Admin
from tests.support.saga.processes import Worker, command, saga_environment

PARTITIONS = 12
SERVICES = ("order-service", "payment-service", "inventory-service")


class Ground:
    """A broker, and a new folder of databases for each measurement."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.admin = Admin(bootstrap_servers)
        self._root = self.folder = folder
        self.env: dict[str, str] = {}

    def fresh(self, *, topics: bool = True, partitions: int = PARTITIONS) -> None:
        """Forget databases and groups with their progress, and, unless told otherwise, what is in the other topics."""
        forgotten = {t.name for t in read_topics() if topics or t.name.endswith(".progress")}
        self.admin.remove({*SERVICES, *forgotten})
        self.folder = Path(tempfile.mkdtemp(dir=self._root))
        self.env = saga_environment(self.folder, self.bootstrap_servers)
        self.run("saga", "topics", "create", "--partitions", str(partitions))

    @contextmanager
    def worker(self, module: str, *arguments: str) -> Iterator[Worker]:
        """Start a worker whose log says when each transaction was committed; stop it in the end."""
        worker = Worker(module, "--log-level", "debug", *arguments, env=self.env, folder=self.folder)
        try:
            yield worker
            worker.terminate()
        finally:
            worker.kill()

    @contextmanager
    def all_workers(self) -> Iterator[None]:
        """Start one worker of each service, and wait until all have partitions."""
        with ExitStack() as stack:
            modules = ("order_service", "payment_service", "inventory_service")
            for worker in [stack.enter_context(self.worker(module)) for module in modules]:
                worker.wait_ready()
            yield

    def run(self, module: str, *arguments: str, seconds: float = 600) -> str:
        """Run a command to its end and return its output; RuntimeError when it fails."""
        done = command(module, *arguments, env=self.env, folder=self.folder, seconds=seconds)
        if done.code:
            raise RuntimeError(f"{module} {' '.join(arguments)} failed: {done.stderr[-2000:]}")
        return done.stdout

    def load_stock(self) -> None:
        """Stock of every article, more than will ever be ordered."""
        workload.write_stock(self.folder / "stock.csv")
        self.run("inventory_service", "stock", "load", "stock.csv")

    def import_orders(self, count: int) -> None:
        """Place so many orders through the order service's own command."""
        workload.write_lines(self.folder / "orders.jsonl", count)
        self.run("order_service", "import", "orders.jsonl")


class Handled(NamedTuple):
    """What a worker's log says it did."""

    consumed: int
    published: int
    begun: float
    """When its first batch began, in seconds since 1970."""
    commits: Sequence[tuple[float, int]]
    """When outputs were committed to Kafka, and how many were by then."""

    @property
    def ended(self) -> float:
        """When outputs were last committed to Kafka."""
        return self.commits[-1][0] if self.commits else self.begun

    @property
    def seconds(self) -> float:
        """From the beginning of its first batch to the last commit."""
        return self.ended - self.begun

    @property
    def middle(self) -> tuple[float, int]:
        """When at least half of the outputs were committed, and how many were by then."""
        return next(commit for commit in self.commits if 2 * commit[1] >= self.published)


def handled(log: str) -> Handled:
    """Sum a worker's log up."""
    consumed = published = 0
    begun: float | None = None
    commits: list[tuple[float, int]] = []
    for line in log.splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if said.get("event") == "batch.handled":
            consumed += sum(said["consumed"].values())
            begun = begun or _seconds(said["timestamp"]) - said["milliseconds"] / 1000
        elif said.get("event") == "transaction" and said["outcome"] == "committed" and said["outputs"]:
            published += said["outputs"]
            commits.append((_seconds(said["timestamp"]), published))
    return Handled(consumed, published, begun or 0.0, commits)


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
