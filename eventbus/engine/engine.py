"""The engine: exactly-once processing, one step at a time, in one thread, with all dependencies passed in.

The database transaction decides. The group's committed offset, committed in the same Kafka transaction as the outputs,
carries in its metadata how far the outbox has been published. See docs/guarantees.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from eventbus.database import ReadOnlyOrFull
from eventbus.engine.assignment import NOBODY, Assignment, Owned
from eventbus.engine.backoff import Backoff
from eventbus.engine.batch import PartitionBatch, handled_partitions, take
from eventbus.engine.config import Dependencies, EngineConfig
from eventbus.engine.context import EngineContext
from eventbus.engine.deadlines import Deadlines
from eventbus.engine.decision import Decision, handled
from eventbus.engine.errors import TRANSIENT
from eventbus.engine.handlers import HandlerFailed
from eventbus.engine.housekeeping import Housekeeping
from eventbus.engine.incarnations import Incarnations, deleted
from eventbus.engine.intake import Intake
from eventbus.engine.parking import Retries
from eventbus.engine.publisher import Publisher
from eventbus.engine.rebalance import RebalanceListener
from eventbus.engine.recoverer import Recoverer
from eventbus.engine.remote import RemoteStage, ShuttingDown
from eventbus.engine.retrying import Retrying
from eventbus.engine.undelivered import Undelivered
from eventbus.log import Partition, TopicMissing, UnsafeToContinue
from eventbus.service import Service


class Engine:
    """Consumes events and publishes the outputs. Call `run_once` in a loop; a signal handler may call `stop`."""

    def __init__(self, service: Service[Any], deps: Dependencies, config: EngineConfig | None = None) -> None:
        self._service, self._deps = service, deps
        self._config = config = config or EngineConfig()
        retries = Retries(deps.now_ms, Backoff(config.retry, config.retry_most, deps.random))
        outputs = [*(event.topic for event in service.publishes()), service.dead_letters()]
        undelivered = Undelivered(deps.database, retries)
        self._assignment = Assignment(deps, config, service)
        self._topics = Incarnations(deps.log, deps.database, outputs, deps.clock)
        context = EngineContext(service, deps, config, self._assignment, self._topics)
        self._intake = Intake(context)
        self._remote = RemoteStage(service, deps, config)
        self._decision = Decision(service, deps.codec, config.dead_letters, retries)
        self._publisher = Publisher(context, undelivered)
        self._recoverer = Recoverer(context, undelivered, self._publisher)
        self._housekeeping = Housekeeping(context, self._recoverer)
        self._retrying = Retrying(context, self._remote.unanswered)
        self._deadlines = Deadlines(context)
        self._listener = RebalanceListener(context, self._publisher, self._remote.unanswered)
        self._worked_at = self._looked_at = deps.clock()
        self._stopping = False
        self._consecutive_failures: Counter[Partition] = Counter()

    def judge(self) -> None:
        """Refuse a database that is not the newest before any partition moves from another worker; see `run_once`."""
        self._recoverer.judge()

    def subscribe(self) -> None:
        """Join the group."""
        self._deps.log.subscribe(self._service.subscriptions(), self._listener)

    def stop(self) -> None:
        """Stop waiting for remote calls; safe to call from a signal handler."""
        self._stopping = True

    def run_once(self) -> None:
        """Poll, recover, handle, publish.

        Raises UnsafeToContinue, TopicMissing, HandlerFailed, ReadOnlyOrFull, WrongClock: all final, nothing is lost.
        Others are retried in a later call. After UnsafeToContinue nothing more is published, not even by `close`.
        """
        try:
            self._run_once()
        except UnsafeToContinue:
            self._assignment.forget_all()
            raise
        except TopicMissing as missing:
            if not any(each.partition.topic == missing.topic and each.identity != NOBODY for each in self._assignment):
                raise
            self._assignment.forget_all()
            raise deleted(missing.topic) from missing

    def _run_once(self) -> None:
        asking, at_most = self._retrying.asking is not None, self._deadlines.seconds()
        fetched = self._intake.fetch(self._remote.limit, asking=asking, at_most=at_most)
        self._recoverer.recover_due()
        if self._stopping:
            return
        batch = take(self._assignment.in_turn(self._remote.limit), self._remote.limit)
        if batch:
            self._deps.failpoint("taken")
            self._handle(batch, self._assignment.root())
        if answered := self._retrying.answered():
            self._decide(answered, None, self._deps.clock())
            self._looked_at = 0.0 if self._retrying.more else self._looked_at
        self._publisher.publish_if_due(caught_up=self._intake.caught_up)
        drained, overdue = not fetched and not batch, self._deadlines.look_now(self._looked_at)
        if drained or overdue or self._deps.clock() - self._looked_at > self._config.idle_check_after:
            self._look_around()
        self._recoverer.seek_published()
        self._intake.resume_due()
        ready, pending = len(self._assignment.consumed()), self._publisher.pending()
        self._deps.observer.turned(ready=ready, owned=len(self._assignment), pending=pending)

    def _handle(self, parts: list[PartitionBatch], root: Owned | None) -> None:
        """Call, decide, store. A partition that fails is forgotten and read again."""
        started = self._deps.clock()
        everyone = [part.owned for part in parts] + ([root] if root else [])
        try:
            results = self._remote.call(parts, self._waiting)
        except ShuttingDown:
            self._assignment.recover_later(everyone, "the worker is shutting down")
        except TRANSIENT as error:
            self._assignment.recover_later(everyone, str(error))
        else:
            if self._decide(parts, root, started) and results.failures:
                self._publisher.publish()  # what was decided before the failures
                for part, why, soon in results.failures:
                    self._assignment.recover_later([part.owned], why, read_ahead=True, soon=soon)

    def _waiting(self) -> bool:
        self._deps.observer.alive()
        return not self._stopping

    def _decide(self, parts: Sequence[PartitionBatch], root: Owned | None, started: float) -> bool:
        """Decide and commit; return whether that succeeded."""
        everyone = [part.owned for part in parts] + ([root] if root else [])
        try:
            self._deps.failpoint("remote done")
            mine = [part for part in parts if part.items and self._assignment.is_consumed(part.owned)]
            root = root if root is not None and self._assignment.is_consumed(root) else None
            self._topics.check([part.owned for part in mine])
            if mine or root:
                decided = self._decision.commit(self._deps.database, mine, root, self._deps.failpoint)
                self._worked_at = self._deps.clock()
                self._publisher.add(decided)
                for partition in {*decided.checkpoints, *handled_partitions(mine)}:
                    del self._consecutive_failures[partition]
                self._deps.observer.batch_handled(handled(mine, decided, self._worked_at - started))
                self._assignment.pause(decided.paused)
        except HandlerFailed as failed:
            self._assignment.recover_later(everyone, str(failed))
            self._count_failure(failed)
        except TRANSIENT as error:
            self._assignment.recover_later(everyone, str(error))
        else:
            return True
        return False

    def _count_failure(self, failed: HandlerFailed) -> None:
        """Count by partition: the record cannot be handled, and parking it did not help."""
        self._consecutive_failures[failed.record.partition] += 1
        if self._consecutive_failures[failed.record.partition] >= self._config.attempts:
            raise failed

    def _look_around(self) -> None:
        """Check for root events, deadlines, parked records, checkpoints that a zombie moved, recreated topics."""
        known = self._assignment.recovered()
        if not known and self._deps.clock() - self._looked_at <= self._config.idle_check_after:
            return
        self._looked_at = self._deps.clock()
        try:
            seen = self._housekeeping.look(known)
            due = [] if self._retrying.asking else self._retrying.due(seen.retries_ms)
            root = self._assignment.root()
            if due and (parts := self._retrying.begin(due)):
                self._decide(parts, None, self._deps.clock())
            if overdue := self._deadlines.found(seen):
                self._decide(overdue, None, self._deps.clock())
            if self._retrying.asking is None and self._retrying.more:
                self._looked_at = 0.0
            if seen.waiting and root is not None:
                self._handle([], root)
            elif self._deps.clock() - self._worked_at >= self._config.prune_after:
                self._housekeeping.prune_outbox(note_end=True)
        except TRANSIENT as error:
            self._assignment.recover_later(known, str(error))

    def close(self) -> None:
        """Publish what is pending, prune the outbox, leave the group. A failure here loses nothing: it is recovered."""
        self._deps.failpoint("closing")
        self._retrying.abandon()
        try:
            self._publisher.publish()
            self._deps.failpoint("closing and published")
            self._housekeeping.prune_outbox(note_end=False)
        except (*TRANSIENT, ReadOnlyOrFull, TopicMissing, UnsafeToContinue) as error:
            self._deps.observer.recovery_scheduled(Partition("*", -1), f"while closing: {error}", retry_in=0)
        self._deps.failpoint("leaving")
        self._deps.log.close()
        self._deps.failpoint("left")
