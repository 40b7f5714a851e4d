"""The topic `<group>.progress`: how far each partition is published, beyond the reach of commands on consumer groups.

Compacted, one partition. One record for each input partition of the service, written in the same transaction as the
group's offsets. Key: `topic/partition`, UTF-8. Value: JSON with the keys `next_offset` (the offset that is read next),
`outbox_seq` (the number of the last outbox entry that is published), `database` (the id of the database that it was
written from, table incarnation) and `topic_id` (of the input topic, as Kafka names it).
"""

from __future__ import annotations

import json

from eventbus.log import CommittedOffset, Partition


def encode(partition: Partition, committed: CommittedOffset) -> tuple[bytes, bytes]:
    """Return key and value of the record about a partition."""
    value = {
        "next_offset": committed.offset,
        "outbox_seq": committed.outbox_seq,
        "database": committed.database,
        "topic_id": committed.topic_id,
    }
    return str(partition).encode(), json.dumps(value).encode()


def decode(key: bytes | None, value: bytes | None) -> tuple[Partition, CommittedOffset] | None:
    """Return the partition and committed offset of a record; None if it is not a progress record."""
    try:
        topic, _, number = (key or b"").decode().rpartition("/")
        found = json.loads(value or b"")
        committed = CommittedOffset(found["next_offset"], found["outbox_seq"], found["database"], found["topic_id"])
        partition = Partition(topic, int(number))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    numbers = all(type(each) is int and each >= 0 for each in (partition.number, *committed[:2]))
    texts = all(type(each) is str and each for each in (topic, *committed[2:]))
    return (partition, committed) if numbers and texts else None
