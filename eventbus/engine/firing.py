"""What a transaction checks about deadlines: still over before the handler is called, and no longer afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from eventbus.database import Row, Transaction
from eventbus.engine.delivery import Delivery
from eventbus.service import Deadline
from eventbus.store import deadlines


class StillDue(Exception):
    """Handlers left deadlines as they were: nothing is committed, or they would be fired forever."""

    def __init__(self, items: Sequence[Delivery]) -> None:
        super().__init__(_failure(items[0]))
        self._items = items

    def blame(self) -> None:
        """Note it with the deadlines, which are then parked."""
        for item in self._items:
            item.failure = _failure(item)


class Firing:
    """The checks of one service."""

    def __init__(self, declared: Mapping[str, Deadline]) -> None:
        self._declared = declared

    def read_again(self, tx: Transaction, items: Sequence[Delivery]) -> None:
        """Lock the rows of those that are deadlines, and mark those that are no longer as they were found."""
        for item, row in self._rows(tx, items):
            item.lapsed = row is None or row[1] != item.record.offset

    def check_changed(self, tx: Transaction, items: Sequence[Delivery]) -> None:
        """Raise StillDue if a handler has neither cleared nor moved its deadline."""
        handled = [item for item in items if not item.lapsed and not item.failure]
        if left := [item for item, row in self._rows(tx, handled) if row is not None and row[1] == item.record.offset]:
            raise StillDue(left)

    def _rows(self, tx: Transaction, items: Iterable[Delivery]) -> Iterator[tuple[Delivery, Row | None]]:
        fired = [item for item in items if item.is_due and item.event is not None and not item.skipped]
        for name, declared in self._declared.items():
            mine = [item for item in fired if item.record.partition.topic == name]
            if mine:
                rows = deadlines.load(tx, declared.column, [item.event.key for item in mine if item.event is not None])
                yield from ((item, rows.get(item.event.key)) for item in mine if item.event is not None)


def _failure(item: Delivery) -> str:
    handler = item.reaction.name if item.reaction is not None else ""
    return (
        f"{handler} left the deadline {item.record.address} of {item.key} as it was: a handler of a deadline must clear"
        " or move it"
    )
