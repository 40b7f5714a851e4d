"""A second reading of the log by another reader, to hold the first one against.

`check.records` and `reader.Reader` are written apart from each other. Whoever concludes something from a reading by the
first (`saga check`, `saga audit`) counts what came, has the second count the same range, and concludes nothing where
they differ: a partition that one of them skips, or of which it loses records, cannot go unnoticed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from eventbus.log import Partition
from saga.kafka.cluster import Unreachable
from saga.kafka.reader import Reader, ReadFailed
from saga.kafka.records import STALLED_SECONDS, Ends, Lane, LogMoved

POLL_SECONDS = 0.5
AT_ONCE = 10_000
BOUNDED = {"queued.max.messages.kbytes": "8192", "fetch.max.bytes": "4194304"}


class ReadingsDiffer(RuntimeError):
    """Two readings of the same range of the log did not give the same records."""


class Count:
    """How many records came of each partition, and at which offsets."""

    def __init__(self) -> None:
        self._seen: dict[Lane, tuple[int, int]] = {}

    def add(self, lane: Lane, offset: int) -> None:
        """Take note of one record; those of a partition in order."""
        count, digest = self._seen.get(lane, (0, 0))
        self._seen[lane] = count + 1, hash((digest, offset))

    def differs(self, other: Count) -> list[str]:
        """Return each partition in which another count is not the same."""
        lanes = sorted(self._seen.keys() | other._seen.keys())
        pairs = ((lane, self._seen.get(lane, (0, 0)), other._seen.get(lane, (0, 0))) for lane in lanes)
        return [f"{lane[0]}/{lane[1]}: {a[0]} records, then {b[0]}" for lane, a, b in pairs if a != b]


def confirm(config: Mapping[str, Any], starts: Ends, ends: Ends, first: Count, *, whole: bool) -> None:
    """Read everything between these offsets once more. Raises ReadingsDiffer, LogMoved, Unreachable.

    `config` is what a client starts from. With `whole` these are all partitions of their topics: records of another one
    are a difference, too (it was added meanwhile, or left out).
    """
    second = Count()
    positions = {Partition(*lane): start for lane, start in starts.items()}
    servers, extra = config["bootstrap.servers"], {**BOUNDED, **config}
    try:
        with Reader(servers, {topic for topic, _ in starts}, positions=positions, kafka_config=extra) as reader:
            _count(reader, starts, ends, second, whole=whole)
    except ReadFailed as error:
        raise LogMoved(f"it was cut while it was read: try again ({error})") from error
    if differing := first.differs(second):
        raise ReadingsDiffer(
            f"two readings of the log differ, so nothing is concluded from it: {'; '.join(differing)}. A partition was"
            " added or was not read; try again"
        )


def _count(reader: Reader, starts: Ends, ends: Ends, second: Count, *, whole: bool) -> None:
    left = {Partition(*lane): end for lane, end in ends.items() if end > starts[lane]}
    heard = time.monotonic()
    while left or (whole and not reader.at_end):
        before = reader.positions
        for message in reader.receive(POLL_SECONDS, AT_ONCE):
            lane, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            if (whole and lane not in ends) or starts.get(lane, offset + 1) <= offset < ends.get(lane, 0):
                second.add(lane, offset)
        after = reader.positions
        left = {at: end for at, end in left.items() if after.get(at, 0) < end}
        if after != before:
            heard = time.monotonic()
        elif time.monotonic() - heard > STALLED_SECONDS:
            raise Unreachable(f"{reader.complaint or 'the brokers were heard of, but nothing could be read'} ({left})")
