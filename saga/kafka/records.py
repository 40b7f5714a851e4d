"""Reads records of many partitions, read_committed, each up to a given end offset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from eventbus.kafka.log import UNREADABLE
from eventbus.log import Partition
from saga.kafka.cluster import PASSING, Unreachable, refused_config
from saga.kafka.unreadable import end_of_batch

TopicAndPartition = tuple[str, int]
"""A topic and the number of one of its partitions."""
Ends = dict[TopicAndPartition, int]
"""An offset for each partition."""

STALLED_SECONDS = 30.0
"""Reading fails after this long without a record or the end of a partition."""
READER = {
    "group.id": "saga-check",  # the client requires one; it is neither joined nor written to
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    # Fetches arrive faster than they are processed and are buffered in memory: measured, 160 MB less and no slower.
    "queued.max.messages.kbytes": 4_096,
    "fetch.queue.backoff.ms": 20,
    "fetch.max.bytes": 2_097_152,
    "fetch.message.max.bytes": 262_144,
}
OFFSET_RESET = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001 - the client spells it so


class LogMoved(RuntimeError):
    """Records expired, or a topic was recreated, during the read."""


def records(
    config: Mapping[str, Any],
    starts: Ends,
    until: Ends,
    pass_by: Callable[[TopicAndPartition, range], None] | None = None,
) -> Iterator[Any]:
    """Return the client's messages, in order within each partition. Raises LogMoved, Unreachable.

    `pass_by` is called with batches that cannot be decompressed, and reading continues after them; without it, they
    raise Unreachable.
    """
    left = {tp: end for tp, end in until.items() if end > starts[tp]}
    if not left:
        return
    reading = {**config, **READER}
    with refused_config(reading):
        consumer = Consumer(reading)
    passed: dict[TopicAndPartition, int] = {}
    with closing(consumer):
        consumer.assign([TopicPartition(*tp, starts[tp]) for tp in left])
        for message in _messages(consumer, may_pass_by=pass_by is not None):
            tp = (message.topic(), message.partition())
            if tp not in left or passed.get(tp, 0) > message.offset():
                continue
            position = _position(message)
            if message.error() is None and position <= left[tp]:
                yield message
            elif pass_by is not None and position < left[tp] and _is_unreadable(message):
                position = passed[tp] = end_of_batch(config, Partition(*tp), position)
                pass_by(tp, range(message.offset(), position))
                consumer.seek(TopicPartition(*tp, position))
            if position >= left[tp]:
                del left[tp]
                consumer.pause([TopicPartition(*tp)])
            if not left:
                return


def _messages(consumer: Consumer, *, may_pass_by: bool) -> Iterator[Any]:
    """Yield records, ends of partitions and, if they may be skipped, unreadable batches; without end."""
    progress = time.monotonic()
    while True:
        # consume(n, t) would wait all of t for n records.
        batch = consumer.consume(1_000, 0) or [message for message in [consumer.poll(0.5)] if message is not None]
        for message in batch:
            if (may_pass_by and _is_unreadable(message)) or _is_progress(message):
                progress = time.monotonic()
                yield message
        if time.monotonic() - progress > STALLED_SECONDS:
            raise Unreachable(f"the brokers answer, but nothing could be read for {STALLED_SECONDS:.0f} s")


def _is_progress(message: Any) -> bool:
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client spells it so
        return True
    where = f"{message.topic()}/{message.partition()}"
    if error.code() in OFFSET_RESET:
        raise LogMoved(f"{where} was truncated or recreated while it was read: try again ({error.str()})")
    if error.code() not in PASSING:
        raise Unreachable(f"{where} cannot be read at offset {message.offset()}: {error.str()}")
    return False


def _is_unreadable(message: Any) -> bool:
    error = message.error()
    return error is not None and error.code() in UNREADABLE


def _position(message: Any) -> int:
    """Return the next offset to read of this partition after this record, or at its end."""
    offset: int = message.offset()
    return offset + 1 if message.error() is None else offset
