"""deploy/topics.yaml: the topics that the flow needs."""

from __future__ import annotations

from collections.abc import Iterable

from eventbus.deadletters.letter import MAX_RECORD_BYTES
from eventbus.kafka.config import LARGEST_DEAD_LETTER
from eventbus.worker.announcement import TOPIC
from saga.flow.model import Flow

PROGRESS_CONFIG = {
    "cleanup.policy": "compact",
    "delete.retention.ms": 60_000,
    "min.cleanable.dirty.ratio": 0.1,
    "segment.bytes": 1_048_576,
}
"""`segment.bytes`: the minimum of Kafka 4. `delete.retention.ms`: by default transaction markers are kept for a day."""

HEAD = """\
# The topics that `saga topics create` creates; written by `saga flow --format topics`. A topic is named after its
# event; the number of partitions and the replication factor are options of the command. All event topics have the same
# number of partitions, so that an order is in the same partition number of each. Dead-letter topics accept the largest
# input record (1 MiB) and 64 KiB more for where, why and when; so do the topics of their resolutions, which record
# operators' decisions; these always have one partition, so that workers share the topics with work on them evenly. The
# progress topics store how far each service has published, independently of its group's offsets: compacted, in small
# segments, because a worker reads all of it when it starts. Workers publish their declarations to the declarations
# topic; nothing depends on it.
# retention.ms -1 keeps records indefinitely: Kafka's default of seven days would delete the evidence of `saga audit`,
# `saga check` and `saga track --rebuild`. To delete records after a time, export them first, then set it to that time.
"""


def as_topics(flow: Flow) -> str:
    """Return the file: a topic per event, causes first; three per service; the declarations topic."""
    return HEAD + "\n".join(
        [
            *_list("events", flow.events),
            *_list("dead_letters", (service.dead_letters for service in flow.services)),
            *_list("resolutions", (service.resolutions for service in flow.services)),
            *_list("progress", (service.progress for service in flow.services)),
            *_list("declarations", [TOPIC]),
            "partitions:",
            "  resolutions: 1",
            "  progress: 1",
            "config:",
            "  events:",
            f'    max.message.bytes: "{MAX_RECORD_BYTES}"',
            '    retention.ms: "-1"',
            "  dead_letters:",
            f'    max.message.bytes: "{LARGEST_DEAD_LETTER}"',
            '    retention.ms: "-1"',
            "  resolutions:",
            f'    max.message.bytes: "{LARGEST_DEAD_LETTER}"',
            '    retention.ms: "-1"',
            "  progress:",
            *(f'    {name}: "{value}"' for name, value in PROGRESS_CONFIG.items()),
            "  declarations:",
            "    cleanup.policy: compact",
            "",
        ]
    )


def _list(kind: str, topics: Iterable[str]) -> list[str]:
    return [f"{kind}:", *(f"  - {topic}" for topic in topics)]
