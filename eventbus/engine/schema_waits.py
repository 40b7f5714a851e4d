"""Pauses a partition while the registry cannot return the schema of its next record; other partitions continue."""

from __future__ import annotations

from collections.abc import Iterable

from eventbus.engine.assignment import Owned, SchemaWait
from eventbus.engine.backoff import Backoff
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.log import FetchedRecords
from eventbus.serde.lookups import StillAsking
from eventbus.serde.registry import RegistryUnavailable

REASON = "schema_registry"
FIRST_WAIT_SECONDS = 0.02
"""It doubles up to `EngineConfig.backoff_most`."""
ANSWER_WAIT_SECONDS = 0.25
"""The longest pause while a request to the registry is in progress."""
TOLD_AFTER_SECONDS = 1.0
"""A partition that waits longer than this is reported as paused."""


class SchemaWaits:
    """Pauses such partitions and resumes them later, with exponential backoff.

    They are not recovered: the records read before are handled, and no outcome is unknown.
    """

    def __init__(self, deps: Dependencies, config: EngineConfig) -> None:
        self._deps, self._config = deps, config

    def until(self, owned: Owned) -> float | None:
        """Return when a partition is to be resumed; None if it is not paused for a schema."""
        return owned.schema_wait and owned.schema_wait.until

    def decoded(self, owned: Owned, run: FetchedRecords, reached: int, error: Exception | None) -> None:
        """A run was decoded up to `reached`; RegistryUnavailable as the error pauses the partition there."""
        if owned.schema_wait is not None and reached > owned.reached:
            self._over(owned)
        if isinstance(error, RegistryUnavailable):
            self._hold(owned, run, reached, error)

    def resume_due(self, owned: Iterable[Owned]) -> None:
        """Resume the partitions whose pause is over: the registry is asked again."""
        for each in owned:
            wait = each.schema_wait
            if wait is None or wait.until is None or wait.until > self._deps.clock() or not each.consuming:
                continue
            if self._deps.log.seek(each.partition, each.reached, wait.leader_epoch):
                each.schema_wait = wait._replace(until=None)

    def _hold(self, owned: Owned, run: FetchedRecords, reached: int, error: RegistryUnavailable) -> None:
        now = self._deps.clock()
        wait = owned.schema_wait or SchemaWait(now)
        most = ANSWER_WAIT_SECONDS if isinstance(error, StillAsking) else self._config.backoff_most
        pause = Backoff(FIRST_WAIT_SECONDS, most, lambda: 1.0).seconds(wait.times + 1)  # in step for all partitions
        self._deps.log.pause([owned.partition])
        reported = wait.reported
        if not isinstance(error, StillAsking) or (now - wait.since >= TOLD_AFTER_SECONDS and not reported):
            self._deps.observer.recovery_scheduled(owned.partition, str(error), retry_in=pause)
            reported = self._report(owned, wait, f"{owned.partition} waits at offset {reached} for a schema: {error}")
        owned.schema_wait = SchemaWait(wait.since, wait.times + 1, now + pause, leader_epoch_at(run, reached), reported)

    def _report(self, owned: Owned, wait: SchemaWait, why: str) -> str:
        """Report the partition if it waits long, and again if the reason has changed; return what was reported."""
        if self._deps.clock() - wait.since < TOLD_AFTER_SECONDS:
            return ""
        if why != wait.reported:
            self._deps.observer.paused(owned.partition, REASON, why)
        return why

    def _over(self, owned: Owned) -> None:
        assert owned.schema_wait is not None
        if owned.schema_wait.reported:
            self._deps.observer.resumed(owned.partition)
        owned.schema_wait = None


def leader_epoch_at(run: FetchedRecords, offset: int) -> int | None:
    """Return the leader epoch of the record at this offset, where it is known."""
    return next((record.leader_epoch for record in run.records if record.offset == offset), None)
