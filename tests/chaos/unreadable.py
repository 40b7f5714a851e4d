"""Batches that nobody can decompress, written among the orders; and that services are let past them, on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from types import MappingProxyType
from typing import Any

from confluent_kafka import Producer

from eventbus.database import ConcurrentUpdate, Unavailable, connect
from eventbus.deadletters.resolutions import AuditNote
from eventbus.log import Partition
from eventbus.store import progress
from saga.deadletters.laws import skip_laws
from saga.deadletters.letters import LetterTarget
from saga.deadletters.skip import NothingToSkip, skip
from saga.kafka.cluster import Unreachable, client_config
from tests.chaos.poison import DELIVERY_SECONDS, GROUPS, SETTLE_SECONDS, TOPICS, WAIT_SECONDS

RECORDS = 70
RECORD_BYTES = 900_000
"""Together more than librdkafka decompresses at once; a few kB on the broker."""
LINGER_MS = 2 * 60_000
"""Nothing is sent before `flush`, which waits for no company: of records that were sent as they came, on a busy machine
some went ahead in a batch of their own, and both batches could be read."""
WAITING = (NothingToSkip, ConcurrentUpdate, Unavailable, Unreachable)
"""The service has not come so far, is not there, or moves on: it is tried again."""


def write_unreadable(config: Mapping[str, Any], partition: Partition) -> range:
    """Write one batch that librdkafka cannot decompress, and return its offsets. Raises TimeoutError."""
    large = {"compression.type": "zstd", "batch.size": 100_000_000, "message.max.bytes": 100_000_000}
    producer = Producer({**config, **large, "linger.ms": LINGER_MS, "enable.idempotence": True})
    offsets: list[int] = []

    def delivered(error: object, message: Any) -> None:
        if error is None:
            offsets.append(message.offset())

    produce: Any = producer.produce
    for _ in range(RECORDS):
        produce(partition.topic, b"\0" * RECORD_BYTES, b"bomb", partition.number, on_delivery=delivered)
    if producer.flush(DELIVERY_SECONDS) or len(offsets) != RECORDS:
        raise TimeoutError(f"a batch could not be written to {partition} within {DELIVERY_SECONDS:.0f} s")
    return range(min(offsets), max(offsets) + 1)


class Unreadable:
    """What was written, and who is to be let past it."""

    def __init__(
        self,
        bootstrap_servers: str,
        kafka_config: Mapping[str, str],
        url: Callable[[str], str],
        opening: Mapping[str, AbstractContextManager[object]] = MappingProxyType({}),
    ) -> None:
        """`url`: the database of a service; what is in `opening` is held while it is used."""
        self.written: list[tuple[Partition, range]] = []
        self._where, self._url, self._opening = LetterTarget(bootstrap_servers, dict(kafka_config)), url, opening

    def write(self, partition: Partition) -> range:
        """Write one batch that nobody can decompress, and return its offsets. Raises TimeoutError."""
        batch = write_unreadable(client_config(self._where.bootstrap_servers, self._where.kafka_config), partition)
        self.written.append((partition, batch))
        return batch

    def let_past(self, partition: Partition, batch: range) -> None:
        """Let every service that reads the topic go past it, as soon as it has come to it. Raises TimeoutError."""
        until = time.monotonic() + SETTLE_SECONDS + DELIVERY_SECONDS
        waiting = [group for group in GROUPS if partition.topic in TOPICS[group]]
        while waiting := [group for group in waiting if not self._is_past(group, partition, batch)]:
            if time.monotonic() > until:
                raise TimeoutError(f"{', '.join(waiting)} did not come past {partition}/{batch.start}")
            time.sleep(WAIT_SECONDS)

    def _is_past(self, group: str, partition: Partition, batch: range) -> bool:
        """Return whether a service is past a batch; let it, if it has come to it."""
        statement = AuditNote("make chaos", "a test", time.time_ns() // 1_000_000)
        connected = closing(connect(self._url(group), service=group, schema=None))
        with suppress(*WAITING), self._opening.get(group, nullcontext()), connected as database:
            with database.snapshot() as tx:
                reached = progress.checkpoints(tx, [partition]).get(partition)
            if reached is not None and reached.next_offset >= batch.stop:
                return True
            skip(self._where, database, group, (partition, batch.start), statement)
        return False

    def failures(self) -> Iterator[str]:
        """Return which batches were not passed by once and on record, in the end."""
        for group in GROUPS:
            batches = [each for each in self.written if each[0].topic in TOPICS[group]]
            yield from (f"{group}: {law}: {how}" for law, how in skip_laws(self._where, group, batches))
