"""The last line of an export: the selection, the offsets it covers, and the expected counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from eventbus.text.json_form import to_json
from saga.audit.history import AuditSelection
from saga.audit.lines import FORMAT, SUMMARY, NotAnExport
from saga.check.facts import Address
from saga.kafka.records import Ends, TopicAndPartition


class AuditTally:
    """Counts the records of each partition, and computes the SHA-256 of their bodies, each with a newline."""

    def __init__(self) -> None:
        self._counts: dict[TopicAndPartition, int] = {}
        self._digests: dict[TopicAndPartition, Any] = {}

    def add(self, address: Address, body: str) -> None:
        """Add one record."""
        tp = (address.topic, address.partition)
        self._counts[tp] = self._counts.get(tp, 0) + 1
        self._digests.setdefault(tp, sha256()).update(body.encode() + b"\n")

    def of(self, tp: TopicAndPartition) -> tuple[int, str]:
        """Return count and digest of a partition."""
        return self._counts.get(tp, 0), self._digests.get(tp, sha256()).hexdigest()

    @property
    def tps(self) -> set[TopicAndPartition]:
        """The partitions that have records."""
        return set(self._counts)


@dataclass(frozen=True)
class Summary:
    """The content of the last line. `exported_at` is RFC 3339."""

    cluster: str
    exported_at: str
    selection: AuditSelection
    starts: Ends
    ends: Ends
    records: Mapping[TopicAndPartition, tuple[int, str]] = field(default_factory=dict)
    """Count and digest of each partition."""

    @property
    def count(self) -> int:
        """The expected number of records."""
        return sum(count for count, _ in self.records.values())

    def body(self) -> str:
        """Return the body of the line."""
        partitions = [
            {
                "topic": topic,
                "partition": number,
                "start": self.starts[topic, number],
                "end": self.ends[topic, number],
                **dict(zip(("records", "sha256"), self.records[topic, number], strict=True)),
            }
            for topic, number in sorted(self.ends)
        ]
        told = {
            "format": FORMAT,
            "cluster": self.cluster,
            "exported_at": self.exported_at,
            **asdict(self.selection),
            "records": self.count,
            "partitions": partitions,
        }
        return to_json({SUMMARY: told})

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Summary:
        """Read the content of the line. Raises NotAnExport if it is of another version or not a last line."""
        told = content.get(SUMMARY)
        if not isinstance(told, dict):
            raise NotAnExport(f"its last line has no {SUMMARY!r}")
        if told.get("format") != FORMAT:
            raise NotAnExport(f"it has the format {told.get('format')!r}; this version reads format {FORMAT}")
        try:
            partitions = {(each["topic"], each["partition"]): each for each in told["partitions"]}
            return cls(
                told["cluster"],
                told["exported_at"],
                AuditSelection(told["since"], told["until"], told["order_id"]),
                {tp: int(each["start"]) for tp, each in partitions.items()},
                {tp: int(each["end"]) for tp, each in partitions.items()},
                {tp: (int(each["records"]), each["sha256"]) for tp, each in partitions.items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise NotAnExport(f"its last line is damaged: {type(error).__name__}: {error}") from error
