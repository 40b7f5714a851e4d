"""Dead letters: the original record, byte for byte, with its topic, partition and offset, the reason, and the time.

Only a record that is larger than Kafka's default limit is truncated: a small compressed batch can hold a record of any
size, and a dead letter that exceeds its topic's limit would block every later record indefinitely.
"""

from __future__ import annotations

from eventbus.deadletters.resolutions import origin, split_headers
from eventbus.log import Output, Record
from eventbus.serde.codec import PoisonRecord

ROOM_BYTES = 65_536
"""How much larger than its record a dead letter may be: headers with the place, the reason and the time."""
MAX_ERROR_CHARACTERS = 1_000
MAX_RECORD_BYTES = 1_048_588
"""Kafka's default `max.message.bytes`. Of a larger record the beginnings of key and value are kept, and no headers."""
KEPT_BYTES = 16_384
MAX_ADDED_BYTES = 4_000
NUMBERS = ("dlq_attempts", "dlq_first_timestamp")


def dead_letter(topic: str, group: str, record: Record, poison: PoisonRecord, now_ms: int) -> Output:
    """Return the dead letter of a record: its own key, value and headers, and `dlq_*` headers after them.

    The dead letter of a redriven record is that of the original with one more attempt, and names its last redriver.
    """
    original = origin(record)
    before = {} if original is record else _before(record)
    record = original
    provenance: dict[str, str] = {
        "dlq_topic": record.partition.topic,
        "dlq_partition": str(record.partition.number),
        "dlq_offset": str(record.offset),
        "dlq_timestamp": str(record.timestamp_ms),
        "dlq_group": group,
        "dlq_reason": poison.reason,
        "dlq_error": str(poison)[:MAX_ERROR_CHARACTERS],
        "dlq_attempts": str(int(before.get("dlq_attempts", "0")) + 1),
        "dlq_first_timestamp": before.get("dlq_first_timestamp", str(now_ms)),
        "dlq_last_timestamp": str(now_ms),
        **{name: before[name] for name in ("dlq_letter", "dlq_by", "dlq_why") if name in before},
    }
    if (size := record.size) > MAX_RECORD_BYTES:
        provenance["dlq_cut_from_bytes"] = str(size)
        record = record._replace(key=_beginning(record.key), value=_beginning(record.value), headers=[])
    headers = [*record.headers, *((name, text.encode("utf-8", "replace")) for name, text in provenance.items())]
    return Output(topic, record.key, record.value, headers)


def _before(record: Record) -> dict[str, str]:
    """Return the `dlq_*` headers of the dead letter that was redriven; no value longer than we write."""
    _, added = split_headers(record.headers)
    before = {name: content[:MAX_ADDED_BYTES].decode("utf-8", "replace") for name, content in added.items()}
    return {name: text for name, text in before.items() if name not in NUMBERS or text.isdecimal()}


def _beginning(content: bytes | None) -> bytes | None:
    return content if content is None else content[:KEPT_BYTES]
