"""Dead letters and their resolutions on the topics of a group."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from eventbus.deadletters.resolutions import DISCARD, REDRIVE, SKIP, split_headers
from eventbus.kafka.config import Connection
from eventbus.log import DEAD_LETTERS, RESOLUTIONS, Headers, Partition, Record, to_iso
from saga.kafka.cluster import Unreachable
from saga.kafka.event_topics import EventTopics
from saga.kafka.reader import NoSuchTopic, record_of
from saga.kafka.records import records
from saga.kafka.target import KafkaTarget
from saga.kafka.unreadable import KafkaProbe, Probe

ADDRESS = re.compile(r"(?P<group>.+)\.dead-letters/(?P<partition>\d+)/(?P<offset>\d+)")
OPEN = "open"
UNDECIDED_SECONDS = 30.0
"""How long to wait for an open transaction: the broker ends that of a dead worker within 14 s."""
AGAIN_SECONDS = 0.1
STATUS = {REDRIVE: "redriven", DISCARD: "discarded"}


class NotAnAddress(ValueError):
    """The text is not the address of a dead letter: GROUP.dead-letters/PARTITION/OFFSET."""


@dataclass(frozen=True, slots=True)
class LetterTarget(KafkaTarget):
    """The cluster whose dead letters are read and resolved."""

    def connection(self, group: str, name: str) -> Connection:
        """Return a connection that writes on behalf of a group, under this name."""
        logger = logging.getLogger(f"rdkafka.{group}.{name}")
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        return Connection(self.bootstrap_servers, group, name, extra=dict(self.kafka_config), logger=logger)

    def now_ms(self) -> int:
        """Return the current time there, in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def await_decisions(self, topic: str) -> None:
        """Wait until everything written to a topic by now is committed or aborted, so that it can be read.

        Raises NoSuchTopic, Unreachable.
        """
        tps = self._tps(topic)
        written = tps.written()
        until = time.monotonic() + UNDECIDED_SECONDS
        while any(end < written[tp] for tp, end in tps.ends().items()):
            if time.monotonic() > until:
                raise Unreachable(f"a transaction on {topic} was still open after {UNDECIDED_SECONDS:.0f} s")
            time.sleep(AGAIN_SECONDS)

    def probe(self, partition: Partition) -> Probe:
        """Return a probe for single offsets of a partition; the caller closes it."""
        return KafkaProbe(self.client_config(), partition)

    def records(self, topic: str) -> Iterator[Record]:
        """Return the committed records of a topic up to its present end; the partitions in any order.

        Raises NoSuchTopic, Unreachable, LogMoved.
        """
        tps = self._tps(topic)
        config = self.client_config()
        yield from map(record_of, records(config, tps.starts(), tps.ends()))

    def _tps(self, topic: str) -> EventTopics:
        cluster = self.cluster()
        if topic not in cluster.partitions():
            makes = "`saga topics create` creates those of the saga's services; is the group's name right?"
            raise NoSuchTopic(cluster.denied([topic]) or f"the topic {topic!r} does not exist; {makes}")
        return EventTopics(cluster, [topic])


@dataclass(frozen=True, slots=True)
class Resolution:
    """An operator's decision about a dead letter. `at` is RFC 3339, in UTC."""

    status: str
    by: str
    why: str
    at: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: the record on the dead-letter topic, its original headers, and the added ones."""

    record: Record
    own: Headers
    said: dict[str, str]

    @property
    def address(self) -> str:
        """Its address, by which the commands name it."""
        return self.record.address

    @property
    def original(self) -> str:
        """The record's original address."""
        return "/".join(self.said.get(name, "?") for name in ("dlq_topic", "dlq_partition", "dlq_offset"))

    @property
    def is_cut(self) -> bool:
        """Whether the record was too large and was truncated: it cannot be restored."""
        return "dlq_cut_from_bytes" in self.said

    def described(self, resolution: Resolution | None) -> dict[str, Any]:
        """Return the fields for output; always the same keys."""
        key = self.record.key
        return {
            "letter": self.address,
            "status": resolution.status if resolution else OPEN,
            "record": self.original,
            "key": None if key is None else key.decode("utf-8", "backslashreplace"),
            "reason": self.said.get("dlq_reason", ""),
            "error": self.said.get("dlq_error", ""),
            "attempts": _number(self.said.get("dlq_attempts", "1")),
            "written": _moment(self.said.get("dlq_timestamp")),
            "first": _moment(self.said.get("dlq_first_timestamp")),
            "last": _moment(self.said.get("dlq_last_timestamp")),
            "resolved": resolution.at if resolution else None,
            "by": resolution.by if resolution else None,
            "why": resolution.why if resolution else None,
        }


def group_of(address: str) -> str:
    """Return the group of a dead letter. Raises NotAnAddress."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise NotAnAddress(f"{address!r} is not a dead letter's address: give GROUP.dead-letters/PARTITION/OFFSET")
    return match["group"]


def groups(where: LetterTarget) -> list[str]:
    """Return every group that has a dead-letter topic."""
    return sorted(
        name.removesuffix(DEAD_LETTERS) for name in where.cluster().partitions() if name.endswith(DEAD_LETTERS)
    )


def letters_of(where: LetterTarget, group: str) -> Iterator[Letter]:
    """Return the dead letters of a group; those of one key in order."""
    for record in where.records(group + DEAD_LETTERS):
        own, said = split_headers(record.headers)
        yield Letter(record, own, {name: content.decode("utf-8", "replace") for name, content in said.items()})


def open_letters(where: LetterTarget, group: str) -> Iterator[Letter]:
    """Return the dead letters without a resolution."""
    resolved = resolutions_of(where, group)
    return (letter for letter in letters_of(where, group) if letter.address not in resolved)


def resolutions_of(where: LetterTarget, group: str) -> dict[str, Resolution]:
    """Return the resolutions, by the dead letter's address."""
    found = {}
    for record in where.records(group + RESOLUTIONS):
        said = _said(record)
        status = STATUS.get(said.get("dlq_action", ""))
        if status is not None and "dlq_letter" in said:
            at = _moment(said.get("dlq_resolved_timestamp")) or ""
            found[said["dlq_letter"]] = Resolution(status, said.get("dlq_by", ""), said.get("dlq_why", ""), at)
    return found


def _said(record: Record) -> dict[str, str]:
    """Return what was added to a record's headers, as text."""
    return {name: content.decode("utf-8", "replace") for name, content in split_headers(record.headers)[1].items()}


class Skipped(NamedTuple):
    """A batch that a service could not decompress, and was told to skip."""

    place: str
    """TOPIC/PARTITION."""
    first: str
    """Its first offset."""
    skipped_to: str
    """The offset after it."""


def skips_of(where: LetterTarget, group: str) -> Iterator[Skipped]:
    """Yield the batches that this group skipped, as the log has them."""
    for record in where.records(group + RESOLUTIONS):
        said = _said(record)
        if said.get("dlq_action") == SKIP:
            yield Skipped(f"{said['dlq_topic']}/{said['dlq_partition']}", said["dlq_offset"], said["dlq_skipped_to"])


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 1


def _moment(text: str | None) -> str | None:
    return to_iso(int(text)) if text and text.isascii() and text.isdecimal() else text
