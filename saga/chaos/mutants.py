"""Bugs that can be planted in a worker, to show that `saga chaos` finds them: see `mutated`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from eventbus.database import Transaction
from eventbus.engine import engine, incarnations, recovery
from eventbus.kafka import log as kafka
from eventbus.log import Cursor, Partition
from eventbus.store import progress
from eventbus.store.progress import Checkpoint, Entry
from payment_service.books import Request
from payment_service.simulated import SimulatedProvider


def _forget_outbox() -> None:
    """What a killed worker had decided and not published is never published."""

    def nothing(tx: Transaction, cursors: Mapping[Partition, int]) -> dict[Partition, list[Entry]]:
        del tx
        return {partition: [] for partition in cursors}

    def fits(*_: object) -> None:
        return None

    progress.entries_above = nothing
    recovery._check_entries = fits  # type: ignore[assignment]  # noqa: SLF001 - that is what a mutant is


def _ignore_cursor_position() -> None:
    """What the outbox still holds is published again after a crash, although it was published."""
    committed = kafka.KafkaLog.committed

    def without_position(log: kafka.KafkaLog, partitions: Sequence[Partition]) -> dict[Partition, Cursor | None]:
        cursors = committed(log, partitions)
        return {partition: cursor and Cursor(cursor.offset, None) for partition, cursor in cursors.items()}

    def no_witnesses(log: kafka.KafkaLog, *, undecided: bool) -> None:
        del log, undecided

    kafka.KafkaLog.committed = without_position  # type: ignore[assignment,method-assign]
    kafka.KafkaLog.witnesses = no_witnesses  # type: ignore[assignment,method-assign]


def _skip_what_failed() -> None:
    """A batch that could not be handled is not read again."""
    doubt = engine.Engine._doubt  # noqa: SLF001 - the same

    def shrug(self: engine.Engine, doubted: Iterable[Any], why: str) -> None:
        doubted = list(doubted)
        handled = {each.partition: each.reached for each in doubted if each.known}
        doubt(self, doubted, why)
        with self._world.database.transaction() as tx:
            stored = progress.checkpoints(tx, handled)
            moved = {p: Checkpoint(max(handled[p], c.next_offset), c.position, c.epoch) for p, c in stored.items()}
            progress.advance(tx, moved)

    engine.Engine._doubt = shrug  # type: ignore[method-assign]  # noqa: SLF001 - the same


def _new_idempotency_key() -> None:
    """A charge whose answer was lost is asked for again with another key."""
    asked = Counter[str]()

    def charge(self: SimulatedProvider, key: str, amount: int, currency: str) -> Any:
        asked[key] += 1
        own = key if asked[key] == 1 else f"{key}/{asked[key]}"
        return self._ask(Request("charge", own, key, amount, currency))

    SimulatedProvider.charge = charge  # type: ignore[assignment,method-assign]


def _trust(*_: Any, **__: Any) -> Any:
    return None


def _trust_every_database() -> None:
    """Nobody looks whether the database is older than the log."""
    recovery.check_age = _trust  # type: ignore[attr-defined]


def _trust_every_topic() -> None:
    """Nobody looks whether a topic was created again."""
    incarnations.check_identity = recovery.check_identity = _trust  # type: ignore[attr-defined]
    incarnations.Incarnations._check_outputs = _trust  # type: ignore[method-assign]  # noqa: SLF001 - the same


MUTANTS: dict[str, Callable[[], None]] = {
    "forget-outbox": _forget_outbox,
    "ignore-cursor-position": _ignore_cursor_position,
    "new-idempotency-key": _new_idempotency_key,
    "skip-what-failed": _skip_what_failed,
    "trust-every-database": _trust_every_database,
    "trust-every-topic": _trust_every_topic,
}
