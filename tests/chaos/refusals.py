"""Tables that refuse some orders' rows for a while, as a CHECK does that was not made for them: a trigger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

LOCK_WAIT_SECONDS = 30.0
TABLES = {
    "order-service": ("orders", ("update",)),
    "payment-service": ("payment", ("insert", "update")),
    "inventory-service": ("reservation", ("insert", "update")),
}
"""What a worker of each service writes about an order; a customer who places one is not refused, one who cancels is."""
REFUSED = "refused for a while"
SOME = "new.order_id like '%0' or new.order_id like '%4' or new.order_id like '%8' or new.order_id like '%c'"
"""One order in four, as ids that end with a drawn hexadecimal digit go."""


@contextmanager
def refusing(url: str, service: str, which: str = SOME) -> Iterator[None]:
    """Let the service's own table refuse the rows for which this SQL condition about `new` holds."""
    refuse(url, service, which)
    try:
        yield
    finally:
        accept(url, service)


def refuse(url: str, service: str, which: str = SOME) -> None:
    """Begin to refuse."""
    table, writes = TABLES[service]
    if url.startswith("sqlite:///"):
        raises = f"begin select raise(abort, '{REFUSED}'); end"
        _sqlite(url, [f"create trigger refuses_{w} before {w} on {table} when {which} {raises}" for w in writes])
        return
    body = f"$$ begin raise exception '{REFUSED}' using errcode = 'check_violation'; end $$"
    function = f"create or replace function refuse() returns trigger language plpgsql as {body}"
    calls = f"for each row when ({which}) execute function refuse()"
    triggers = [f"create trigger refuses_{w} before {w} on {table} {calls}" for w in writes]
    _postgresql(url, service, [function, *triggers])


def accept(url: str, service: str) -> None:
    """Refuse nothing any more."""
    table, writes = TABLES[service]
    if url.startswith("sqlite:///"):
        _sqlite(url, [f"drop trigger refuses_{write}" for write in writes])
    else:
        _postgresql(url, service, [f"drop trigger refuses_{write} on {table}" for write in writes])


def _sqlite(url: str, statements: list[str]) -> None:
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=LOCK_WAIT_SECONDS, isolation_level=None)) as file:
        file.execute("begin immediate")
        for statement in statements:
            file.execute(statement)
        file.execute("commit")


def _postgresql(url: str, service: str, statements: list[str]) -> None:
    with psycopg.connect(url) as server:
        server.execute(f"set local search_path = {service.replace('-', '_')}".encode())
        for statement in statements:
            server.execute(statement.encode())
