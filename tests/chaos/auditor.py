"""The auditor: reads every topic read_committed while the saga runs, and again when it is over. Both must agree."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from types import TracebackType
from typing import Self

from eventbus.log import Partition, Record
from saga.kafka.reader import Reader
from saga.kafka.topics_file import read_topics

WAIT_SECONDS = 0.2
LATE_SECONDS = 30.0
"""So long after the second reading the first may still be on its way to the end."""


class View:
    """What a reader saw: of each partition the offsets, and a digest of each record's key, value, headers and time."""

    def __init__(self) -> None:
        self.partitions: dict[Partition, tuple[array[int], array[int]]] = {}
        self.count = 0

    def add(self, records: Iterable[Record]) -> None:
        """Take in what was read."""
        for record in records:
            offsets, digests = self.partitions.setdefault(record.partition, (array("q"), array("Q")))
            offsets.append(record.offset)
            digests.append(_digest(record))
            self.count += 1


def differences(live: View, final: View) -> Iterator[str]:
    """Return the first difference of every partition that two readers did not see alike."""
    for partition in sorted({*live.partitions, *final.partitions}):
        nothing = (array("q"), array("Q"))
        one = list(zip(*live.partitions.get(partition, nothing), strict=True))
        other = list(zip(*final.partitions.get(partition, nothing), strict=True))
        if one != other:
            alike = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
            at = min(len(one), len(other)) if alike is None else alike
            yield f"{partition}: record {at} was {_shown(one, at)} while the saga ran, and is {_shown(other, at)} now"


def _shown(view: list[tuple[int, int]], at: int) -> str:
    return f"offset {view[at][0]}, digest {view[at][1]:016x}" if at < len(view) else "beyond the end"


class Auditor:
    """A context manager: inside, a thread reads all topics from the beginning. It joins no group."""

    def __init__(self, bootstrap_servers: str, kafka_config: Mapping[str, str]) -> None:
        self.live = View()
        self.heard_at = time.monotonic()
        self.trouble: list[str] = []
        self._servers, self._config = bootstrap_servers, kafka_config
        # Not what Kafka compacts: a record read while the saga ran may be gone at the end, and no event is.
        self._topics = [topic.name for topic in read_topics() if topic.kind not in ("declarations", "progress")]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def read_again(self) -> View:
        """Read everything from the beginning to the end; then wait for the live view, as long as it is behind."""
        final = View()
        with self._reader() as reader:
            while not reader.at_end:
                final.add(reader.read(WAIT_SECONDS))
        until = time.monotonic() + LATE_SECONDS
        while self.live.count < final.count and time.monotonic() < until and not self.trouble:
            time.sleep(WAIT_SECONDS)
        return final

    def _reader(self) -> Reader:
        return Reader(self._servers, self._topics, kafka_config=self._config)

    def _read(self) -> None:
        try:
            with self._reader() as reader:
                while not self._over.is_set():
                    if records := reader.read(WAIT_SECONDS):
                        self.live.add(records)
                        self.heard_at = time.monotonic()
        except Exception as error:  # noqa: BLE001 - reported, and the run fails
            self.trouble.append(f"the auditor stopped reading: {type(error).__name__}: {error}")


def _digest(record: Record) -> int:
    content = repr((record.key, record.value, record.headers, record.timestamp_ms)).encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
