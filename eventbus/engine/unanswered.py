"""Decides what causes an unknown outcome: the record, if calls for others are answered meanwhile, or the provider.

It uses only what this worker has observed since it owns the partition, in the sequence of its batches, without a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeGuard

from eventbus.engine.batch import PartitionBatch
from eventbus.engine.calls import UNKNOWN_OUTCOME, NotMade
from eventbus.engine.delivery import Address, Delivery
from eventbus.log import Partition
from eventbus.service import Unasked

ATTEMPTS_AT_LEAST = 3
"""A record is refused after this many consecutive attempts without an outcome, each while others were answered, ..."""
CHANCE = 0.02
"""...and if chance is an unlikely cause: this share of records would be refused if all failed alike (rate limits).

If one call in two has no outcome it takes six attempts, if nine in ten have none, 38. Each attempt is one batch, in
which the call is made up to `calls.ATTEMPTS` times.
"""
FEW = 0.25
"""Above this share of unanswered calls, batches grow to find some that are answered."""
MOST = 0.5
"""Up to this share of unanswered calls most are answered."""
BATCHES = 1_000


class _Suspect(NamedTuple):
    attempts: int
    """Consecutive attempts without an outcome while others were answered."""
    chance: float
    """The probability that a record has no outcome in any of these attempts, if all records fail alike."""
    share: float
    """The share of other calls without an answer at the last attempt, 0 to 1; 1 if there is none to compare with."""
    batch: int
    """The number of the batch with the last attempt."""


class _AnswerBatch(NamedTuple):
    number: int
    answered: int
    unanswered: frozenset[Address]


def is_unknown(outcome: Any) -> TypeGuard[Exception]:
    """Return whether the outcome of a call is not known."""
    return isinstance(outcome, UNKNOWN_OUTCOME)


class Unanswered:
    """Tracks the records whose calls had no outcome, and the outcomes of other calls between two attempts."""

    def __init__(self) -> None:
        self._suspects: dict[Address, _Suspect] = {}
        self._batches: deque[_AnswerBatch] = deque(maxlen=BATCHES)
        self._number = 0

    def note(self, parts: Sequence[PartitionBatch], called: Sequence[Delivery]) -> None:
        """Record the outcomes of one batch of calls, or of retried parked records."""
        self._number += 1
        if not self._suspects and not any(is_unknown(item.outcome) for item in called):
            return
        fresh = [part for part in parts if part.from_log and part.items]
        unanswered = frozenset(
            item.address
            for part in fresh
            for item in part.items
            if is_unknown(item.outcome) and not isinstance(item.outcome, NotMade)
        )
        if not unanswered and not self._suspects:
            return
        answered = sum(not isinstance(item.outcome, (Exception, Unasked)) for item in called)
        self._batches.append(_AnswerBatch(self._number, answered, unanswered))
        self._suspects |= {where: self._tried(where) for where in unanswered}
        self._forget_answered(fresh, called)

    def is_refused(self, where: Address) -> bool:
        """Return whether the record must be parked: others were answered and it was not, often enough."""
        suspect = self._suspects.get(where)
        if suspect is None or suspect.share == 1:
            return False
        return suspect.attempts >= ATTEMPTS_AT_LEAST and suspect.chance < CHANCE

    def is_alone(self, where: Address) -> bool:
        """Return whether the record was unanswered in the last batch, and most others since its attempt before not."""
        suspect = self._suspects.get(where)
        return suspect is not None and suspect.batch == self._number and suspect.share <= MOST

    def is_unclear(self) -> bool:
        """Return whether calls of the last batch had no outcome, and too few others had one to compare with."""
        return any(each.batch == self._number and each.share > FEW for each in self._suspects.values())

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget the attempts for records of these partitions: other workers own them now."""
        gone = set(partitions)
        self._suspects = {where: suspect for where, suspect in self._suspects.items() if where[0] not in gone}

    def _tried(self, where: Address) -> _Suspect:
        before = self._suspects.get(where) or _Suspect(0, 1.0, 1.0, self._number - 1)
        since = [batch for batch in self._batches if batch.number > before.batch]
        others = frozenset[Address]().union(*(batch.unanswered for batch in since)) - {where}
        answered = sum(batch.answered for batch in since)
        if not answered:
            return before._replace(share=1.0, batch=self._number)
        share = (len(others) + 1) / (len(others) + answered + 2)  # Laplace's estimate, for few answers
        return _Suspect(before.attempts + 1, before.chance * share, share, self._number)

    def _forget_answered(self, fresh: Sequence[PartitionBatch], called: Sequence[Delivery]) -> None:
        """Forget records that were answered, parked or handled otherwise, and batches that are no longer compared."""
        outcomes = {item.address: item.outcome for item in called}
        first = {part.owned.partition: part.items[0].record.offset for part in fresh}
        self._suspects = {
            where: suspect
            for where, suspect in self._suspects.items()
            if where[1] >= first.get(where[0], 0) and is_unknown(outcomes.get(where, NotMade()))
        }
        oldest = min((suspect.batch for suspect in self._suspects.values()), default=self._number)
        while self._batches and self._batches[0].number <= oldest:
            self._batches.popleft()
