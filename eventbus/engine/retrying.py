"""The parked records of blocked keys that are due for a retry, and how many wait."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from eventbus.engine.assignment import Owned
from eventbus.engine.batch import PartitionBatch, retry
from eventbus.engine.context import EngineContext
from eventbus.engine.delivery import UNPUBLISHED, Delivery, decode
from eventbus.engine.remote import Asking, begin
from eventbus.engine.schema_waits import ANSWER_WAIT_SECONDS
from eventbus.engine.unanswered import Unanswered
from eventbus.log import Limit, Partition
from eventbus.serde.lookups import StillAsking
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import by_topic, deadline_reactions
from eventbus.store import blocked_keys
from eventbus.store.blocked_keys import BlockedKey, Due, Parked, ParkedCounts


class Retrying:
    """Finds the parked records to retry in the assigned partitions, makes their calls, and reports how many wait."""

    def __init__(self, context: EngineContext, unanswered: Unanswered) -> None:
        self._service, self._deps, self._config, self._assignment, _ = context
        self._unanswered = unanswered
        self._reactions = by_topic(self._service.reactions) | deadline_reactions(self._service.deadlines)
        self.asking: Asking | None = None
        """The remote calls in progress for parked records; the loop does not wait for them."""
        self._reported = ParkedCounts()
        self._after = self._count_at = 0.0
        self._limits: dict[str, Limit] = {}
        self.more = False
        """Whether more was due than is retried at once: check again soon."""

    def begin(self, due: list[PartitionBatch]) -> list[PartitionBatch]:
        """Start the remote calls of these parts in the background; return the parts if there are none to make."""
        self._deps.failpoint("retrying")
        half = max(1, self._deps.calls.concurrency // 2)
        self.asking = begin(self._service, due, self._deps, half)
        return due if self.asking is None else []

    def answered(self) -> list[PartitionBatch]:
        """Return the parts whose remote calls have ended.

        Overdue calls are not waited for if others of these were answered; a call alone is: its answer may be slow.
        """
        if self.asking is None or not self.asking.ended(0, than_earlier=False):
            return []
        asking, self.asking = self.asking, None
        asking.results(self._unanswered)
        for part in asking.parts:
            part.stay()  # the checkpoint has moved in the meantime
        return list(asking.parts)

    def abandon(self) -> None:
        """Start no further calls: the worker is shutting down."""
        if self.asking is not None:
            self.asking.pending.abandon()

    def due(self, retries_ms: tuple[int, int] | None) -> list[PartitionBatch]:
        """Return what this worker must retry now: due blocked keys whose partition it owns and consumes.

        `retries_ms` is when the first and the last parked records of all workers are due; None if none is parked.
        """
        self.more = False
        if retries_ms is None:
            self._report(ParkedCounts())
            return []
        ours = self._assignment.consumed()
        self._count(ours)
        when, most = Due(self._deps.now_ms(), round(1_000 * self._config.retry_most)), self._config.retries
        if not any(map(when.is_now, retries_ms)) or not ours or self._deps.clock() < self._after:
            return []
        parked: dict[BlockedKey, list[Parked]] = {}
        room = self._config.max_buffered_bytes
        with self._deps.database.snapshot() as tx:
            for each in blocked_keys.due(tx, ours, when, most):
                if room > 0:
                    parked[each] = blocked_keys.records(tx, each, most, room)
                    room -= sum(waiting.record.size for waiting in parked[each])
        self.more = len(parked) == most or room <= 0
        self._ask_limits(parked.values())
        parts = [self._part_if_known(ours[each.owner], each, records) for each, records in parked.items()]
        return [part for part in parts if part is not None]

    def _part_if_known(self, owned: Owned, before: BlockedKey, parked: list[Parked]) -> PartitionBatch | None:
        """Return None if the registry is unavailable: the other blocked keys are retried regardless."""
        try:
            return self._part(owned, before, parked)
        except RegistryUnavailable as error:
            wait = ANSWER_WAIT_SECONDS if isinstance(error, StillAsking) else self._config.backoff_most
            self._after = max(self._after, self._deps.clock() + wait)
            self._deps.observer.recovery_scheduled(Partition("*", -1), str(error), retry_in=wait)
            return None

    def _part(self, owned: Owned, before: BlockedKey, parked: list[Parked]) -> PartitionBatch:
        items = [decode(self._deps.codec, each.record, self._reactions) for each in parked]
        known = [item for item in items if item is not None]
        self._set_limits(known)
        return retry(owned, before, known)

    def _ask_limits(self, parked: Iterable[list[Parked]]) -> None:
        """Ask for the present limits of the topics that parked outputs were too large for. Raises LogUnavailable."""
        places = {each.record.partition for some in parked for each in some}
        topics = {place.topic for place in places if place.number == UNPUBLISHED}
        self._limits = self._deps.log.largest(topics) if topics else {}

    def _set_limits(self, items: Iterable[Delivery]) -> None:
        for item in items:
            if item.unpublished is not None:
                topic = item.unpublished.output.topic
                item.unpublished = item.unpublished._replace(limit=self._limits.get(topic))

    def _count(self, ours: Collection[Partition]) -> None:
        """Report how many parked records wait for this worker, every second."""
        if self._deps.clock() < self._count_at:
            return
        self._count_at = self._deps.clock() + self._config.idle_check_after
        with self._deps.database.snapshot() as tx:
            self._report(blocked_keys.counted(tx, ours))

    def _report(self, counted: ParkedCounts) -> None:
        if counted != self._reported:
            self._reported = counted
            self._deps.observer.parked(counted)
