"""What the engine does when the group rebalances; see eventbus.log.Rebalanced."""

from __future__ import annotations

from collections.abc import Iterable

from eventbus.engine.context import EngineContext
from eventbus.engine.publisher import Publisher
from eventbus.engine.unanswered import Unanswered
from eventbus.log import Partition


class RebalanceListener:
    """The rebalance listener, called from inside `poll` and `keep_alive`."""

    def __init__(self, context: EngineContext, publisher: Publisher, unanswered: Unanswered) -> None:
        self._group, self._deps, self._assignment = context.service.name, context.deps, context.assignment
        self._publisher, self._unanswered = publisher, unanswered

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Record the partitions: the loop recovers them."""
        partitions = list(partitions)
        self._deps.failpoint("assigned")
        self._assignment.add(partitions)
        self._deps.observer.assigned(partitions)

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """Publish what is pending, then forget them: the next owner gets them only after this returns."""
        partitions = list(partitions)
        self._deps.failpoint("revoked")
        try:
            self._publisher.publish()
            self._deps.failpoint("revoked and published")
        finally:
            self._forget(partitions, lost=False)

    def lost(self, partitions: Iterable[Partition]) -> None:
        """Forget them, publish nothing: another worker may own them already."""
        self._forget(list(partitions), lost=True)

    def _forget(self, partitions: list[Partition], *, lost: bool) -> None:
        """Partitions of a first assignment that was not accepted (see KafkaLog) were never owned: not reported."""
        ours = self._assignment.remove(partitions)
        self._unanswered.forget(ours)
        if ours:
            self._deps.observer.released(ours, lost=lost)

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        """Report it: the records before it are handled, and an operator decides about the rest."""
        skip = f"saga deadletters skip {partition.topic} {partition.number} {offset} --group {self._group}"
        message = f"{partition} cannot be read at offset {offset}: {why}. To skip it, with an audit record: {skip}"
        self._deps.observer.paused(partition, "unreadable", message)
