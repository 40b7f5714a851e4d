"""The history that is exported, and compared later: all committed records of some topics, in one order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from eventbus.log import Record
from saga.audit.lines import AuditEntry
from saga.audit.scratch import scratch_database
from saga.check.facts import Address
from saga.kafka.cluster import Cluster, client_config
from saga.kafka.event_topics import EventTopics
from saga.kafka.reader import record_of
from saga.kafka.records import Ends, records
from saga.kafka.recount import Count, confirm


@dataclass(frozen=True, slots=True)
class AuditSelection:
    """Which records are selected; None selects all. Times are ms since 1970, `until` is not included."""

    since: int | None = None
    until: int | None = None
    order_id: str | None = None

    def takes(self, record: Record) -> bool:
        """Return whether the record is selected: by its timestamp, and by its key, which is the order's id."""
        return (
            (self.since is None or record.timestamp_ms >= self.since)
            and (self.until is None or record.timestamp_ms < self.until)
            and (self.order_id is None or record.key == self.order_id.encode())
        )


class AuditHistory:
    """The topics of a choreography on one cluster. Nothing is written to it, and no consumer group is joined."""

    def __init__(
        self, bootstrap_servers: str, reverse_topological: Iterable[str], kafka_config: Mapping[str, str] | None = None
    ) -> None:
        """Fetch the list of partitions; `reverse_topological` names the topics. Raises TopicsMissing, Unreachable."""
        self._config = client_config(bootstrap_servers, kafka_config)
        cluster = Cluster(bootstrap_servers, kafka_config)
        self.cluster_id = cluster.id()
        self._topics = EventTopics(cluster, list(reverse_topological))

    def bounds(self) -> tuple[Ends, Ends]:
        """Return where each partition begins and ends now; the ends effects first, so that no cause is missed."""
        ends = self._topics.ends()
        starts = self._topics.starts()
        return starts, {tp: max(end, starts[tp]) for tp, end in ends.items()}

    def read(self, starts: Ends, ends: Ends, selection: AuditSelection, *, whole: bool) -> Iterator[Record]:
        """Return the records, in order within each partition.

        They are read a second time and counted, see `recount`; `whole` as there. Raises ReadingsDiffer, LogMoved,
        Unreachable.
        """
        count = Count()
        for message in records(self._config, starts, ends):
            record = record_of(message)
            count.add((record.partition.topic, record.partition.number), record.offset)
            if selection.takes(record):
                yield record
        confirm(self._config, starts, ends, count, whole=whole)


SORTING = """
create table entry (topic text, partition integer, offset integer, body text, primary key (topic, partition, offset))
without rowid
"""


def in_order(entries: Iterable[AuditEntry]) -> Iterator[AuditEntry]:
    """Return these sorted by address.

    They are buffered in a temporary SQLite file: a broker returns the records of many partitions at once quickly, one
    partition after the other slowly (measured: half a second each), and memory must not grow with the history.

    Raises NoRoom.
    """
    with scratch_database(SORTING) as waiting:
        waiting.executemany(
            "insert into entry values (?, ?, ?, ?)", ((*entry.address, entry.body) for entry in entries)
        )
        for *address, body in waiting.execute("select * from entry order by topic, partition, offset"):
            yield AuditEntry(Address(*address), body)
