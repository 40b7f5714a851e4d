"""`saga tail` shows every byte of a record, whatever it is."""

from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from eventbus.log import Partition, Record, to_iso
from eventbus.serde.registry import registry_at
from eventbus.text.json_form import to_json
from saga.kafka.decode import Decoder
from saga.kafka.describe import describe
from schemas import EVENTS

DECODER = Decoder(registry_at(None, EVENTS))
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=5)


def record(key=b"o-1", value=b"", headers=(), timestamp_ms=0) -> Record:
    return Record(Partition("order.created", 3), 17, key, value, timestamp_ms, list(headers))


@given(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=20), HEADERS)
def test_any_record_becomes_one_line_of_json_from_which_its_value_can_be_had_back(key, value, headers):
    """An undecodable value is there in base64, with an error; a null one is null, with an error."""
    line = to_json(describe(record(key, value, headers), DECODER))
    assert "\n" not in line
    shown = json.loads(line)
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("order.created", 3, 17)
    assert shown["value"] is None
    assert shown["error"]
    if value is not None:
        assert base64.b64decode(shown["value_base64"]) == value
    assert set(shown["headers"]) == {name for name, _ in headers}


def test_text_is_shown_as_text_and_other_bytes_as_base64():
    """Of keys and of headers; a header that stands twice is a list."""
    shown = describe(record("ö".encode(), None, [("a", b"1"), ("b", b"\xff"), ("a", b"2")]), DECODER)
    assert shown["key"] == "ö"
    assert shown["headers"] == {"a": ["1", "2"], "b": "base64:/w=="}
    assert describe(record(b"\xff"), DECODER)["key"] == "base64:/w=="


def test_a_timestamp_is_rfc_3339_in_utc_with_milliseconds():
    """One that no calendar has, which a broken producer can write, is shown as the number it is."""
    assert to_iso(1_763_878_472_007) == "2025-11-23T06:14:32.007Z"
    assert to_iso(2**62) == str(2**62)
    assert to_iso(-1) == "1969-12-31T23:59:59.999Z"
