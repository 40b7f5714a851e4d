"""The port through which the engine reads and writes the log. Implemented on Kafka and for the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

Headers = list[tuple[str, bytes]]
MAX_BUFFERED_BYTES = 4_194_304
"""Whatever their number, records of so many bytes are a crowd: enough to be held, decided on or published at once."""
PROGRESS = ".progress"
"""What the name of the topic ends with, after the service's."""
RESOLUTIONS = ".dead-letters.resolutions"
"""What comes after the group in the name of its topic of resolutions."""
HEADER_BYTES = 10
"""What a header takes beside its name and content, at most."""
BATCH_BYTES = 61 + 36
"""What a batch of one record takes beside key, value and headers, at most (Kafka's record batch, version 2)."""


class Partition(NamedTuple):
    """One partition of one topic; sorts by topic, then number: the order in which everything is locked."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


class Record(NamedTuple):
    """One record as it lies in the log."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers
    leader_epoch: int | None = None
    """Of the leader that wrote it; None where the broker does not say."""

    @property
    def address(self) -> str:
        """Where anybody can go and look: `topic/partition/offset`."""
        return f"{self.partition.topic}/{self.partition.number}/{self.offset}"

    @property
    def size(self) -> int:
        """Bytes of key, value and headers, as they lie in the log."""
        headers = sum(len(name) + len(content or b"") + HEADER_BYTES for name, content in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


def to_iso(timestamp_ms: int) -> str:
    """Return milliseconds since 1970 as RFC 3339, in UTC; the number itself where no calendar reaches.

    Anybody may write anything into a record's timestamp.
    """
    try:
        at = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(timestamp_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FetchedRecords(NamedTuple):
    """Consecutive records of one partition.

    `start` is the log position before the first record (not its offset: markers and aborted records take offsets too),
    `end` the one after the last. A run may be empty: the end of the partition was reached, past markers. A `start`
    that does not connect to what was read before says that something was lost on the way.
    """

    partition: Partition
    start: int
    end: int
    records: Sequence[Record]


class Output(NamedTuple):
    """A record to be published. Which partition it goes to follows from its key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def key_text(self) -> str:
        """The key as a database can keep it."""
        return (self.key or b"").decode("utf-8", "replace").replace("\0", "\ufffd")

    @property
    def size(self) -> int:
        """Bytes that it takes in the log at most, in a batch of its own, before it is compressed."""
        headers = sum(len(name) + len(content or b"") + HEADER_BYTES for name, content in self.headers)
        return BATCH_BYTES + len(self.key or b"") + len(self.value or b"") + headers


class CommittedOffset(NamedTuple):
    """The group's committed offset; `outbox_seq` is the number of the last outbox entry that was published with it.

    None where the metadata is not ours: the offset was set by hand. With the id of the database that it was made from,
    and of the input topic, it is a witness of progress, too (see eventbus.kafka.witness).
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
    """Which cluster and which incarnation of a topic this is; empty where the broker does not say."""

    cluster: str
    topic: str


class Rebalanced(Protocol):
    """What the log tells the engine, from inside `poll` or `keep_alive`. Must not raise."""

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """These are ours now, paused; they want recovery."""

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """These go to somebody else when this returns: publish what is pending, forget them."""

    def lost(self, partitions: Iterable[Partition]) -> None:
        """These may be somebody else's already: forget them, publish nothing."""

    def unreadable(self, partition: Partition, offset: int, why: str) -> None:
        """What lies at this offset cannot be read, and nothing after it: the partition is paused until `seek`."""


class AuthenticationFailed(Exception):
    """The brokers rejected the connection: its credentials, TLS or security.protocol are wrong. Correct the setting."""


class LogUnavailable(ConnectionError):
    """The broker did not answer in time. Ask again later."""


class CommitOutcomeUnknown(Exception):
    """What was being published may or may not have been: recover. The log is ready to publish again."""


class PartitionMigrated(CommitOutcomeUnknown):
    """Somebody else has recovered what was about to be published: it was not."""


class Limit(NamedTuple):
    """The largest record that can be written to a topic, and which setting says so, for people."""

    bytes: int
    setting: str

    def takes(self, output: Output) -> bool:
        """Return whether it is certainly taken: compressed it may be smaller than this says."""
        return output.size <= self.bytes


class Oversized(NamedTuple):
    """An output that was refused for its size; `limit` is None where nobody says how much its topic takes."""

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
    """Going on would lose or repeat something; a person has to look. The worker stops with exit code 3."""


class TopicMissing(Exception):
    """A topic is not there; `topic` is its name, where only one is missing. The worker stops with exit code 5."""

    def __init__(self, why: str, topic: str = "") -> None:
        super().__init__(why)
        self.topic = topic


class InstanceTaken(Exception):
    """Another live worker holds the lease of this instance name. The worker stops with exit code 4."""


class Log(Protocol):
    """All calls come from one thread. `poll` and `keep_alive` are never called while a transaction is open."""

    def subscribe(self, topics: Sequence[str], listener: Rebalanced) -> None:
        """Join the group for these topics; the listener is called from inside `poll` and `keep_alive`."""

    def poll(self, limit: int, timeout: float) -> list[FetchedRecords]:
        """Return what is there, at most `limit` records; wait up to `timeout` seconds for the first one.

        Raises TopicMissing, and UnsafeToContinue where the log no longer reaches as far as it was read.
        """

    def keep_alive(self) -> None:
        """Stay in the group without reading anything: partitions that are not paused are afterwards as before."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Read nothing of these until `seek`."""

    def seek(self, partition: Partition, offset: int, leader_epoch: int | None = None) -> bool:
        """Read on from `offset`, and unpause. False when that is not possible yet: try again after a poll.

        `leader_epoch`: one in which the log reached `offset`. Where it no longer does, `poll` raises UnsafeToContinue
        (KIP-320).
        """

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, CommittedOffset | None]:
        """Return the group's cursors; waits for undecided transactions. Raises LogUnavailable."""

    def group_cursors(self, topics: Collection[str], others: Collection[Partition]) -> dict[Partition, CommittedOffset]:
        """Return the group's cursors of all partitions of these topics, and of others; of other workers', too.

        Waits for no transaction. Raises LogUnavailable.
        """

    @property
    def witness_topic(self) -> str | None:
        """The topic of progress, whose id `identities` tells; None where this log keeps none."""

    def witnesses(self, *, undecided: bool) -> dict[Partition, CommittedOffset] | None:
        """Return what the topic of progress says; None where this log keeps none.

        `undecided`: wait for the transactions that are under way. Raises LogUnavailable, TopicMissing.
        """

    def offset_range(self, partitions: Sequence[Partition]) -> dict[Partition, OffsetRange]:
        """Return where each partition begins and ends. Raises LogUnavailable."""

    def ask_identities(self, topics: Collection[str]) -> None:
        """Send the question that the next `identities` of these topics waits for. Never waits, never raises."""

    def identities(self, topics: Collection[str]) -> dict[str, Identity]:
        """Return who the cluster and these topics are now. Raises LogUnavailable, TopicMissing."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, by what a broker says now. Raises LogUnavailable, TopicMissing."""

    def largest(self, topics: Collection[str]) -> dict[str, Limit]:
        """Return the largest record that each of these topics takes; nothing where the broker does not say.

        Raises LogUnavailable, TopicMissing.
        """

    def place(self, key: bytes, partitions: int) -> int:
        """Return in which of so many partitions, one or more, `publish` writes a record of this key."""

    def publish(
        self, outputs: Sequence[Output], cursors: Mapping[Partition, CommittedOffset], still_ours: Callable[[], bool]
    ) -> None:
        """Write the outputs and move the cursors, both or neither (where the delivery is exactly-once).

        A cursor that names its database is written to the topic of progress, too.
        `still_ours` is asked when the cursors are part of the transaction and it can still be aborted; a no aborts it.
        Raises CommitOutcomeUnknown when it is not known to have happened, TooLarge when it was refused for the size of
        some outputs; LogUnavailable when nothing was begun; TopicMissing.
        """

    def close(self) -> None:
        """Leave the group (a static member does not: it is expected back)."""
