"""The loop of the textbooks, to measure against: consume 500, one SQLite and one Kafka transaction a batch.

It charges orders as the payment service does, but without headers, guards, checkpoint or outbox: a crash between the
two commits loses events or repeats them. The client's settings are the same that make the engine fast, so that the
difference is the engine and nothing else. Run as a process of its own: `python -m tests.bench.textbook --help`.
"""

from __future__ import annotations

import io
import sqlite3
import struct
from collections.abc import Sequence
from typing import Any

import click
import fastavro
from confluent_kafka import Consumer, Message, Producer

from payment_service.domain import Charge
from payment_service.gateway import Gateway, open_gateway
from schemas import OrderCreated, PaymentCharged
from tests.bench.peers.job import Clock

BATCH = 500
FRAME = struct.pack(">BI", 0, 2)
ORDER, CHARGED = OrderCreated.schema, PaymentCharged.schema
DDL = """create table payment (
    order_id text primary key, payment_id text, amount integer, currency text, status text, error text
) without rowid"""


def clients(bootstrap_servers: str, group: str) -> tuple[Consumer, Producer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": group,
            "linger.ms": 0,
            "retry.backoff.ms": 5,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
            "queue.buffering.max.messages": 200_000,
        }
    )
    producer.init_transactions()
    return consumer, producer


def database(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute(DDL)
    return connection


def decide(messages: Sequence[Message], gateway: Gateway) -> list[dict[str, Any]]:
    """Charge the orders of a batch, one call each; return the events to publish."""
    charged = []
    for message in messages:
        body = io.BytesIO(message.value() or b"")
        body.seek(5)
        order: Any = fastavro.schemaless_reader(body, ORDER, None)
        answer = gateway.charge(order["order_id"], order["total"], order["currency"])
        assert isinstance(answer, Charge)
        charged.append(
            {
                "order_id": order["order_id"],
                "payment_id": answer.payment_id,
                "amount": order["total"],
                "currency": order["currency"],
            }
        )
    return charged


def store(connection: sqlite3.Connection, charged: Sequence[dict[str, Any]]) -> None:
    connection.execute("begin immediate")
    rows = [(*event.values(), "charged", None) for event in charged]
    connection.executemany("insert or ignore into payment values (?,?,?,?,?,?)", rows)
    connection.execute("commit")


def publish(consumer: Consumer, producer: Producer, topic: str, charged: Sequence[dict[str, Any]]) -> None:
    producer.begin_transaction()
    for event in charged:
        body = io.BytesIO()
        body.write(FRAME)
        fastavro.schemaless_writer(body, CHARGED, event)
        producer.produce(topic, body.getvalue(), event["order_id"])
    producer.flush()
    producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
    producer.commit_transaction()


@click.command()
@click.option("--bootstrap-servers", required=True)
@click.option("--group", required=True, help="Consumer group and transactional id; a new one.")
@click.option("--sink", required=True, help="Topic for its payment.charged events.")
@click.option("--file", "path", required=True, help="SQLite file; a new one.")
@click.option("--events", type=int, required=True, help="Stop after so many.")
def main(bootstrap_servers: str, group: str, sink: str, path: str, events: int) -> None:
    """Charge EVENTS orders; print seconds and processor seconds from the first batch to the last commit."""
    gateway, connection = open_gateway("simulated://"), database(path)
    consumer, producer = clients(bootstrap_servers, group)
    consumer.subscribe([OrderCreated.topic])
    clock, done = Clock(events), 0
    while done < events:
        messages = [message for message in consumer.consume(BATCH, 0.1) if message.error() is None]
        if messages:
            clock.handling(done)
            charged = decide(messages, gateway)
            store(connection, charged)
            publish(consumer, producer, sink, charged)
            done += len(charged)
            clock.published(len(charged))
    consumer.close()


if __name__ == "__main__":
    main()
