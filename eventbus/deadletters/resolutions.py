"""Resolutions: what operators decided about dead letters, one record each, on a topic of the group that wrote them.

The record is both the instruction and its audit record, so that neither exists without the other. The service consumes
the topic like its other inputs: a `redrive` contains the original, byte for byte, which passes the same checks and
handlers as the first time; the other actions record what was discarded or skipped, and have no effect.
See docs/decisions/0010-resolutions-of-dead-letters.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from eventbus.log import RESOLUTIONS, Headers, Output, Partition, Record
from eventbus.serde.codec import PoisonRecord
from eventbus.text.quoted import quoted

REDRIVE, DISCARD, SKIP = "redrive", "discard", "skip"
WITHOUT_RECORD = {DISCARD.encode(), SKIP.encode()}
FIRST_HEADER = "dlq_topic"
"""The first of the headers that are added to a record."""
BY_CHARACTERS, WHY_CHARACTERS = 200, 1_000
"""The maximum lengths; a dead letter has room for them."""


class AuditNote(NamedTuple):
    """The operator who decided, why, and when (milliseconds since 1970)."""

    by: str
    why: str
    at_ms: int


def split_headers(headers: Headers) -> tuple[Headers, dict[str, bytes]]:
    """Return a record's own headers, and those that were added when it was dead-lettered and resolved."""
    names = [name for name, _ in headers]
    if FIRST_HEADER not in names:
        return headers, {}
    at = len(names) - 1 - names[::-1].index(FIRST_HEADER)
    return headers[:at], {name: content or b"" for name, content in headers[at:]}


def resolution(topic: str, letter: Record, action: str, statement: AuditNote) -> Output:
    """Return the resolution of a dead letter: the letter itself for a redrive, otherwise all of it but its value."""
    own, added = split_headers(letter.headers)
    added |= _audit_headers(action, statement) | {"dlq_letter": letter.address.encode()}
    return Output(topic, letter.key, letter.value if action == REDRIVE else None, [*own, *added.items()])


def skipping(group: str, partition: Partition, offsets: tuple[int, int], statement: AuditNote) -> Output:
    """Return the resolution that skips offsets that cannot be read: the first one, and the next one to read."""
    first, next_offset = offsets
    place = {
        FIRST_HEADER: partition.topic.encode(),
        "dlq_partition": b"%d" % partition.number,
        "dlq_offset": b"%d" % first,
        "dlq_skipped_to": b"%d" % next_offset,
        "dlq_group": group.encode(),
    }
    return Output(f"{group}{RESOLUTIONS}", None, None, [*place.items(), *_audit_headers(SKIP, statement).items()])


def _audit_headers(action: str, statement: AuditNote) -> dict[str, bytes]:
    by, why, at_ms = statement
    added = {"dlq_action": action, "dlq_by": by, "dlq_why": why, "dlq_resolved_timestamp": str(at_ms)}
    return {name: text.encode("utf-8", "replace") for name, text in added.items()}


def original_record(record: Record, topics: Collection[str] | None = None) -> Record | None:
    """Return the original record that a resolution redrives, as it was in its topic; None if it redrives nothing.

    Raises PoisonRecord if the record is not a valid resolution, and if the original's topic is not one of `topics`.
    """
    own, added = split_headers(record.headers)
    action = added.get("dlq_action", b"")
    if action in WITHOUT_RECORD:
        return None
    try:
        partition = Partition(added[FIRST_HEADER].decode(), int(added["dlq_partition"]))
        offset, timestamp_ms = int(added["dlq_offset"]), int(added["dlq_timestamp"])
    except (KeyError, ValueError) as error:
        raise PoisonRecord("not_a_resolution", f"a header is missing or wrong: {error}") from error
    if action != REDRIVE.encode():
        raise PoisonRecord("not_a_resolution", f"dlq_action is {quoted(action)}")
    if topics is not None and partition.topic not in topics:
        raise PoisonRecord("unknown_topic", f"{partition.topic[:80]!r} is not an input topic of this service")
    return Record(partition, offset, record.key, record.value, timestamp_ms, own)


def origin(record: Record) -> Record:
    """Return the original record of a redrive, and every other record itself."""
    if not record.partition.topic.endswith(RESOLUTIONS):
        return record
    try:
        return original_record(record) or record
    except PoisonRecord:
        return record
