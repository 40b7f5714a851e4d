"""What one transaction does about blocked keys: which records are skipped, and how the blocked keys change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from eventbus.database import ConcurrentUpdate, Transaction
from eventbus.engine.backoff import Backoff
from eventbus.engine.batch import PartitionBatch
from eventbus.engine.observer import Parking
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey, Parked

MAX_BLOCKED_KEYS = 10_000
"""The most blocked keys of a service at once: with more, the code is more likely wrong than the records are."""


class TooManyParked(Exception):
    """Nothing more is parked: a record on which a handler raises blocks its partition, and is retried from the log."""


class Retries(NamedTuple):
    """When a record that a handler raised on is retried: with exponential backoff."""

    now_ms: Callable[[], int]
    """Milliseconds since 1970, because other workers read what one worker writes."""
    backoff: Backoff

    def at_ms(self, attempts: int) -> int:
        """Return when to retry after this number of attempts."""
        return self.now_ms() + round(1_000 * self.backoff.seconds(attempts))


def check_unmoved(parts: Iterable[PartitionBatch], blocked: Mapping[str, BlockedKey]) -> None:
    """Raise ConcurrentUpdate if parked records of a key were removed since they were read."""
    for part in parts:
        if part.blocked is not None and part.items:
            now = blocked.get(part.blocked.key)
            if now is None or now.moved_since(part.blocked):
                raise ConcurrentUpdate(f"concurrent update of the parked records of {part.blocked.key}")


def skip_blocked(parts: Iterable[PartitionBatch], blocked: Mapping[str, BlockedKey]) -> dict[str, str]:
    """Mark what must not be handled: records on which a handler raised, and all later ones of the same key.

    Returns the keys on which a handler raised in this transaction, with the error message.
    """
    errors: dict[str, str] = {}
    for part in parts:
        for item in part.items:
            key = item.key
            if key is None:
                continue
            behind = part.blocked is None and key in blocked
            if item.failure and not behind:
                errors.setdefault(key, item.failure)
            item.skipped = behind or key in errors
    return errors


def update_blocks(
    tx: Transaction,
    parts: Sequence[PartitionBatch],
    blocks: Mapping[str, BlockedKey],
    errors: Mapping[str, str],
    retries: Retries,
) -> Parking:
    """Park the skipped records behind blocked keys, and remove the ones that were handled.

    `errors` are the messages by key of `skip_blocked`.
    """
    done = Parking()
    after = dict(blocks)
    appended: list[Parked] = []
    for part in parts:
        if not part.items:
            continue
        if part.blocked is not None:
            known = after[part.blocked.key]
            left = after[known.key] = _retried(part, known, errors.get(known.key), retries)
            if left.first > known.first:
                blocked_keys.remove(tx, known.key, known.first, left.first - 1)
            done.unparked += left.first - known.first
            done.unblocked += [] if left.records else [left]
            done.retried += [left] if known.key in errors else []
        else:
            appended += _parked(part, after, errors, retries)
    blocked_keys.change(tx, blocks, after)
    blocked_keys.append(tx, appended)
    done.blocked = [new for key, new in after.items() if key not in blocks]
    if done.blocked and (blocked := blocked_keys.count(tx)) > MAX_BLOCKED_KEYS:
        raise TooManyParked(
            f"{done.blocked[0].error}; it is not parked, because {blocked - len(done.blocked)} keys are blocked already"
        )
    done.parked = len(appended)
    return done


def _parked(
    part: PartitionBatch, blocks: dict[str, BlockedKey], errors: Mapping[str, str], retries: Retries
) -> Iterable[Parked]:
    for item in part.items:
        key = item.key
        if not item.skipped or key is None:
            continue
        known = blocks.get(key) or _blocked(key, part, errors[key], retries)
        blocks[key] = known._replace(last=known.last + 1)
        yield Parked(key, known.last + 1, item.record)


def _blocked(key: str, part: PartitionBatch, error: str, retries: Retries) -> BlockedKey:
    owner = part.owned.partition
    return BlockedKey(key, *owner, 1, 0, 1, retries.now_ms(), retries.at_ms(1), blocked_keys.storable(error))


def _retried(part: PartitionBatch, known: BlockedKey, error: str | None, retries: Retries) -> BlockedKey:
    """Return what is left of a blocked key: nothing, later records, or the record on which a handler raised again."""
    handled = sum(not item.skipped for item in part.items)
    left = known._replace(first=known.first + handled)
    if error is None:
        return left._replace(attempts=0, retry_at_ms=blocked_keys.NOW_MS, error="")
    attempts = 1 if handled else known.attempts + 1
    return left._replace(attempts=attempts, retry_at_ms=retries.at_ms(attempts), error=blocked_keys.storable(error))
