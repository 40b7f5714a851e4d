"""Whole sagas on the log, as the services would have published them, without the services: to measure the tracker."""

from __future__ import annotations

import random
import time
from collections import Counter

from confluent_kafka import Producer
from uuid_utils import uuid7

from eventbus import Codec, Event
from eventbus.log import Output
from eventbus.publishing import caused, root_event
from eventbus.serde.registry import registry_at
from schemas import (
    EVENTS,
    InventoryReservationFailed,
    InventoryReserved,
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
)

CODEC = Codec(registry_at(None, EVENTS), EVENTS)
DECLINED, SHORT, OPEN = 0.1, 0.2, 0.205
"""Shares, added up, of orders whose charge is refused, that lack stock, and that payment has not answered."""
SHORTAGE = "out of stock: 3 of CD-39 wanted, 0 left"


class Sagas:
    """Publishes sagas. It must be alone on empty topics: it knows where each record comes to lie by counting."""

    def __init__(self, bootstrap_servers: str, partitions: int, seed: int = 1997) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "compression.type": "lz4",
                "linger.ms": 5,
                "enable.idempotence": True,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self._partitions, self._chance = partitions, random.Random(seed)
        self._ends: Counter[tuple[str, int]] = Counter()
        self.events = 0

    def publish(self, orders: int, rate: float = 0.0) -> None:
        """Publish so many sagas, at so many a second if that is given."""
        begun = time.monotonic()
        for number in range(orders):
            self._saga(self._chance.random())
            self._producer.poll(0)
            if rate and (ahead := begun + number / rate - time.monotonic()) > 0.005:
                time.sleep(ahead)
        if self._producer.flush(300):
            raise TimeoutError("not everything was delivered")

    def _saga(self, way: float) -> None:
        order_id, partition = str(uuid7()), self._chance.randrange(self._partitions)
        total = self._chance.randint(500, 20_000)
        item = Item(f"CD-{self._chance.randrange(50):02}", self._chance.randint(1, 4))
        customer = f"customer-{self._chance.randrange(2_500):04}"
        created = self._say(partition, "order", OrderCreated(order_id, customer, total, "USD", (item,)))
        if way < DECLINED:
            failed = self._say(partition, "payment", PaymentFailed(order_id, "card declined"), created)
            self._say(partition, "order", OrderCancelled(order_id, "card declined"), failed)
        elif not SHORT <= way < OPEN:
            charged = self._say(
                partition, "payment", PaymentCharged(order_id, f"pay-{order_id}", total, "USD"), created
            )
            if way < SHORT:
                short = self._say(partition, "inventory", InventoryReservationFailed(order_id, SHORTAGE), charged)
                end = self._say(partition, "order", OrderCancelled(order_id, SHORTAGE), short)
                self._say(partition, "payment", PaymentRefunded(order_id, f"pay-{order_id}", total, "USD"), end)
            else:
                reserved = self._say(partition, "inventory", InventoryReserved(order_id), charged)
                self._say(partition, "order", OrderConfirmed(order_id), reserved)

    def _say(self, partition: int, service: str, event: Event, cause: str | None = None) -> str:
        source = f"{service}-service".encode()
        made: Output = root_event(CODEC, source, event) if cause is None else caused(CODEC, source, event, cause)
        self._producer.produce(made.topic, made.value, made.key, headers=made.headers, partition=partition)
        offset = self._ends[made.topic, partition]
        self._ends[made.topic, partition] += 1
        self.events += 1
        return f"{made.topic}/{partition}/{offset}"
