"""The storage formats of outputs and of parked records, in MessagePack; older rows are in the same format."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import DecodeError, Raw
from msgspec.msgpack import Decoder, Encoder

from eventbus.log import Headers, Output

Packed = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
_ENCODER = Encoder()
_OUTPUTS = Decoder(list[tuple[str, bytes | None, bytes | None, list[tuple[str, bytes | None]]]])
_RECORD = Decoder(Packed)
_RAW_RECORD = Decoder(tuple[bytes | None, bytes | None, list[tuple[Raw, bytes | None]]])
_LENGTH_BYTES = {0xD9: 1, 0xDA: 2, 0xDB: 4}
"""How many bytes of length follow the first byte of a string; shorter ones have it in that byte."""


def pack(outputs: Sequence[Output]) -> bytes:
    """Return the outputs of a batch as one blob."""
    return _ENCODER.encode(outputs)


def unpack(blob: bytes) -> list[Output]:
    """Return the outputs that `pack` was given."""
    return [Output(*row) for row in _OUTPUTS.decode(blob)]  # type: ignore[arg-type]  # a copied header may be null


def pack_record(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """Return a parked record as one blob; the bytes of a header name that is not UTF-8 are kept."""
    try:
        return _ENCODER.encode((key, value, headers))
    except UnicodeEncodeError:
        return _ENCODER.encode((key, value, [(_string(name), content) for name, content in headers]))


def unpack_record(blob: bytes) -> Packed:
    """Return what `pack_record` was given."""
    try:
        packed: Packed = _RECORD.decode(blob)
    except (DecodeError, UnicodeDecodeError):  # which of them, depends on the version of msgspec
        key, value, headers = _RAW_RECORD.decode(blob)
        return key, value, [(_text(name), content) for name, content in headers]
    return packed


def _string(name: str) -> Raw:
    """Return a MessagePack string of these bytes, whether they are UTF-8 or not."""
    content = name.encode("utf-8", "surrogateescape")
    return Raw(b"\xdb" + len(content).to_bytes(4, "big") + content)


def _text(name: Raw) -> str:
    packed = bytes(name)
    return packed[1 + _LENGTH_BYTES.get(packed[0], 0) :].decode("utf-8", "surrogateescape")
