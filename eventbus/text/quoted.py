"""Bytes of records in messages for people: keys and headers are usually text."""

from __future__ import annotations

from codecs import getincrementaldecoder

SHOWN_BYTES = 80
utf_8 = getincrementaldecoder("utf-8")


def quoted(content: bytes | None, size: int = SHOWN_BYTES) -> str:
    """Return the beginning of bytes in quotes if they are UTF-8, otherwise in hexadecimal; `none` for None.

    A character that is cut by `size` is left out.
    """
    if content is None:
        return "none"
    try:
        return repr(utf_8().decode(content[:size]))
    except UnicodeDecodeError:
        return f"0x{content[:size].hex()}"
