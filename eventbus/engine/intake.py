"""The first stage: reads records, checks that none is missing, and decodes them into deliveries."""

from __future__ import annotations

from eventbus.engine.context import EngineContext
from eventbus.engine.delivery import Delivery, decode
from eventbus.engine.placement import Placement
from eventbus.engine.schema_waits import SchemaWaits, leader_epoch_at
from eventbus.log import FetchedRecords, LogUnavailable
from eventbus.serde.registry import RegistryUnavailable
from eventbus.service import by_topic


class Intake:
    """Fetches, decodes and buffers records."""

    def __init__(self, context: EngineContext) -> None:
        service, deps, config, self._assignment, self._topics = context
        self._deps, self._config = deps, config
        self._reactions = by_topic(service.reactions)
        self._schemas = SchemaWaits(deps, config)
        placed_over = config.keys_placed_over
        self._placement = Placement(deps.log, placed_over) if placed_over else None
        self._polled_all = False

    @property
    def caught_up(self) -> bool:
        """Whether there is no backlog: the last poll returned fewer records than it asked for, and none is buffered."""
        return self._polled_all and not any(owned.buffer for owned in self._assignment)

    def fetch(self, limit: int, *, asking: bool, at_most: float) -> bool:
        """Read and decode up to about `limit` records, and buffer them; return whether anything was read.

        Waits for records as long as there is nothing else to do, up to `at_most` seconds; `asking`: remote calls are in
        progress.
        """
        wanted = self._wanted(limit)
        fetched = self._deps.log.poll(wanted, min(at_most, self._timeout(asking=asking)))
        self._polled_all = sum(len(run.records) for run in fetched) < wanted
        self._deps.failpoint("polled")
        self._accept(fetched)
        return bool(fetched)

    def resume_due(self) -> None:
        """Resume the partitions that waited for a schema and are to ask for it again."""
        self._schemas.resume_due(self._assignment)

    def _wanted(self, limit: int) -> int:
        """Return how many records to poll: at least one, because a consumer that does not poll is evicted."""
        buffered = [item.record for owned in self._assignment for item in owned.buffer]
        if sum(record.size for record in buffered) >= self._config.max_buffered_bytes:
            return 1
        return max(1, limit - len(buffered))

    def _timeout(self, *, asking: bool) -> float:
        now = self._deps.clock()
        if any(owned.pending or (owned.buffer and owned.handled_from <= now) for owned in self._assignment):
            return 0
        longest = self._config.poll_timeout_root_events if self._assignment.has_root() else self._config.patience
        longest = min(longest, 0.01) if asking else longest
        dues = [0.01 if owned.recovered else owned.due - now for owned in self._assignment if not owned.consuming]
        dues += [owned.handled_from - now for owned in self._assignment if owned.buffer]
        dues += [until - now for until in map(self._schemas.until, self._assignment) if until is not None]
        return max(0.0, min([longest, *dues]))

    def _accept(self, fetched: list[FetchedRecords]) -> None:
        """Buffer what follows the last accepted record without a gap; after a gap the partition is recovered."""
        if self._placement:
            self._placement.polled()
        if any(run.records for run in fetched):
            self._topics.ask({run.partition.topic for run in fetched if run.records})
        for run in fetched:
            owned = self._assignment.get(run.partition)
            if owned is None or not owned.consuming:
                continue
            if run.start != owned.reached or (run.records and run.records[0].offset < run.start):
                self._assignment.recover_later([owned], f"offset gap: expected {owned.reached}, got {run.start}")
                continue
            items, reached, error = self._decoded(run)
            if isinstance(error, LogUnavailable) and (reached == owned.reached or not self._seek_back(run, reached)):
                self._assignment.recover_later([owned], str(error))
                continue
            self._schemas.decoded(owned, run, reached, error)
            if items and owned.read_ahead:
                owned.read_ahead, owned.handled_from = 0.0, self._deps.clock() + owned.read_ahead
            owned.buffer += items
            owned.reached = reached
            self._deps.failpoint("accepted")

    def _decoded(self, run: FetchedRecords) -> tuple[list[Delivery], int, RegistryUnavailable | LogUnavailable | None]:
        """Return the decoded records of a run, the offset they end at, and why; those before an error are returned."""
        items: list[Delivery] = []
        codec, reactions = self._deps.codec, self._reactions
        for record in run.records:
            try:
                item = decode(codec, record, reactions)
                if item is not None:
                    items.append(self._placement.judge(item) if self._placement else item)
            except (RegistryUnavailable, LogUnavailable) as error:
                return items, record.offset, error
        return items, run.end, None

    def _seek_back(self, run: FetchedRecords, offset: int) -> bool:
        return self._deps.log.seek(run.partition, offset, leader_epoch_at(run, offset))
