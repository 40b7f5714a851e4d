"""Kafka's clients and the database as a worker uses them: each call that may block is a watched step.

The watchdog's thread never uses a client or a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from eventbus.database import Database, Row, Scalar, Table, Transaction
from eventbus.kafka.config import Clients
from eventbus.worker.watchdog import Steps

CALL_SECONDS = 6.0
"""The limit of a client's call: the longest timeout that is passed, 5 s, and a margin for the client to return."""
LEAVE_SECONDS = 10.0
"""`close` waits for the group, a plain `commit` waits for the coordinator up to the session timeout."""
STATEMENT_SECONDS = 10.0
"""A statement waits up to LOCK_WAIT_MS for each lock; the first one connects."""

CONSUMER = ("poll", "consume", "committed", "seek", "pause", "resume", "subscribe", "list_topics")
PRODUCER = (
    *("init_transactions", "begin_transaction", "send_offsets_to_transaction"),
    *("commit_transaction", "abort_transaction", "flush", "poll", "purge"),
)
ADMIN = ("list_topics", "describe_topics", "describe_configs", "describe_consumer_groups", "list_offsets")


def watched_clients(steps: Steps) -> Clients:
    """Return classes of Kafka's clients whose blocking calls are watched steps."""
    consumer = dict.fromkeys(CONSUMER, CALL_SECONDS) | dict.fromkeys(("close", "commit"), LEAVE_SECONDS)
    return Clients(
        consumer=_watched(Consumer, steps, consumer),
        producer=_watched(Producer, steps, dict.fromkeys(PRODUCER, CALL_SECONDS)),
        admin=_watched(AdminClient, steps, dict.fromkeys(ADMIN, CALL_SECONDS)),
    )


def _watched(kind: type[Any], steps: Steps, limits: dict[str, float]) -> type[Any]:
    calls = {name: _call(kind, name, steps, limit) for name, limit in limits.items()}
    return type(f"Watched{kind.__name__}", (kind,), calls)


def _call(kind: type[Any], name: str, steps: Steps, limit: float) -> Callable[..., Any]:
    method, what = getattr(kind, name), f"{kind.__name__}.{name}"

    def call(*arguments: Any, **named: Any) -> Any:
        with steps.step(what, limit):
            return method(*arguments, **named)

    return call


class WatchedDatabase:
    """See Database."""

    def __init__(self, database: Database, steps: Steps) -> None:
        self._database, self._steps = database, steps

    @property
    def losses(self) -> int:
        """See Database."""
        return self._database.losses

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between(self._database.transaction)

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """See Database."""
        return self._between(self._database.snapshot)

    def changed(self) -> bool | None:
        """See Database. Not a step of its own: it is called very often, and the step around it is watched."""
        return self._database.changed()

    def close(self) -> None:
        """See Database."""
        with self._steps.step("database: close", STATEMENT_SECONDS):
            self._database.close()

    @contextmanager
    def _between(self, begin: Callable[[], AbstractContextManager[Transaction]]) -> Iterator[Transaction]:
        with _Edges(begin(), self._steps) as tx:
            yield _WatchedTransaction(tx, self._steps)


class _Edges:
    """A transaction whose begin and end are watched steps."""

    def __init__(self, between: AbstractContextManager[Transaction], steps: Steps) -> None:
        self._between, self._steps = between, steps

    def __enter__(self) -> Transaction:
        with self._steps.step("database: begin", STATEMENT_SECONDS):
            return self._between.__enter__()

    def __exit__(self, *error: Any) -> bool | None:  # noqa: PYI036 - passed on
        with self._steps.step("database: rollback" if error[0] else "database: commit", STATEMENT_SECONDS):
            return self._between.__exit__(*error)


class _WatchedTransaction:
    def __init__(self, tx: Transaction, steps: Steps) -> None:
        self._tx, self._steps, self.locking = tx, steps, tx.locking

    def tables(self) -> set[str]:
        with self._steps.step("database: select", STATEMENT_SECONDS):
            return self._tx.tables()

    def rows(self, sql: str, *parameters: Scalar) -> list[Row]:
        with self._steps.step("database: select", STATEMENT_SECONDS):
            return self._tx.rows(sql, *parameters)

    def execute(self, sql: str, *parameters: Scalar) -> int:
        with self._steps.step("database: execute", STATEMENT_SECONDS):
            return self._tx.execute(sql, *parameters)

    def signal(self) -> None:
        with self._steps.step("database: execute", STATEMENT_SECONDS):
            self._tx.signal()

    def executemany(self, sql: str, rows: Sequence[Row]) -> None:
        with self._steps.step("database: execute", STATEMENT_SECONDS):
            self._tx.executemany(sql, rows)

    def load(self, table: Table, keys: Iterable[str]) -> list[Row]:
        with self._steps.step(f"database: load {table.name}", STATEMENT_SECONDS):
            return self._tx.load(table, keys)

    def insert(self, table: Table, rows: Iterable[Row]) -> None:
        with self._steps.step(f"database: insert {table.name}", STATEMENT_SECONDS):
            self._tx.insert(table, rows)

    def update(self, table: Table, rows: Iterable[Row]) -> None:
        with self._steps.step(f"database: update {table.name}", STATEMENT_SECONDS):
            self._tx.update(table, rows)
