"""What is stored of outputs and parked records is read as it was given, and as earlier releases have written it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.log import Output
from eventbus.store.packing import pack, pack_record, unpack, unpack_record

CONTENT = st.none() | st.binary()
NAMES = st.text() | st.binary(max_size=300).map(lambda name: name.decode("utf-8", "surrogateescape"))
BY_MSGPACK_1_1 = {
    "93c4016bc09392a261ffc4017892a26f6bc092d928" + "80" * 40 + "c400": (
        *(b"k", None),
        [("a\udcff", b"x"), ("ok", None), ("\udc80" * 40, b"")],
    ),
    "93c0c401769192a26f6bc40178": (None, b"v", [("ok", b"x")]),
}
Headers = list[tuple[str, bytes | None]]


@given(CONTENT, CONTENT, st.lists(st.tuples(NAMES, CONTENT)))
def test_a_record_is_what_it_was(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Header names are bytes that need not be UTF-8; every header may be null."""
    headers = [(name.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"), c) for name, c in headers]
    assert unpack_record(pack_record(key, value, headers)) == (key, value, headers)  # type: ignore[arg-type]


@pytest.mark.parametrize(("blob", "record"), BY_MSGPACK_1_1.items())
def test_rows_of_earlier_releases_are_read(blob: str, record: tuple[object, ...]) -> None:
    """They were written by another library."""
    assert unpack_record(bytes.fromhex(blob)) == record


def test_outputs_are_what_they_were() -> None:
    """Those of a dead letter have what was on the log."""
    outputs = [Output("t", None, None, [("h", None)]), Output("u", b"k", b"v", [("a", b"b"), ("a", b"")])]  # type: ignore[list-item]
    assert unpack(pack(outputs)) == outputs
