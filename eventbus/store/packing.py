"""The storage format of outputs in the outbox: one blob per batch."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

from eventbus.log import Output


def pack(outputs: Sequence[Output]) -> bytes:
    """Return outputs as one blob (MessagePack)."""
    packed: bytes = msgpack.packb(outputs)
    return packed


def unpack(blob: bytes) -> list[Output]:
    """Return the outputs that `pack` was given."""
    return [
        Output(topic, key, value, [(name, content) for name, content in headers])
        for topic, key, value, headers in msgpack.unpackb(blob)
    ]
