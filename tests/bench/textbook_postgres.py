"""The loop of the textbooks on PostgreSQL: `executemany`, which psycopg sends as one pipeline, and a commit a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import psycopg

from tests.bench.textbook import loop

DDL = """create table payment (
    order_id text primary key, payment_id text, amount bigint, currency text, status text, error text
)"""
INSERT = "insert into payment values (%s, %s, %s, %s, %s, %s) on conflict do nothing"


def store(connection: psycopg.Connection[Any], charged: Sequence[dict[str, Any]]) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(INSERT, [(*event.values(), "charged", None) for event in charged])


@click.command()
@click.option("--bootstrap-servers", required=True)
@click.option("--group", required=True, help="Consumer group and transactional id; a new one.")
@click.option("--sink", required=True, help="Topic for its payment.charged events.")
@click.option("--database", "url", required=True, help="URL of an empty database.")
@click.option("--events", type=int, required=True, help="Stop after so many.")
def main(bootstrap_servers: str, group: str, sink: str, url: str, events: int) -> None:
    """Charge EVENTS orders and print seconds and processor seconds from the first batch to the last commit."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(DDL)
        loop(bootstrap_servers, group, sink, events, lambda charged: store(connection, charged))


if __name__ == "__main__":
    main()
