"""The port through which the engine reads and writes the log. Implemented on Kafka and for the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

Headers = list[tuple[str, bytes]]
MAX_BUFFERED_BYTES = 4_194_304
"""The most bytes of records that are buffered, decided on or published at once, whatever their number."""
PROGRESS = ".progress"
"""The suffix of the progress topic, after the service's name."""
DEAD_LETTERS = ".dead-letters"
"""The suffix of the dead-letter topic, after the service's name."""
RESOLUTIONS = f"{DEAD_LETTERS}.resolutions"
"""The suffix of the resolutions topic, after the group's name."""
HEADER_BYTES = 10
"""The most bytes of a header beside its name and content."""
BATCH_BYTES = 61 + 36
"""The most bytes of a batch of one record beside key, value and headers (Kafka's record batch, version 2)."""


class Partition(NamedTuple):
    """One partition of one topic; sorts by topic, then number: the order in which rows are locked."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


new_tuple: Any = tuple.__new__
"""Makes a named tuple of its fields in half the time of its constructor; for those that are made for each event."""


class Record(NamedTuple):
    """One record as stored in the log."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers
    leader_epoch: int | None = None
    """The epoch of the leader that wrote it; None if the broker does not report it."""

    @property
    def address(self) -> str:
        """The record's place in the log: `topic/partition/offset`."""
        return f"{self.partition.topic}/{self.partition.number}/{self.offset}"

    @property
    def size(self) -> int:
        """Bytes of key, value and headers, as stored in the log."""
        headers = sum(len(name) + len(content or b"") + HEADER_BYTES for name, content in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


def to_iso(timestamp_ms: int) -> str:
    """Return milliseconds since 1970 as RFC 3339, in UTC; the number itself if it is out of range.

    A producer may write any number as a record's timestamp.
    """
    try:
        at = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(timestamp_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FetchedRecords(NamedTuple):
    """Consecutive records of one partition.

    `start` is the position before the first record (not its offset: markers and aborted records take offsets too),
    `end` the one after the last. It may have no records if the end of the partition was reached, past markers. If
    `start` is not the `end` of the records before, there is an offset gap.
    """

    partition: Partition
    start: int
    end: int
    records: Sequence[Record]


class Output(NamedTuple):
    """A record to be published. Its key determines the partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def key_text(self) -> str:
        """The key as text that a database can store."""
        return (self.key or b"").decode("utf-8", "replace").replace("\0", "\ufffd")

    @property
    def size(self) -> int:
        """The most bytes that it takes in the log, in a batch of its own, before compression."""
        headers = sum(len(name) + len(content or b"") + HEADER_BYTES for name, content in self.headers)
        return BATCH_BYTES + len(self.key or b"") + len(self.value or b"") + headers


class CommittedOffset(NamedTuple):
    """The group's committed offset; `outbox_seq` is the number of the last outbox entry that was published with it.

    None if the metadata is not ours: the offset was set by hand. With the ids of the database that it was read from and
    of the input topic, it is also a witness of progress (see eventbus.kafka.witness).
    """

    offset: int
    outbox_seq: int | None
    database: str = ""
    topic_id: str = ""


class OffsetRange(NamedTuple):
    """The first offset of a partition, the one after its last, and the leader epoch in which it reaches that far."""

    start: int
    end: int
    leader_epoch: int | None = None


class Identity(NamedTuple):
    """The ids of the cluster and of a topic; empty if the broker does not report them."""

    cluster: str
    topic: str


class Rebalanced(Protocol):
    """The rebalance listener, called inside `poll` or `keep_alive`. Must not raise."""

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """These partitions were assigned, paused; they must be recovered."""

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """These partitions go to another worker when this returns: publish what is pending, forget them."""

    def lost(self, partitions: Iterable[Partition]) -> None:
        """Another worker may own these partitions already: forget them, publish nothing."""

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        """The record at this offset cannot be read, nor any after it: the partition is paused until `seek`."""


class AuthenticationFailed(Exception):
    """The brokers rejected the connection: its credentials, TLS or security.protocol are wrong. Correct the setting."""


class LogUnavailable(ConnectionError):
    """The broker did not respond in time. Retry later."""


class NoBrokerAnswers(LogUnavailable):
    """No broker answers at all: which of them is not the question; `why` is what was seen of them."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no Kafka broker answers: {why}")
        self.why = why


class CommitOutcomeUnknown(Exception):
    """The transaction may or may not have been committed: recover. The log is ready to publish again."""


class PartitionMigrated(CommitOutcomeUnknown):
    """Another worker has recovered a partition of the transaction: nothing was published."""


class Limit(NamedTuple):
    """The largest record that can be written to a topic, and the name of the setting, for messages."""

    bytes: int
    setting: str

    def takes(self, output: Output) -> bool:
        """Return whether the output certainly fits; compressed, a larger one may fit, too."""
        return output.size <= self.bytes


class Oversized(NamedTuple):
    """An output that was rejected for its size; `limit` is None if its topic's limit is not known."""

    output: Output
    limit: Limit | None

    def __str__(self) -> str:
        topic, of, size = self.output.topic, self.output.key_text[:80], self.output.size
        most = f"at most {self.limit.bytes} ({self.limit.setting})" if self.limit else "less"
        return f"the event of {of} has {size} bytes, and the topic {topic} takes {most}"


class TooLarge(CommitOutcomeUnknown):
    """These outputs are larger than their topics allow: nothing was published."""

    def __init__(self, oversized: Sequence[Oversized]) -> None:
        super().__init__("; ".join(map(str, oversized[:3])))
        self.oversized = oversized


class UnsafeToContinue(Exception):
    """Continuing would lose or repeat something; an operator must intervene. The worker stops with exit code 3."""


class TopicMissing(Exception):
    """A topic does not exist; `topic` is its name, if only one is missing. The worker stops with exit code 5."""

    def __init__(self, why: str, topic: str = "") -> None:
        super().__init__(why)
        self.topic = topic


def missing_topic(topic: str) -> TopicMissing:
    """Return the error for one topic that does not exist."""
    how = "`saga topics create` makes it, for a service of your own with --file"
    return TopicMissing(f"the topic {topic} does not exist: {how}", topic)


class InstanceTaken(Exception):
    """Another live worker holds the lease of this instance name. The worker stops with exit code 4."""


class Log(Protocol):
    """All calls come from one thread. `poll` and `keep_alive` are never called while a transaction is open."""

    def subscribe(self, topics: Sequence[str], listener: Rebalanced) -> None:
        """Join the group for these topics; the listener is called from inside `poll` and `keep_alive`."""

    def poll(self, limit: int, timeout: float) -> list[FetchedRecords]:
        """Return the next records, at most `limit`; wait up to `timeout` seconds for the first one.

        Raises TopicMissing, and UnsafeToContinue if the end of the log is before what was read already.
        """

    def keep_alive(self) -> None:
        """Poll without consuming any record, to stay in the group; paused partitions stay paused, others do not."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop consuming these partitions until `seek`."""

    def seek(self, partition: Partition, offset: int, leader_epoch: int | None = None) -> bool:
        """Continue at `offset`, and resume. False if that is not possible yet: retry after a poll.

        `leader_epoch`: one in which the log reached `offset`. If it no longer does, `poll` raises UnsafeToContinue
        (KIP-320).
        """

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, CommittedOffset | None]:
        """Return the group's committed offsets; waits for open transactions. Raises LogUnavailable."""

    def group_offsets(self, topics: Collection[str], others: Collection[Partition]) -> dict[Partition, CommittedOffset]:
        """Return the committed offsets of all partitions of these topics, and of `others`, whichever worker owns them.

        Does not wait for transactions. Raises LogUnavailable.
        """

    @property
    def witness_topic(self) -> str | None:
        """The progress topic, whose id `identities` returns; None if this log has none."""

    def witnesses(self, *, undecided: bool) -> dict[Partition, CommittedOffset] | None:
        """Return the latest records of the progress topic; None if this log has none.

        `undecided`: wait for open transactions. Raises LogUnavailable, TopicMissing.
        """

    def offset_range(self, partitions: Sequence[Partition]) -> dict[Partition, OffsetRange]:
        """Return the beginning and end offsets of each partition. Raises LogUnavailable."""

    def ask_identities(self, topics: Collection[str]) -> None:
        """Send the request whose response the next `identities` of these topics waits for. Never blocks or raises."""

    def identities(self, topics: Collection[str]) -> dict[str, Identity]:
        """Return the present ids of the cluster and these topics. Raises LogUnavailable, TopicMissing."""

    def partitions(self, topic: str) -> int:
        """Return the present number of a topic's partitions, from a broker. Raises LogUnavailable, TopicMissing."""

    def largest(self, topics: Collection[str]) -> dict[str, Limit]:
        """Return the size limits of these topics, without those that the broker does not report.

        Raises LogUnavailable, TopicMissing.
        """

    def place(self, key: bytes, partitions: int) -> int:
        """Return the partition, out of this number (one or more), that `publish` writes a record with this key to."""

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, CommittedOffset], still_ours: Callable[[], bool]
    ) -> None:
        """Write the outputs and commit the offsets `offsets`, both or neither (if the delivery is exactly-once).

        An offset with the id of its database is also written to the progress topic.
        `still_ours` is called when the offsets are part of the transaction and it can still be aborted; False aborts.
        Raises CommitOutcomeUnknown if the outcome is unknown, TooLarge if the broker rejected outputs for their size,
        LogUnavailable if no transaction was begun, TopicMissing.
        """

    def close(self) -> None:
        """Leave the group (a static member does not: it is expected to return)."""
