"""Where a record names the schema it was written with: in a prefix of its value, or in a header.

The prefix is a zero byte and the schema's id as 4 bytes, big-endian (Confluent's wire format). A header, which newer
serializers of Confluent's write, holds a magic byte and an id: after 0 such an id, after 1 the schema's GUID as 16
bytes; then the whole value is the Avro body.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from eventbus.text.quoted import quoted

FRAME = Struct(">BI")
VALUE_HEADER, KEY_HEADER = "__value_schema_id", "__key_schema_id"
GUID_BYTES = 16
NO_ID = b"\0\0\0\0\0"
"""An id that no registry assigns."""
OTHERS = {
    NO_ID: "an id of 8 bytes, as Apicurio's serializers write by default: configure them for Confluent's format",
    b"\xc3\x01": "Avro's single-object encoding",
    b"Obj\x01": "an Avro file",
    b"\x03\0": "AWS Glue's framing",
    b"\x03\x05": "AWS Glue's framing, compressed",
    b"{": "JSON",
    b"[": "JSON",
}
"""What other serializers write, by its first bytes."""
Headers = Sequence[tuple[str, bytes]]
SchemaId = int | UUID
"""A number, which is unique in one registry, or a GUID, which is the same in all of Confluent's."""


class NotFramed(ValueError):
    """The record does not name, in a supported way, the schema it was written with."""


class Framed(NamedTuple):
    """The schema of a value, and where its Avro body begins."""

    schema_id: SchemaId
    start: int


def framed(value: bytes, headers: Headers) -> Framed:
    """Return the schema of a value; a header takes precedence over a prefix. Raises NotFramed."""
    for name, content in headers:
        if name == VALUE_HEADER:
            return Framed(_in_header(content), 0)
    if len(value) < FRAME.size or value[0] != 0 or value.startswith(NO_ID):
        other = next((f", but {name}" for start, name in OTHERS.items() if value.startswith(start)), "")
        raise NotFramed(
            f"not Confluent-framed Avro{other}: it starts with {quoted(value, FRAME.size)}, and there is no header"
            f" {VALUE_HEADER}"
        )
    return Framed(FRAME.unpack_from(value)[1], FRAME.size)


def schema_id_of(value: bytes | None, headers: Headers) -> SchemaId | None:
    """Return the id of the schema that a value names; None if it names none."""
    try:
        return framed(value or b"", headers).schema_id
    except NotFramed:
        return None


def framed_key(key: bytes, text: str) -> str | None:
    """Return how a key encodes this text as an Avro string, as a serializer for Avro keys does; None if it does not."""
    encoded = text.encode()
    body = _length(len(encoded)) + encoded
    if key == body:
        return f"an Avro string (its schema id in the header {KEY_HEADER})"
    if key[:1] == b"\0" and key[FRAME.size :] == body:
        return f"an Avro string in Confluent's framing (schema id {FRAME.unpack_from(key)[1]})"
    return None


def _in_header(content: bytes | None) -> SchemaId:
    content = content or b""
    if len(content) == FRAME.size and content[0] == 0:
        return int(FRAME.unpack(content)[1])
    if len(content) == 1 + GUID_BYTES and content[0] == 1:
        return UUID(bytes=content[1:])
    raise NotFramed(
        f"the header {VALUE_HEADER} is {quoted(content, 20)}: neither 0 and a schema id of 4 bytes nor 1 and a GUID"
        " of 16"
    )


def _length(count: int) -> bytes:
    """Return a length as Avro writes it."""
    left, written = count << 1, bytearray()
    while left > 127:  # noqa: PLR2004 - another byte follows
        written.append(left & 127 | 128)
        left >>= 7
    return bytes([*written, left])
