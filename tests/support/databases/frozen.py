"""The databases and the log of an earlier release, as they were, on this test's own database and broker."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.brokers.admin import PATIENCE

FOLDER = Path(__file__).parents[2] / "data" / "a2f560b"
SERVICES = ("order-service", "payment-service", "inventory-service")


def kind_of(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql"


def load(url: str, service: str) -> None:
    """Make a service's database as the release left it; on SQLite `url` is a file that is not there yet."""
    sql = (FOLDER / kind_of(url) / f"{service.replace('-', '_')}.sql").read_text(encoding="utf-8")
    execute(url, sql)


def execute(url: str, sql: str) -> None:
    """Run a script."""
    if kind_of(url) == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.executescript(sql)
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(sql.encode())


def log_of(kind: str) -> dict[str, Any]:
    """Return what was on the log, the committed offsets, and which orders are which."""
    found: dict[str, Any] = json.loads((FOLDER / kind / "log.json").read_text(encoding="utf-8"))
    return found


def write_log(bootstrap: str, kind: str) -> None:
    """Put the records where they were, each in a transaction of its own, and commit the offsets that were committed.

    The topics are there, empty, with one partition.
    """
    frozen = log_of(kind)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "frozen", "linger.ms": 0})
    producer.init_transactions(PATIENCE)
    for topic, records in frozen["records"].items():
        for record in records:
            _write(producer, topic, record)
    client = AdminClient({"bootstrap.servers": bootstrap})
    for group, offsets in frozen["offsets"].items():
        places = [TopicPartition(topic, number, offset, metadata) for topic, number, offset, metadata in offsets]
        client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])[group].result()


def _write(producer: Producer, topic: str, record: dict[str, Any]) -> None:
    landed = list[int]()
    producer.begin_transaction()
    producer.produce(
        topic,
        key=_bytes(record["key"]),
        value=_bytes(record["value"]),
        headers=[(name, _bytes(content)) for name, content in record["headers"]],
        timestamp=record["timestamp_ms"],
        partition=0,
        on_delivery=lambda _error, message: landed.append(message.offset() or 0),
    )
    producer.commit_transaction(PATIENCE)
    assert landed == [record["offset"]], f"{topic}: its offset was {record['offset']}, and now it is {landed}"


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def move_to(url: str, service: str, bootstrap: str) -> None:
    """Let the checkpoints belong to this broker's cluster and topics: the only rows that are altered."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    cluster = client.describe_cluster().result().cluster_id
    names = [topic for topic in client.list_topics(timeout=PATIENCE).topics if not topic.startswith("__")]
    ids = {topic: _id(client, topic) for topic in names}
    schema = "" if kind_of(url) == "sqlite" else f"{service.replace('-', '_')}."
    moves = [
        f"update {schema}checkpoint set cluster_id = '{cluster}', topic_id = '{number}' where topic = '{topic}';"
        for topic, number in ids.items()
    ]
    execute(url, "\n".join(moves))


def _id(client: AdminClient, topic: str) -> str:

    described = client.describe_topics(TopicCollection([topic]))
    return str(described[topic].result().topic_id)
