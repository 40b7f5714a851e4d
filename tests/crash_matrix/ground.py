"""The saga that is crashed: three workers, orders of all fates, when nothing moves any more, whether the laws hold."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from uuid_utils import uuid7

from eventbus.database import connect
from eventbus.deadletters.resolutions import DISCARD, REDRIVE
from eventbus.log import Partition
from order_service.domain import OrderRequest
from order_service.service import OrderService, Placed
from saga.check.laws import judge
from saga.check.rules import Rules
from saga.check.sources import Sources
from saga.check.stores import Stores
from saga.flow.model import Flow
from saga.kafka.cluster import offsets_of
from saga.services import SERVICES as CHECKED
from tests.chaos.poison import GROUPS, TOPICS, Poison
from tests.chaos.refusals import SOME, accept, refuse
from tests.chaos.unreadable import Unreadable
from tests.support.databases.deadlines import HOUR_MS, let_deadlines_pass
from tests.support.saga import SERVICES, Saga
from tests.support.saga.processes import Worker
from tests.support.stopwatch import Stopwatch

PARTITIONS = 4
PLENTY = 10_000_000
DECLINED_ABOVE = 20_000
ORDERS_A_GROUND = 4_000
"""After so many, everything begins anew: a check reads all there is."""
PUBLISHED_SECONDS = 10.0
DEBUG = ("--log-level", "debug")
MACHINE = 5
"""So many times slower the machine may be, and no more is waited for."""


class Ground:
    """A saga on a broker that is nobody else's. One order in ten is declined, one in ten is out of stock."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        self._bootstrap_servers, self._root = bootstrap_servers, folder
        self._client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
        self._flow = Flow.of(CHECKED)
        self._numbers = itertools.count()
        self.workers: dict[str, Worker] = {}
        self.placed = ORDERS_A_GROUND
        self._refusing = ""
        self._poison = Poison(bootstrap_servers, {})
        self._unreadable = Unreadable(bootstrap_servers, {}, self._url)

    def renew(self) -> None:
        """Begin with empty topics and databases, and a running worker of each service."""
        self.end()
        folder = Path(tempfile.mkdtemp(dir=self._root))
        provider = f"simulated:///{folder}/provider.db?decline-above={DECLINED_ABOVE}&latency-ms=5"
        self.saga = Saga(folder, self._bootstrap_servers, PAYMENT_GATEWAY=provider)
        self.saga.admin.remove([name.replace("_", "-") for name in SERVICES])
        self.saga.remove_topics()
        self.saga.make_topics(PARTITIONS)
        self.saga.stock(cd_1=PLENTY)
        self._orders = connect(self.saga.env["ORDER_SERVICE_DATABASE"], service=OrderService.name, schema="")
        self.workers = dict(zip(SERVICES, self.saga.start_all(*DEBUG), strict=True))
        self.placed = 0
        self._poison = Poison(self._bootstrap_servers, {})
        self._unreadable = Unreadable(self._bootstrap_servers, {}, self._url)

    def end(self) -> None:
        """End all workers."""
        if self.workers:
            self.saga.close()
            self._orders.close()
            self.workers = {}

    def start(self, service: str, *arguments: str, instance: str = "a", **env: str) -> Worker:
        """Start a worker; it is not ready yet."""
        return self.saga.start(service, *DEBUG, *arguments, instance=instance, **env)

    def place(self, count: int, deadline_ms: int = 0, ahead_ms: int = 0) -> None:
        """Place orders as the order service's own commands do, perhaps by a clock that is ahead."""
        numbers = [next(self._numbers) for _ in range(count)]
        service = OrderService(lambda: time.time_ns() // 1_000_000 + ahead_ms, lambda: str(uuid7()), deadline_ms)
        answers = service.create_orders([_request(number) for number in numbers], self._orders, self.saga.codec)
        assert all(isinstance(answer, Placed) for answer in answers)
        self.placed += count

    def let_time_run_out(self, count: int) -> None:
        """Place orders that nobody answers, publish them, end the order service, and only then make them overdue."""
        self.workers["payment_service"].terminate()
        self.place(count, deadline_ms=HOUR_MS)
        assert waited(lambda: not self.saga.rows("order-service", "select 1 from uncaused limit 1"), PUBLISHED_SECONDS)
        self.workers["order_service"].terminate()
        let_deadlines_pass(self._url("order-service"))

    def answer(self) -> None:
        """Let the payment service run again."""
        if not self.workers["payment_service"].running:
            self.workers["payment_service"] = self.start("payment_service")

    def write_poison(self, service: str, count: int) -> None:
        """Write bad records to a topic of a service, and wait until they, alone, are its open dead letters."""
        group = service.replace("_", "-")
        self._poison.decide(group, DISCARD)
        self._poison.write(TOPICS[group][0], (f"bad-{next(self._numbers)}" for _ in range(count)))
        self._poison.wait([group])

    def redrive(self, service: str) -> None:
        """Redrive all dead letters of a service that are open."""
        self._poison.decide(service.replace("_", "-"), REDRIVE)

    def skip(self, service: str) -> None:
        """Write a batch that nobody can decompress to a topic of a service, and let all who read it go past it."""
        partition = Partition(TOPICS[service.replace("_", "-")][0], 0)
        self._unreadable.let_past(partition, self._unreadable.write(partition))

    def refuse(self, service: str, *, everything: bool) -> None:
        """Let a service's table refuse one order in four, or every one, until `accept`."""
        self._refusing = service.replace("_", "-")
        refuse(self._url(service), self._refusing, "1 = 1" if everything else SOME)

    def accept(self) -> None:
        """Let nothing be refused any more."""
        if self._refusing:
            accept(self._url(self._refusing), self._refusing)
            self._refusing = ""

    def all_ended(self) -> bool:
        """Return whether no order is pending."""
        return not self.saga.pending()

    def finished(self) -> str:
        """Return what still moves: unpublished events, or input that nobody has taken; nothing when all is still."""
        if pending := self.saga.pending():
            return f"{pending} orders are pending"
        ends: dict[tuple[str, int], int] = {}
        for service in ("order-service", "payment-service", "inventory-service"):
            counts = " + ".join(f"(select count(*) from {table})" for table in ("outbox", "uncaused", "parked"))
            waiting = self.saga.rows(service, f"select {counts}")
            if waiting != [(0,)]:
                return f"{service} has not published {waiting[0][0]} entries, or they are parked"
            checkpoints = self.saga.rows(service, "select topic, partition, next_offset from checkpoint")
            ends = ends or self._ends()
            for topic, partition, next_offset in checkpoints:
                if ends[topic, partition] != next_offset:
                    return (
                        f"{service} is at {next_offset} of {topic}/{partition}, which ends at {ends[topic, partition]}"
                    )
        return ""

    def violations(self) -> list[str]:
        """Return what `saga check --finished` finds."""
        names = ("ORDER_SERVICE_DATABASE", "PAYMENT_SERVICE_DATABASE", "INVENTORY_SERVICE_DATABASE", "PAYMENT_GATEWAY")
        stores = Stores(*(self.saga.env[name] for name in names))
        facts = Sources(self._bootstrap_servers, {}, None, stores).collect(self._flow)
        verdict = judge(facts, Rules(self._flow, finished=True))
        found = [f"{v.law}: order {v.order_id}: {v.detail} {list(map(str, v.where))}" for v in verdict.violations]
        if verdict.orders != self.placed:
            found.append(f"{self.placed} orders were placed, there are {verdict.orders}")
        found += [broken for group in GROUPS for broken in self._poison.broken(group)]
        return [*found, *self._unreadable.failures()]

    def unowned(self, service: str) -> list[str]:
        """Return the partitions that the group of a service has given to nobody."""
        group = service.replace("_", "-")
        members = self._client.describe_consumer_groups([group])[group].result().members
        owned = {(each.topic, each.partition) for member in members for each in member.assignment.topic_partitions}
        all_of_them = self.saga.rows(group, "select topic, partition from checkpoint order by topic, partition")
        return [f"{topic}/{number}" for topic, number in all_of_them if (topic, number) not in owned]

    def alone(self, service: str) -> bool:
        """Return whether the group of a service has one member only."""
        return self.saga.admin.members(service.replace("_", "-")) == 1

    def _url(self, group: str) -> str:
        return self.saga.env[f"{group.replace('-', '_').upper()}_DATABASE"]

    def _ends(self) -> dict[tuple[str, int], int]:
        topics = self._client.list_topics(timeout=10).topics
        asked = {
            TopicPartition(name, number): OffsetSpec.latest()
            for name, topic in topics.items()
            if not name.startswith("__")
            for number in topic.partitions
        }
        return offsets_of(self._client.list_offsets(asked))


def waited(so: Callable[[], object], seconds: float) -> bool:
    """Return whether it became so in time; what the machine keeps from running does not count, up to a point."""
    watch, at_last = Stopwatch(), time.monotonic() + MACHINE * seconds
    while not so():
        if watch.seconds > seconds or time.monotonic() > at_last:
            return False
        time.sleep(0.02)
    return True


def _request(number: int) -> OrderRequest:
    total = DECLINED_ABOVE + 1 if number % 10 == 3 else 100 + number % 1000
    sku = "none-left" if number % 10 == 6 else "cd-1"
    return OrderRequest(f"customer-{number % 7}", total, "USD", ((sku, 1),), f"request-{number}")
