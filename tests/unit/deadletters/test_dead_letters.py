"""A dead letter is the record as it was, and says where it came from; it always fits its topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.deadletters.letter import MAX_RECORD_BYTES, ROOM_BYTES, dead_letter
from eventbus.log import Headers, Output, Partition, Record
from eventbus.serde.codec import PoisonRecord
from saga.kafka.topics_file import read_topics

POISON = PoisonRecord("malformed", "not an order: \ud800")
ORDINARY = [("traceparent", b"00-"), ("empty", b"")]


def letter(key: bytes | None, value: bytes | None, headers: Headers) -> Output:
    record = Record(Partition("order.created", 3), 42, key, value, 1_700_000_000_000, headers)
    return dead_letter("payment-service.dead-letters", "payment-service", record, POISON, 1_700_000_000_500)


def size(output: Output) -> int:
    return (
        len(output.key or b"") + len(output.value or b"") + sum(len(n) + len(v or b"") + 10 for n, v in output.headers)
    )


@given(key=st.none() | st.binary(), value=st.none() | st.binary())
def test_a_dead_letter_is_the_record_byte_for_byte_and_its_provenance_follows(
    key: bytes | None, value: bytes | None
) -> None:
    """Key, value and headers stay as they are."""
    output = letter(key, value, ORDINARY)
    assert (output.key, output.value, output.headers[:2]) == (key, value, ORDINARY)
    said = dict(output.headers[2:])
    assert (said["dlq_topic"], said["dlq_partition"], said["dlq_offset"]) == (b"order.created", b"3", b"42")
    assert (said["dlq_reason"], said["dlq_group"]) == (b"malformed", b"payment-service")
    assert "dlq_cut_from_bytes" not in said


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k", b"\0" * 60_000_000, ORDINARY),
        (b"k" * 2_000_000, b"v", ORDINARY),
        (None, b"v", [("h", b"\0" * 2_000_000)]),
        (None, None, [("h", None)] * 200_000),
    ],
    ids=["value", "key", "header", "headers"],
)
def test_what_no_topic_takes_is_cut_and_says_so(key: bytes | None, value: bytes | None, headers: Headers) -> None:
    """Compressed, a small batch holds a record of any size; a dead letter that does not fit would wait forever."""
    output = letter(key, value, headers)
    [limit] = {int(t.config["max.message.bytes"]) for t in read_topics() if t.kind == "dead_letters"}
    assert size(output) < limit
    assert int(dict(output.headers)["dlq_cut_from_bytes"]) > MAX_RECORD_BYTES
    assert dict(output.headers)["dlq_offset"] == b"42"


def test_the_largest_record_that_is_kept_whole_fits_with_its_provenance() -> None:
    """And with the longest of errors."""
    value = b"\0" * MAX_RECORD_BYTES
    output = letter(None, value, [])
    assert output.value == value
    assert size(output) < MAX_RECORD_BYTES + ROOM_BYTES
