"""Orders to measure with: the same number gives the same orders, but for their ids, which are of their own time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Producer
from uuid_utils import uuid7

from eventbus import Codec
from eventbus.publishing import root_event
from eventbus.serde.registry import registry_at
from schemas import Item, OrderCreated

ARTICLES = 50
CODEC = Codec(registry_at(None, [OrderCreated]), [OrderCreated])


def skus() -> list[str]:
    """Return the names of all articles."""
    return [f"CD-{number:02}" for number in range(ARTICLES)]


def orders(count: int, seed: int = 1997) -> Iterator[OrderCreated]:
    """Return so many orders of one article each, of customers who come back: about 80 bytes as Avro."""
    chance = random.Random(seed)
    for _ in range(count):
        item = Item(f"CD-{chance.randrange(ARTICLES):02}", chance.randint(1, 4))
        total = chance.randint(500, 20_000)
        yield OrderCreated(str(uuid7()), f"customer-{chance.randrange(2_500):04}", total, "USD", (item,))


def write_lines(path: Path, count: int) -> None:
    """Write orders as `order-service import` takes them."""
    with path.open("w", encoding="utf-8") as file:
        for order in orders(count):
            items = [{"sku": item.sku, "quantity": item.quantity} for item in order.items]
            request = {"request_id": order.order_id, "customer_id": order.customer_id, "total": order.total}
            file.write(json.dumps(request | {"currency": order.currency, "items": items}) + "\n")


def write_stock(path: Path) -> None:
    """Write so much stock, as `inventory-service stock load` takes it, that no order fails."""
    path.write_text("".join(f"{sku},{1_000_000_000}\n" for sku in skus()), encoding="utf-8")


def publish_backlog(bootstrap_servers: str, count: int) -> None:
    """Publish orders as the order service would, headers and all."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for order in orders(count):
        topic, key, value, headers = root_event(CODEC, b"order-service", order)
        producer.produce(topic, value, key, headers=headers)
        producer.poll(0)
    if producer.flush(60):
        raise TimeoutError("the backlog was not delivered")
