"""Dead letters: the record as it was, byte for byte, with where it came from, why it is here, and when."""

from __future__ import annotations

from eventbus.codec import PoisonRecord
from eventbus.log import Output, Record

ROOM_BYTES = 65_536
"""A dead letter may be so much larger than the record in it: headers that say where, why and when."""
MAX_ERROR_CHARACTERS = 1_000


def dead_letter(topic: str, group: str, record: Record, poison: PoisonRecord) -> Output:
    """Return the dead letter of a record: its own key, value and headers, and `dlq_*` headers after them."""
    provenance = {
        "dlq_topic": record.partition.topic,
        "dlq_partition": str(record.partition.number),
        "dlq_offset": str(record.offset),
        "dlq_timestamp": str(record.timestamp_ms),
        "dlq_group": group,
        "dlq_reason": poison.reason,
        "dlq_error": str(poison)[:MAX_ERROR_CHARACTERS],
    }
    headers = [*record.headers, *((name, text.encode("utf-8", "replace")) for name, text in provenance.items())]
    return Output(topic, record.key, record.value, headers)
