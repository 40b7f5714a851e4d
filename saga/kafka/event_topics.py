"""The beginning and end offsets of the topics of all events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from saga.kafka.cluster import Cluster, check_same, offsets_of
from saga.kafka.records import Ends, TopicAndPartition


class TopicsMissing(LookupError):
    """Topics of the choreography are not on this cluster."""


class EventTopics:
    """The topics of the choreography on one cluster; `reverse_topological` names them, effects before their causes."""

    def __init__(self, cluster: Cluster, reverse_topological: Sequence[str]) -> None:
        """Fetch the list of partitions. Raises TopicsMissing, Unreachable."""
        self._cluster = cluster
        found = cluster.partitions()
        missing = [topic for topic in reverse_topological if topic not in found]
        if missing:
            if denied := cluster.denied(missing):
                raise TopicsMissing(denied)
            raise TopicsMissing(f"the topics {', '.join(missing)} do not exist: create them with `saga topics create`")
        self._ids = cluster.topic_ids(reverse_topological)
        self._tps = {topic: [(topic, number) for number in sorted(found[topic])] for topic in reverse_topological}

    def starts(self) -> Ends:
        """Return where each partition begins: earlier records have expired."""
        spec: Any = OffsetSpec
        return self._positions(spec.earliest())

    def ends(self) -> Ends:
        """Return where each partition ends for a read_committed reader, asked topic by topic, effects first."""
        spec: Any = OffsetSpec
        return self._positions(spec.latest())

    def written(self) -> Ends:
        """Return where each partition ends, open transactions included."""
        spec: Any = OffsetSpec
        return self._positions(spec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def partitions(self) -> dict[str, int]:
        """Return how many partitions each topic has."""
        return {topic: len(tps) for topic, tps in self._tps.items()}

    def check_same(self) -> None:
        """Raise TopicRecreated if a topic was recreated since the start."""
        check_same(self._ids, self._cluster.topic_ids(self._ids))

    def _positions(self, which: OffsetSpec, level: IsolationLevel = IsolationLevel.READ_COMMITTED) -> Ends:
        return {tp: at for tps in self._tps.values() for tp, at in self._ask(tps, which, level).items()}

    def _ask(self, tps: Sequence[TopicAndPartition], which: OffsetSpec, level: IsolationLevel) -> Ends:
        asked = {TopicPartition(*tp): which for tp in tps}

        def question() -> Ends:
            seconds = self._cluster.answer_seconds
            return offsets_of(self._cluster.admin.list_offsets(asked, isolation_level=level, request_timeout=seconds))

        return self._cluster.ask(question)
