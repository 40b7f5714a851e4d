"""Bytes in messages: people read the text that they are, without Python's notation."""

from __future__ import annotations

import pytest

from eventbus.engine.handlers import HandlerFailed
from eventbus.log import Partition, Record
from eventbus.text.quoted import quoted


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"order-1", "'order-1'"),
        (b'{"ord', "'{\"ord'"),
        ("Größe".encode(), "'Größe'"),
        ("é".encode() * 60, f"'{'é' * 40}'"),
        (b"a" + "é".encode() * 60, f"'a{'é' * 39}'"),
        (b"\x1b[2J", r"'\x1b[2J'"),
        (b"\xff\x00", "0xff00"),
        (None, "none"),
    ],
)
def test_bytes_are_quoted_as_the_text_that_they_are(content: bytes | None, text: str) -> None:
    """At most 80 bytes, and no half of a character."""
    assert quoted(content) == text


def test_a_handler_that_failed_names_its_key_as_text() -> None:
    record = Record(Partition("order.created", 3), 17, b"01a22d71", b"", 0, [])
    assert str(HandlerFailed(record, "charge", ValueError("no"))) == (
        "charge raised on order.created/3/17 (key '01a22d71'): ValueError: no"
    )
