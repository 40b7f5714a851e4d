"""The topic `<group>.progress`: how far each partition is published, where no command about consumer groups reaches.

Compacted, one partition. A record a partition of the service's inputs, written in the same transaction as the group's
offsets. Key: `topic/partition`, UTF-8. Value: JSON with the keys `next_offset` (the offset that is read next),
`outbox_seq` (the number of the last outbox entry that is published), `database` (the id of the database that it was
made from, table incarnation) and `topic_id` (of the input topic, as Kafka names it).
"""

from __future__ import annotations

import json

from eventbus.log import CommittedOffset, Partition


def encode(partition: Partition, cursor: CommittedOffset) -> tuple[bytes, bytes]:
    """Return key and value of the record about a partition."""
    value = {
        "next_offset": cursor.offset,
        "outbox_seq": cursor.outbox_seq,
        "database": cursor.database,
        "topic_id": cursor.topic_id,
    }
    return str(partition).encode(), json.dumps(value).encode()


def decode(key: bytes | None, value: bytes | None) -> tuple[Partition, CommittedOffset] | None:
    """Return which partition a record is about and what it says; None where it is none of ours."""
    try:
        topic, _, number = (key or b"").decode().rpartition("/")
        said = json.loads(value or b"")
        cursor = CommittedOffset(said["next_offset"], said["outbox_seq"], said["database"], said["topic_id"])
        partition = Partition(topic, int(number))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    numbers = all(type(each) is int and each >= 0 for each in (partition.number, *cursor[:2]))
    texts = all(type(each) is str and each for each in (topic, *cursor[2:]))
    return (partition, cursor) if numbers and texts else None
