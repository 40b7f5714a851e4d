"""A second reading of the log by another reader, to compare with the first one.

`records.records` and `reader.Reader` are independent implementations. A command that draws conclusions from a reading
by the first (`saga check`, `saga audit`) counts its records, lets the second count the same range, and fails if they
differ: a partition that one of them skips, or of which it loses records, cannot go unnoticed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from eventbus.log import Partition
from saga.kafka.cluster import Unreachable
from saga.kafka.reader import Reader, ReadFailed
from saga.kafka.records import STALLED_SECONDS, Ends, LogMoved, TopicAndPartition

POLL_SECONDS = 0.5
AT_ONCE = 10_000
BOUNDED = {"queued.max.messages.kbytes": "8192", "fetch.max.bytes": "4194304"}


class ReadingsDiffer(RuntimeError):
    """Two readings of the same range of the log did not give the same records."""


class Count:
    """The number of records of each partition, and their offsets."""

    def __init__(self) -> None:
        self._seen: dict[TopicAndPartition, tuple[int, int]] = {}

    def add(self, tp: TopicAndPartition, offset: int) -> None:
        """Count one record; those of a partition in order."""
        count, digest = self._seen.get(tp, (0, 0))
        self._seen[tp] = count + 1, hash((digest, offset))

    def differs(self, other: Count) -> list[str]:
        """Return each partition in which another count differs."""
        tps = sorted(self._seen.keys() | other._seen.keys())
        pairs = ((tp, self._seen.get(tp, (0, 0)), other._seen.get(tp, (0, 0))) for tp in tps)
        return [f"{tp[0]}/{tp[1]}: {a[0]} records, then {b[0]}" for tp, a, b in pairs if a != b]


def confirm(config: Mapping[str, Any], starts: Ends, ends: Ends, first: Count, *, whole: bool) -> None:
    """Read everything between these offsets once more. Raises ReadingsDiffer, LogMoved, Unreachable.

    `config` is the client's base configuration. With `whole` these are all partitions of their topics: records of
    another one are a difference, too (it was added meanwhile, or left out).
    """
    second = Count()
    positions = {Partition(*tp): start for tp, start in starts.items()}
    servers, extra = config["bootstrap.servers"], {**BOUNDED, **config}
    try:
        with Reader(servers, {topic for topic, _ in starts}, positions=positions, kafka_config=extra) as reader:
            _count(reader, starts, ends, second, whole=whole)
    except ReadFailed as error:
        raise LogMoved(f"the log was truncated or recreated while it was read: try again ({error})") from error
    if differing := first.differs(second):
        raise ReadingsDiffer(
            f"two readings of the log differ, so the result is unreliable: {'; '.join(differing)}. A partition was"
            " added or was not read; try again"
        )


def _count(reader: Reader, starts: Ends, ends: Ends, second: Count, *, whole: bool) -> None:
    left = {Partition(*tp): end for tp, end in ends.items() if end > starts[tp]}
    progress = time.monotonic()
    while left or (whole and not reader.at_end):
        before = reader.positions
        for message in reader.receive(POLL_SECONDS, AT_ONCE):
            tp, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            if (whole and tp not in ends) or starts.get(tp, offset + 1) <= offset < ends.get(tp, 0):
                second.add(tp, offset)
        after = reader.positions
        left = {at: end for at, end in left.items() if after.get(at, 0) < end}
        if after != before:
            progress = time.monotonic()
        elif time.monotonic() - progress > STALLED_SECONDS:
            silent = str(reader.outage) if reader.outage.active else reader.complaint
            raise Unreachable(f"{silent or 'the brokers answer, but nothing could be read'} ({left})")
